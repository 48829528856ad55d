//! The options that every server has, each declared once: as a flag, as a variable and as a key of
//! the file.

use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use edgeloop::service::{AddressLimits, Network, ProxyProtocol};
use edgeloop::{Config, ListenOptions, Preface};

use super::closes::{self, Closes};
use super::count;
use super::endpoint::Endpoint;
use super::listening::Listening;
use super::percent::PercentOrOff;
use super::size::Size;
use super::socket_rights::{GroupName, Mode};
use super::span::{Span, SpanOrOff};
use super::tls_options::TlsOptions;

/// What can be set for every server; `None` is "not said here".
#[derive(Debug, Default, Args)]
pub(crate) struct ServerOptions {
    /// Listen here: host:port with IPv6 in brackets, :port for all addresses, port 0 for any, or
    /// unix:PATH; with tls: in front TLS is spoken there; several with commas, or one by one
    /// [default: 127.0.0.1:7000]
    #[arg(short, long, value_name = "ADDR", env = "EDGELOOP_LISTEN", value_delimiter = ',')]
    #[arg(help_heading = LISTENING)]
    pub(crate) listen: Option<Vec<Listening>>,

    /// Listen on this port of 127.0.0.1: short for --listen PORT, and not beside it [default: 7000]
    #[arg(short, long, value_name = "PORT", help_heading = LISTENING, value_parser = port)]
    pub(crate) port: Option<u16>,

    /// Write the bound addresses to PATH, one a line, once all of them listen [default: none]
    #[arg(long, value_name = "PATH", env = "EDGELOOP_PORT_FILE", help_heading = LISTENING)]
    pub(crate) port_file: Option<PathBuf>,

    /// Let so many connections wait in the kernel to be accepted [default: 4096]
    #[arg(long, value_name = "N", env = "EDGELOOP_BACKLOG", help_heading = LISTENING)]
    #[arg(value_parser = count::at_least_one::<u32>)]
    pub(crate) backlog: Option<u32>,

    /// Share the port with other processes that say the same, SO_REUSEPORT [default: false]
    #[arg(long, value_name = "BOOL", env = "EDGELOOP_REUSE_PORT", help_heading = LISTENING)]
    #[arg(value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) reuse_port: Option<bool>,

    /// Give the files of Unix sockets these rights, in octal, and not those that the umask leaves:
    /// whoever may write to one may connect [default: none]
    #[arg(long, value_name = "MODE", env = "EDGELOOP_SOCKET_MODE", help_heading = LISTENING)]
    pub(crate) socket_mode: Option<Mode>,

    /// Give the files of Unix sockets to this group, by name or number, with rights of 660 unless
    /// --socket-mode says otherwise [default: none]
    #[arg(long, value_name = "GROUP", env = "EDGELOOP_SOCKET_GROUP", help_heading = LISTENING)]
    pub(crate) socket_group: Option<GroupName>,

    /// Believe balancers of these addresses or networks, or unix for those on Unix sockets, who their clients
    /// are: each of their connections must begin with a PROXY header, version 1 or 2 [default: none]
    #[arg(long, value_name = "CIDR", env = "EDGELOOP_PROXY_PROTOCOL", value_delimiter = ',')]
    #[arg(help_heading = LISTENING)]
    pub(crate) proxy_protocol: Option<Vec<Network>>,
    /// What is shown to clients of listeners with TLS.
    #[command(flatten)]
    pub(crate) tls: TlsOptions,

    /// Serve at most so many connections at once [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_CONNECTIONS", help_heading = LIMITS)]
    #[arg(value_parser = count::parse::<usize>)]
    pub(crate) max_connections: Option<usize>,

    /// What meets a connection beyond that: it waits in the backlog, or is closed at once
    /// [default: wait]
    #[arg(long, value_name = "WHAT", env = "EDGELOOP_WHEN_FULL", help_heading = LIMITS)]
    pub(crate) when_full: Option<WhenFull>,

    /// Let one address have at most so many connections at once, 0 for any number; an IPv6 address
    /// counts as its network of 64 bits [default: 0]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_PER_ADDRESS", help_heading = LIMITS)]
    #[arg(value_parser = count::parse::<usize>)]
    pub(crate) max_per_address: Option<usize>,

    /// Let one address open at most so many connections a second, 0 for any number [default: 0]
    #[arg(long, value_name = "N", env = "EDGELOOP_CONNECT_RATE", help_heading = LIMITS)]
    #[arg(value_parser = count::parse::<u32>)]
    pub(crate) connect_rate: Option<u32>,

    /// So many connections at once before --connect-rate counts [default: 100]
    #[arg(long, value_name = "N", env = "EDGELOOP_CONNECT_BURST", help_heading = LIMITS)]
    #[arg(value_parser = count::at_least_one::<u32>)]
    pub(crate) connect_burst: Option<u32>,

    /// Let only clients of this address or network connect, or unix for those on Unix sockets; several with
    /// commas, or one by one [default: none]
    #[arg(long, value_name = "CIDR", env = "EDGELOOP_ALLOW", value_delimiter = ',')]
    #[arg(help_heading = LIMITS)]
    pub(crate) allow: Option<Vec<Network>>,

    /// Let no client of this address or network connect, whatever --allow says [default: none]
    #[arg(long, value_name = "CIDR", env = "EDGELOOP_DENY", value_delimiter = ',')]
    #[arg(help_heading = LIMITS)]
    pub(crate) deny: Option<Vec<Network>>,

    /// The longest line or message that a client may send [default: 64KiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_INPUT_LIMIT", help_heading = LIMITS)]
    pub(crate) input_limit: Option<Size>,

    /// The most bytes queued for one connection [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_OUTPUT_LIMIT", help_heading = LIMITS)]
    pub(crate) output_limit: Option<Size>,

    /// The most bytes of buffers in all; beyond it those who hold most are closed [default: 256MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_BUFFER_MEMORY", help_heading = LIMITS)]
    pub(crate) buffer_memory: Option<Size>,

    /// Count as overloaded while clients that are ready wait longer than that for their turn, and
    /// shed load; or off [default: 250ms]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_OVERLOAD_TURN", help_heading = OVERLOAD)]
    pub(crate) overload_turn: Option<SpanOrOff>,

    /// Count as overloaded while more than so much of a limit of memory is used, and shed load; or
    /// off [default: 90%]
    #[arg(long, value_name = "PERCENT", env = "EDGELOOP_OVERLOAD_MEMORY", help_heading = OVERLOAD)]
    pub(crate) overload_memory: Option<PercentOrOff>,

    /// Only once it has lasted for so long; and until it has been over for so long [default: 1s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_OVERLOAD_SPAN", help_heading = OVERLOAD)]
    pub(crate) overload_span: Option<Span>,

    /// The most bytes that the kernel takes for one connection before it can send them
    /// (TCP_NOTSENT_LOWAT, on Linux), or 0 for as many as the system lets it [default: 16KiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_NOTSENT_LOWAT", help_heading = LIMITS)]
    pub(crate) notsent_lowat: Option<Size>,

    /// Close a connection on which no byte moved for so long, either way; or off [default: off]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_IDLE_TIMEOUT", help_heading = TIMEOUTS)]
    pub(crate) idle_timeout: Option<SpanOrOff>,

    /// Close a connection that has output waiting and took no byte of it for so long; or off
    /// [default: 30s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_WRITE_TIMEOUT", help_heading = TIMEOUTS)]
    pub(crate) write_timeout: Option<SpanOrOff>,

    /// Close a connection whose peer has vanished without a word for so long, which TCP's keepalive
    /// finds out; or off [default: 5m]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_KEEPALIVE", help_heading = TIMEOUTS)]
    pub(crate) keepalive: Option<SpanOrOff>,

    /// How long a shutdown waits for connections to finish [default: 10s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_DRAIN_TIMEOUT", help_heading = TIMEOUTS)]
    pub(crate) drain_timeout: Option<Span>,

    /// What a panic in a handler does: it closes the connection that it concerns, or ends the program
    /// with exit code 101 [default: close]
    #[arg(long, value_name = "WHAT", env = "EDGELOOP_ON_PANIC", help_heading = RUNNING)]
    pub(crate) on_panic: Option<OnPanic>,

    /// Read options from FILE, in TOML [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_CONFIG", help_heading = RUNNING)]
    pub(crate) config: Option<PathBuf>,

    /// How a line of the log is written to stderr [default: text]
    #[arg(long, value_name = "FORMAT", env = "EDGELOOP_LOG_FORMAT", help_heading = RUNNING)]
    pub(crate) log_format: Option<LogFormat>,

    /// Log how connections ended, for these reasons: names, disorderly, all, or none; several with
    /// commas [default: none]
    #[arg(long, value_name = "REASONS", env = "EDGELOOP_LOG_CLOSES", help_heading = RUNNING)]
    #[arg(value_enum, value_delimiter = ',', hide_possible_values = true)]
    pub(crate) log_closes: Option<Vec<Closes>>,

    /// Log more: -v each connection, -vv all there is [default: 0]
    #[arg(short, long, action = ArgAction::Count, env = "EDGELOOP_VERBOSE", help_heading = RUNNING)]
    pub(crate) verbose: u8,

    /// Log less: -q warnings and errors only, -qq errors only [default: 0]
    #[arg(short, long, action = ArgAction::Count, env = "EDGELOOP_QUIET", help_heading = RUNNING)]
    pub(crate) quiet: u8,
}

/// What `--when-full` names; the library's type as it is spelled here.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WhenFull {
    Wait,
    Refuse,
}

/// What `--on-panic` names; the library's type as it is spelled here.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OnPanic {
    Close,
    Exit,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl ServerOptions {
    /// Where to listen, and how.
    pub(crate) fn listenings(&self) -> Vec<Listening> {
        let port = || vec![Listening::loopback(self.port.unwrap_or(7000))];
        self.listen.clone().unwrap_or_else(port)
    }

    /// Where to listen.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.listenings().into_iter().map(|listening| listening.endpoint).collect()
    }

    /// The limits of the reactor; the number of connections is decided elsewhere, with the
    /// descriptors in view.
    pub(crate) fn config(&self, connections_max: usize) -> Config {
        let default = Config::default();
        let bytes = |size: Option<Size>, default| size.map_or(default, Size::bytes);
        let or_off = |span: Option<SpanOrOff>, default| span.map_or(default, SpanOrOff::duration);
        Config {
            connections_max,
            when_full: self.when_full.map_or(default.when_full, WhenFull::into),
            input_limit: bytes(self.input_limit, default.input_limit),
            output_limit: bytes(self.output_limit, default.output_limit),
            buffer_memory: bytes(self.buffer_memory, default.buffer_memory),
            overload_turn: or_off(self.overload_turn, default.overload_turn),
            overload_memory: self
                .overload_memory
                .map_or(default.overload_memory, PercentOrOff::percent),
            overload_span: self.overload_span.map_or(default.overload_span, Span::duration),
            idle_timeout: or_off(self.idle_timeout, default.idle_timeout),
            write_timeout: or_off(self.write_timeout, default.write_timeout),
            keepalive: or_off(self.keepalive, default.keepalive),
            greeting_timeout: self
                .tls
                .handshake_timeout
                .map_or(default.greeting_timeout, Span::duration),
            drain_timeout: self.drain_timeout.map_or(default.drain_timeout, Span::duration),
            on_panic: self.on_panic.map_or(default.on_panic, OnPanic::into),
            log_closes: closes::reasons(self.log_closes.as_deref().unwrap_or_default()),
            ..default
        }
    }

    /// Which addresses may connect, and what one address may have.
    pub(crate) fn address_limits(&self) -> AddressLimits {
        let default = AddressLimits::default();
        AddressLimits {
            connections: self.max_per_address.unwrap_or(default.connections),
            rate: self.connect_rate.unwrap_or(default.rate),
            burst: self.connect_burst.unwrap_or(default.burst),
            allow: self.allow.clone().unwrap_or_default(),
            deny: self.deny.clone().unwrap_or_default(),
        }
    }

    /// Who is believed about its clients.
    pub(crate) fn balancers(&self) -> &[Network] {
        self.proxy_protocol.as_deref().unwrap_or_default()
    }

    /// How every listener is set up; the group of Unix sockets becomes a number only at start.
    pub(crate) fn listen_options(&self) -> ListenOptions {
        let default = ListenOptions::default();
        ListenOptions {
            backlog: self.backlog.unwrap_or(default.backlog),
            reuse_port: self.reuse_port.unwrap_or(default.reuse_port),
            notsent_lowat: self.notsent_lowat.map_or(default.notsent_lowat, unless_zero),
            socket_mode: self.socket_mode.map(Mode::bits),
            preface: self
                .proxy_protocol
                .clone()
                .map(|balancers| Arc::new(ProxyProtocol::new(balancers)) as Arc<dyn Preface>),
            ..default
        }
    }
}

/// Where 0 leaves it to the system.
fn unless_zero(size: Size) -> Option<u32> {
    let bytes = u32::try_from(size.bytes()).unwrap_or(u32::MAX);
    (bytes > 0).then_some(bytes)
}

/// A port, which is no place to listen on other addresses.
fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| match text.parse::<Endpoint>() {
        Ok(_) => format!("`{text}` is an address and no port; write --listen {text}"),
        Err(_) => format!("`{text}` is no port; ports are 0 to 65535"),
    })
}

impl From<WhenFull> for edgeloop::WhenFull {
    fn from(choice: WhenFull) -> Self {
        match choice {
            WhenFull::Wait => edgeloop::WhenFull::Wait,
            WhenFull::Refuse => edgeloop::WhenFull::Refuse,
        }
    }
}

impl From<OnPanic> for edgeloop::OnPanic {
    fn from(choice: OnPanic) -> Self {
        match choice {
            OnPanic::Close => edgeloop::OnPanic::Close,
            OnPanic::Exit => edgeloop::OnPanic::Unwind,
        }
    }
}

const LISTENING: &str = "Listening";
const LIMITS: &str = "Limits";
const OVERLOAD: &str = "Overload";
const TIMEOUTS: &str = "Timeouts";
const RUNNING: &str = "Running";

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn command() -> Command {
        // The variables of whoever runs the tests are none of their business.
        ServerOptions::augment_args(Command::new("test"))
            .mut_args(|option| option.env(None::<&str>))
    }

    fn options(arguments: &[String]) -> ServerOptions {
        let matches = command().no_binary_name(true).try_get_matches_from(arguments).unwrap();
        ServerOptions::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn help_names_the_real_defaults() {
        let mut arguments = Vec::new();
        // A port and an address are not given together.
        for option in command().get_arguments().filter(|option| option.get_long() != Some("port")) {
            let help = option.get_help().unwrap().to_string();
            let default = help.split("[default: ").nth(1).unwrap().trim_end_matches(']');
            let is_rule = ["what the descriptor limit allows"];
            if !is_rule.contains(&default) && !["none", "0"].contains(&default) {
                arguments.push(format!("--{}={default}", option.get_long().unwrap()));
            }
        }
        assert_eq!(arguments.len(), 19, "{arguments:?}");
        let (said, unsaid) = (options(&arguments), options(&[]));
        assert_eq!(said.endpoints(), unsaid.endpoints());
        assert_eq!(format!("{:?}", said.config(9)), format!("{:?}", unsaid.config(9)));
        assert_eq!(said.listen_options().backlog, unsaid.listen_options().backlog);
        assert_eq!(said.listen_options().reuse_port, unsaid.listen_options().reuse_port);
        assert_eq!(said.address_limits(), unsaid.address_limits());
        assert_eq!(said.listen_options().notsent_lowat, unsaid.listen_options().notsent_lowat);
    }

    #[test]
    fn what_the_kernel_holds_unsent_can_be_left_to_the_system() {
        for (text, bytes) in [("1MiB", Some(1 << 20)), ("8GiB", Some(u32::MAX)), ("0", None)] {
            let options = options(&[format!("--notsent-lowat={text}")]);
            assert_eq!(options.listen_options().notsent_lowat, bytes, "{text}");
        }
    }
}
