//! A server from its options to its end: check, listen, announce, serve, add up.

use std::fs;
use std::io::{
    self, ErrorKind::AddrInUse, ErrorKind::AddrNotAvailable, ErrorKind::PermissionDenied,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::{self, ExitCode};

use edgeloop::service::{Addresses, Network};
use edgeloop::{Address, Config, Ending, Handler, ListenOptions, Reactor};
use log::kv::Value;
use log::{Level, error};

use super::descriptors::{Ceiling, Descriptors};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::listening::{Bound, Listening};
use super::log::{FLUSH_AT_EXIT, Log, log_books, write_line};
use super::port_file::{self, PortFile};
use super::remark::Remark;
use super::server_options::ServerOptions;
use super::signals::Signals;
use super::socket_rights::GroupName;
use super::sources::Sources;
use super::tls_files::Tls;

/// A server whose options are checked; nothing is started yet.
#[derive(Debug)]
pub(crate) struct Server {
    service: &'static str,
    options: ServerOptions,
    sources: Sources,
    welcome: Welcome,
    config: Config,
    listen_options: ListenOptions,
    addresses: Addresses,
    ceiling: Ceiling,
    /// What clients may choose from where there is TLS.
    protocols: &'static [&'static str],
    /// Where a listener has TLS.
    tls: Option<Tls>,
    /// Options of the service that do nothing, each with the one that they need.
    idle: Vec<(&'static str, &'static str)>,
    /// What else is to be said at start.
    cautions: Vec<String>,
}

/// What the first line of the log has for people who come to use the server.
#[derive(Debug, Default)]
pub(crate) struct Welcome {
    /// There is a page at `/`.
    pub(crate) has_page: bool,
    /// What is typed first where lines are typed.
    pub(crate) first_line: Option<&'static str>,
    /// What is to be known where other machines may come.
    pub(crate) exposed: Option<&'static str>,
}

impl Server {
    /// Checks that the options make sense together.
    pub(crate) fn new(
        service: &'static str,
        options: ServerOptions,
        sources: Sources,
    ) -> Result<Server, Failure> {
        if let Some(path) = options.port_file.as_ref().filter(|_| sources.trial().is_none()) {
            port_file::remove_stale(path);
        }
        let ceiling = Descriptors::raise().ceiling(options.max_connections);
        let config = options.config(ceiling.connections);
        config.check().map_err(|error| sources.blame(&error.to_string()))?;
        let limits = options.address_limits();
        limits.check().map_err(|error| sources.blame(&error.to_string()))?;
        let addresses = Addresses::new(limits);
        let (listen_options, welcome) = (options.listen_options(), Welcome::default());
        Ok(Server {
            service,
            options,
            sources,
            welcome,
            config,
            listen_options,
            addresses,
            ceiling,
            protocols: &[],
            tls: None,
            idle: Vec::new(),
            cautions: Vec::new(),
        })
    }

    /// Tells at start that an option does nothing without another one.
    pub(crate) fn warn_of_idle(&mut self, option: &'static str, needs: &'static str) {
        self.idle.push((option, needs));
    }

    /// The failure that a check of this server's options ends with: each name in the sentence
    /// becomes the place of its value.
    pub(crate) fn blame(&self, sentence: &str) -> Failure {
        self.sources.blame(sentence)
    }

    /// The failure of a value that is wrong by itself, with its place in front.
    pub(crate) fn blame_value(&self, option: &str, why: &str) -> Failure {
        self.sources.blame_value(option, why)
    }

    /// Warns at start of a file with secrets.
    pub(crate) fn caution(&mut self, text: String) {
        self.cautions.push(text);
    }

    /// What it says to people at start.
    pub(crate) fn welcome(&mut self, welcome: Welcome) {
        self.welcome = welcome;
    }

    /// The names of the protocol (ALPN) that a client with TLS may ask for.
    pub(crate) fn speaks(&mut self, protocols: &'static [&'static str]) {
        self.protocols = protocols;
    }

    /// Where the server will listen.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.options.endpoints()
    }

    /// The limits that the server will have.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Whose clients are here, for a service that counts by address, too.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Serves until a signal ends it. What fails before the first turn leaves neither a listener
    /// nor a port file.
    pub(crate) fn run<H: Handler>(mut self, handler: H) -> Result<ExitCode, Failure> {
        let listenings = self.options.listenings();
        let has_tls = listenings.iter().any(|listening| listening.has_tls);
        self.tls = Tls::read(&self.options.tls, has_tls, self.protocols, &self.sources)?;
        let groups: Vec<_> = listenings.iter().map(resolve).collect::<Result<_, _>>()?;
        self.listen_options.socket_group = self.socket_group()?;
        if let Some(trial) = self.sources.trial() {
            let addresses: Vec<Address> =
                groups.iter().flat_map(|group| group.addresses.clone()).collect();
            let remarks = self.remarks(&addresses);
            trial.passed(remarks.into_iter().map(Remark::into_text));
            return Ok(ExitCode::SUCCESS);
        }
        // Before the log has a thread of its own.
        self.ceiling.reserve_table();
        let log = Log::start(self.service, &self.options);
        let outcome = self.serve(handler, &groups, &log);
        log.flush(FLUSH_AT_EXIT);
        outcome
    }

    fn serve<H: Handler>(
        &self,
        handler: H,
        groups: &[Group],
        log: &Log,
    ) -> Result<ExitCode, Failure> {
        let mut reactor = Reactor::new(self.config.clone(), handler)
            .map_err(|error| cannot("start the event loop", &error))?;
        if self.addresses.are_limited() {
            reactor.set_gate(self.addresses.clone());
        }
        // Before anything listens, so that whoever knows the port may already send a signal.
        let mut signals =
            Signals::catch(&mut reactor).map_err(|error| cannot("watch for signals", &error))?;
        let mut bound = Vec::new();
        for group in groups {
            bound.extend(self.listen(&mut reactor, group)?);
        }
        // Until this function ends it says where the server listens.
        let path = self.options.port_file.as_deref();
        let _port_file = path.map(|path| self.write_ports(path, &bound)).transpose()?;
        // Not earlier: what fails up to here is one line on stderr, not a line below others.
        self.announce(&bound);
        log.stop_waiting();
        signals.begin();
        let ended = turn_until_done(&mut reactor, &mut signals);
        // The queue may be full, and the books are the one line that is not to be dropped.
        log.flush(FLUSH_AT_EXIT);
        log_books("finished", reactor.stats());
        // Through the log, as all from here on: a stderr that nobody reads would hold up the end.
        match ended {
            Ok(Ending { cut_off: 0 }) => return Ok(ExitCode::SUCCESS),
            Ok(Ending { cut_off }) => {
                let event = "drain_timeout";
                error!(event, connections = cut_off; "the drain timeout cut connections off");
            }
            Err(error) => error!(event = "loop_failed"; "the event loop failed: {error}"),
        }
        Ok(ExitCode::FAILURE)
    }

    /// Listens on every address of one endpoint. Addresses that this machine lacks, as `::1` where
    /// there is no IPv6, are passed over as long as one is left.
    fn listen<H: Handler>(
        &self,
        reactor: &mut Reactor<H>,
        group: &Group,
    ) -> Result<Vec<Bound>, Failure> {
        let mut bound: Vec<Bound> = Vec::new();
        let mut lacking = None;
        let mut listen = |address: &Address| match self.tls.as_ref().filter(|_| group.has_tls) {
            None => reactor.listen(address, &self.listen_options),
            Some(tls) => reactor.listen_layered(address, &self.listen_options, tls.server.wrap()),
        };
        for address in &group.addresses {
            // A name with port 0 is one port on all its addresses, unless somebody has that one.
            let together = with_port_of(bound.first().map(|bound| &bound.address), address);
            let listened = match listen(&together) {
                Err(error) if error.kind() == AddrInUse && together != *address => listen(address),
                listened => listened,
            };
            match listened.map_err(|error| refused(error, address)) {
                Ok(address) => bound.push(Bound { address, has_tls: group.has_tls }),
                Err((AddrInUse | PermissionDenied, failure)) => return Err(failure),
                Err((_, failure)) => lacking = Some(failure),
            }
        }
        match lacking {
            Some(failure) if bound.is_empty() => Err(failure),
            _ => Ok(bound),
        }
    }

    /// The number of the group that is to have the files of Unix sockets.
    fn socket_group(&self) -> Result<Option<u32>, Failure> {
        let resolved = self.options.socket_group.as_ref().map(GroupName::resolve).transpose();
        let name = || self.sources.name("socket-group");
        resolved.map_err(|why| Failure::System(format!("{}: {why}", name())))
    }

    fn write_ports(&self, path: &Path, bound: &[Bound]) -> Result<PortFile, Failure> {
        let written = PortFile::write(path, bound);
        let what = || format!("write {} for {}", path.display(), self.sources.name("port-file"));
        written.map_err(|error| cannot(&what(), &error))
    }

    fn announce(&self, bound: &[Bound]) {
        let Ceiling { connections, limited_by, .. } = &self.ceiling;
        let listened: Vec<Address> = bound.iter().map(|bound| bound.address.clone()).collect();
        self.remarks(&listened).iter().for_each(Remark::log);
        let addresses: Vec<String> = bound.iter().map(Bound::to_string).collect();
        let mut line = vec![
            ("event", Value::from("listening")),
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("pid", process::id().into()),
        ];
        let (addresses, hints) =
            (addresses.join(","), self.welcome.hints(bound, self.options.balancers()));
        line.push(("addr", addresses.as_str().into()));
        line.extend(hints.iter().map(|(key, hint)| (*key, Value::from(hint.as_str()))));
        line.extend(self.days_left().map(|days| ("certificate_days", days.into())));
        line.push(("connections_max", (*connections).into()));
        line.push(("limited_by", limited_by.as_str().into()));
        write_line(Level::Info, &line, format_args!("{} listening", self.service));
    }
}

impl Server {
    fn days_left(&self) -> Option<i64> {
        self.tls.as_ref()?.days_left
    }

    /// What there is to say before it is said that the server listens.
    fn remarks(&self, bound: &[Address]) -> Vec<Remark> {
        let strays = self.sources.stray_variables().into_iter();
        let mut remarks: Vec<Remark> =
            strays.map(|stray| Remark::new("unknown_variable", stray)).collect();
        remarks.extend(self.lowered_limits());
        let cautions = self.cautions.iter();
        remarks.extend(cautions.map(|text| Remark::new("careless_secret", text)));
        remarks.extend(self.tls.iter().flat_map(|tls| tls.remarks.clone()));
        remarks.extend(self.idle_options());
        remarks.extend(self.idle_addresses(bound));
        let has_rights = self.options.socket_mode.is_some() || self.options.socket_group.is_some();
        if has_rights && !bound.iter().any(|address| matches!(address, Address::Unix(_))) {
            remarks.push(Remark::new(
                "no_unix_socket",
                "--socket-mode and --socket-group are for Unix sockets, and none is listened on",
            ));
        }
        let exposed = self.welcome.exposed.filter(|_| bound.iter().any(is_exposed));
        remarks.extend(exposed.map(|text| Remark::new("exposed", text)));
        remarks
    }

    /// What the system allows less of than was asked for.
    fn lowered_limits(&self) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let Ceiling { connections, limited_by, lowered_from } = &self.ceiling;
        if let Some(asked) = lowered_from {
            let name = self.sources.name("max-connections");
            let text =
                format!("{name} {asked} is more than the {limited_by}; lowered to {connections}");
            let remark =
                Remark::new("max_connections_lowered", text).number("asked", *asked as u64);
            remarks.push(remark.number("connections_max", *connections as u64));
        }
        let backlog = self.listen_options.backlog;
        if let Some(most) = backlog_max().filter(|most| *most < backlog) {
            let name = self.sources.name("backlog");
            let text = format!(
                "{name} {backlog} is more than net.core.somaxconn; the kernel lowers it to {most}"
            );
            let remark = Remark::new("backlog_lowered", text).number("asked", backlog.into());
            remarks.push(remark.number("backlog", most.into()));
        }
        remarks
    }

    fn idle_options(&self) -> Vec<Remark> {
        let options = &self.options;
        let mut idle = self.idle.clone();
        if options.connect_burst.is_some() && options.connect_rate.unwrap_or(0) == 0 {
            idle.push(("connect-burst", "connect-rate"));
        }
        idle.into_iter()
            .map(|(option, needs)| {
                self.without_effect(option, &format!("without {}", self.sources.name(needs)))
            })
            .collect()
    }

    /// Of options about addresses that no listener's peers have.
    fn idle_addresses(&self, bound: &[Address]) -> Vec<Remark> {
        let options = &self.options;
        let balancers = options.balancers();
        let on_unix = balancers.iter().any(Network::is_unix);
        let on_tcp = balancers.iter().any(|network| !network.is_unix());
        let has_tcp = bound.iter().any(|address| matches!(address, Address::Tcp(_)));
        let has_unix = bound.iter().any(|address| matches!(address, Address::Unix(_)));
        let mut remarks = Vec::new();
        if (on_tcp || on_unix) && !(on_tcp && has_tcp) && !(on_unix && has_unix) {
            let text = "here: addresses are for TCP, and unix is for Unix sockets";
            remarks.push(self.without_effect("proxy-protocol", text));
        }
        // Clients over Unix sockets have addresses where a balancer names them.
        if has_tcp || on_unix {
            return remarks;
        }
        let has_many = options.max_per_address.is_some_and(|most| most > 0);
        let has_rate = options.connect_rate.is_some_and(|rate| rate > 0);
        for (option, is_set) in [("max-per-address", has_many), ("connect-rate", has_rate)] {
            if is_set {
                let text = "on Unix sockets, whose peers have no address";
                remarks.push(self.without_effect(option, text));
            }
        }
        remarks
    }

    fn without_effect(&self, option: &str, text: &str) -> Remark {
        let option = self.sources.name(option);
        Remark::new("without_effect", format!("{option} does nothing {text}")).option(&option)
    }
}

/// The addresses that one thing to listen on stands for.
struct Group {
    addresses: Vec<Address>,
    has_tls: bool,
}

fn resolve(listening: &Listening) -> Result<Group, Failure> {
    let addresses = listening.endpoint.resolve()?;
    Ok(Group { addresses, has_tls: listening.has_tls })
}

impl Welcome {
    /// The address for a browser and the command for a terminal, on this machine; none where only a
    /// balancer may connect.
    fn hints(&self, bound: &[Bound], balancers: &[Network]) -> Vec<(&'static str, String)> {
        let first = bound.iter().find_map(|bound| match bound.address {
            Address::Tcp(address) => Some((within_reach(address), bound.has_tls)),
            Address::Unix(_) => None,
        });
        let is_balancer = |it: SocketAddr| balancers.iter().any(|of| of.contains(&it.into()));
        let first = first.filter(|(address, _)| !is_balancer(*address));
        let mut hints = Vec::new();
        if let Some((address, has_tls)) = first.filter(|_| self.has_page) {
            let scheme = if has_tls { "https" } else { "http" };
            hints.push(("url", format!("{scheme}://{address}/")));
        }
        if let Some(((address, has_tls), line)) = first.zip(self.first_line) {
            let command = match has_tls {
                true => format!("openssl s_client -quiet -connect {address}"),
                false => format!("nc {} {}", address.ip(), address.port()),
            };
            hints.push(("terminal", format!("{command}, then {line}")));
        }
        hints
    }
}

/// Whether other machines may reach a listener.
fn is_exposed(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if !address.ip().to_canonical().is_loopback())
}

/// Where a client on this machine finds a listener.
fn within_reach(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        address.set_ip(loopback);
    }
    address
}

fn turn_until_done<H: Handler>(
    reactor: &mut Reactor<H>,
    signals: &mut Signals,
) -> io::Result<Ending> {
    while !reactor.is_done() {
        signals.obey(reactor);
        reactor.turn()?;
    }
    // It turns no more, and says how it ended.
    reactor.run()
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::System(format!("cannot {what}: {error}"))
}

/// The same address, with the port of another one in place of any port.
fn with_port_of(other: Option<&Address>, address: &Address) -> Address {
    match (other, address) {
        (Some(Address::Tcp(other)), Address::Tcp(address)) if address.port() == 0 => {
            let mut address = *address;
            address.set_port(other.port());
            address.into()
        }
        _ => address.clone(),
    }
}

/// The library's error names the address.
fn refused(error: io::Error, address: &Address) -> (io::ErrorKind, Failure) {
    let hint = match (error.kind(), address) {
        (AddrInUse, _) => "; is another instance running?",
        (AddrNotAvailable, _) => "; this machine has no such address",
        (PermissionDenied, Address::Tcp(address)) if address.port() < PRIVILEGED => {
            "; ports below 1024 are root's: choose a higher one, or allow it with setcap \
             cap_net_bind_service=+ep on the program or sysctl net.ipv4.ip_unprivileged_port_start"
        }
        (PermissionDenied, Address::Unix(_)) => {
            "; whoever runs this needs the right to write to its directory"
        }
        _ => "",
    };
    (error.kind(), Failure::System(format!("{error}{hint}")))
}

/// The ports below it need a privilege, unless the system says otherwise.
const PRIVILEGED: u16 = 1024;

/// What the kernel silently caps every backlog to; unknown where there is no such file.
fn backlog_max() -> Option<u32> {
    fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}
