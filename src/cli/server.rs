//! A server from its options to its end: check, listen, announce, serve, add up.

use std::fs;
use std::io::{self, ErrorKind::AddrInUse, ErrorKind::PermissionDenied};
use std::process::ExitCode;

use edgeloop::{Address, Config, Ending, Handler, ListenOptions, Reactor};
use log::{error, info, warn};

use super::descriptors::{Ceiling, Descriptors};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::log::{FLUSH_AT_EXIT, Log};
use super::port_file;
use super::server_options::ServerOptions;
use super::signals::Signals;

/// A server whose options are checked; nothing is started yet.
#[derive(Debug)]
pub(crate) struct Server {
    service: &'static str,
    options: ServerOptions,
    config: Config,
    listen_options: ListenOptions,
    ceiling: Ceiling,
}

impl Server {
    /// Checks that the options make sense together.
    pub(crate) fn new(service: &'static str, options: ServerOptions) -> Result<Server, Failure> {
        let ceiling = Descriptors::raise().ceiling(options.max_connections);
        let config = options.config(ceiling.connections);
        config.check().map_err(|error| Failure::Usage(in_words_of_options(&error.to_string())))?;
        let listen_options = options.listen_options();
        Ok(Server { service, options, config, listen_options, ceiling })
    }

    /// The limits that the server will have.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// How its listeners will be set up, for a service that has more to say about it.
    pub(crate) fn listen_options(&mut self) -> &mut ListenOptions {
        &mut self.listen_options
    }

    /// Serves until a signal ends it. What fails before the first turn leaves neither a listener
    /// nor a port file.
    pub(crate) fn run<H: Handler>(self, handler: H) -> Result<ExitCode, Failure> {
        let endpoints = self.options.endpoints();
        let groups: Vec<_> = endpoints.iter().map(Endpoint::resolve).collect::<Result<_, _>>()?;
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
        groups: &[Vec<Address>],
        log: &Log,
    ) -> Result<ExitCode, Failure> {
        let mut reactor = Reactor::new(self.config.clone(), handler)
            .map_err(|error| cannot("start the event loop", &error))?;
        // Before anything listens, so that whoever knows the port may already send a signal.
        let mut signals =
            Signals::catch(&mut reactor).map_err(|error| cannot("watch for signals", &error))?;
        let mut bound = Vec::new();
        for group in groups {
            bound.extend(self.listen(&mut reactor, group)?);
        }
        if let Some(path) = &self.options.port_file {
            port_file::write(path, &bound)
                .map_err(|error| cannot(&format!("write {}", path.display()), &error))?;
        }
        // Not earlier: what fails up to here is one line on stderr, not a line below others.
        self.announce(&bound);
        log.stop_waiting();
        let ended = turn_until_done(&mut reactor, &mut signals);
        // The queue may be full, and the books are the one line that is not to be dropped.
        log.flush(FLUSH_AT_EXIT);
        info!("finished {}", reactor.stats());
        // Through the log, as all from here on: a stderr that nobody reads would hold up the end.
        match ended {
            Ok(Ending { cut_off: 0 }) => return Ok(ExitCode::SUCCESS),
            Ok(Ending { cut_off }) => {
                error!(connections = cut_off; "the drain timeout cut connections off")
            }
            Err(error) => error!("the event loop failed: {error}"),
        }
        Ok(ExitCode::FAILURE)
    }

    /// Listens on every address of one endpoint. Those that this machine lacks, as `::1` where
    /// there is no IPv6, are passed over as long as one is left.
    fn listen<H: Handler>(
        &self,
        reactor: &mut Reactor<H>,
        group: &[Address],
    ) -> Result<Vec<Address>, Failure> {
        let mut bound = Vec::new();
        let mut lacking = None;
        for address in group {
            match reactor.listen(address, &self.listen_options).map_err(refused) {
                Ok(address) => bound.push(address),
                Err((AddrInUse | PermissionDenied, failure)) => return Err(failure),
                Err((_, failure)) => lacking = Some(failure),
            }
        }
        match lacking {
            Some(failure) if bound.is_empty() => Err(failure),
            _ => Ok(bound),
        }
    }

    fn announce(&self, bound: &[Address]) {
        let Ceiling { connections, limited_by, lowered_from } = &self.ceiling;
        let backlog = self.listen_options.backlog;
        if let Some(asked) = lowered_from {
            warn!(
                "--max-connections {asked} is more than the {limited_by}; lowered to {connections}"
            );
        }
        if let Some(most) = backlog_max().filter(|most| *most < backlog) {
            warn!(
                "--backlog {backlog} is more than net.core.somaxconn; the kernel lowers it to {most}"
            );
        }
        let bound: Vec<String> = bound.iter().map(Address::to_string).collect();
        let addresses = bound.join(",");
        info!(addr = addresses, connections_max = *connections, limited_by = limited_by; "listening");
    }
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

/// The library speaks of its fields, the user of options.
pub(super) fn in_words_of_options(text: &str) -> String {
    let (field, rest) = text.split_once(' ').unwrap_or((text, ""));
    let option = if field == "connections_max" { "max-connections" } else { field };
    let option = option.replace('_', "-");
    // Another field that plays a part.
    format!("{option} {}", rest.replace("input_limit", "input-limit"))
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::System(format!("cannot {what}: {error}"))
}

/// The library's error names the address.
fn refused(error: io::Error) -> (io::ErrorKind, Failure) {
    let hint = if error.kind() == AddrInUse { "; is another instance running?" } else { "" };
    (error.kind(), Failure::System(format!("{error}{hint}")))
}

/// What the kernel silently caps every backlog to; unknown where there is no such file.
fn backlog_max() -> Option<u32> {
    fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}
