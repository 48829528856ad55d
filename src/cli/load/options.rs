//! What can be said about a measurement on the command line, in the words of wrk and oha.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use edgeloop::Address;
use edgeloop::load::{Mode, Plan, Pulse, PutLayer, Ramp, RedisCommand};
use edgeloop::tls::{Authorities, TlsClient, Trust};

use crate::cli::count;
use crate::cli::endpoint::Endpoint;
use crate::cli::failure::Failure;
use crate::cli::size::Size;
use crate::cli::sources::Sources;
use crate::cli::span::Span;

use super::target::Target;

/// The options of `edgeloop load`.
#[derive(Debug, Args)]
pub(super) struct LoadOptions {
    /// The server: host:port, a port of this machine, unix:PATH, or http://host:port/path; with TLS
    /// tls:host:port, https:// or rediss://
    #[arg(value_name = "TARGET", required_unless_present = "compare")]
    pub(super) target: Option<String>,

    /// What is said to it [default: echo]
    #[arg(short, long, value_name = "MODE", help_heading = TRAFFIC)]
    pub(super) mode: Option<ModeName>,

    /// Connections at once; with --ramp, in its last step [default: 50]
    #[arg(short, long, value_name = "N", help_heading = TRAFFIC)]
    #[arg(value_parser = count::parse::<usize>)]
    pub(super) connections: Option<usize>,

    /// Measure for so long, after the warm-up [default: 10s]
    #[arg(short, long, value_name = "DURATION", help_heading = TRAFFIC)]
    pub(super) duration: Option<Span>,

    /// End once N messages were answered; without --duration nothing else ends it [default: none]
    #[arg(short = 'n', long, value_name = "N", help_heading = TRAFFIC)]
    #[arg(value_parser = count::at_least_one::<u64>)]
    pub(super) messages: Option<u64>,

    /// Bytes of a message [default: 64, in stream 64KiB, in idle 0]
    #[arg(short, long, value_name = "SIZE", help_heading = TRAFFIC)]
    pub(super) size: Option<Size>,

    /// Messages in flight on each connection [default: 1, in stream 16]
    #[arg(short, long, value_name = "N", help_heading = TRAFFIC)]
    #[arg(value_parser = count::parse::<usize>)]
    pub(super) pipeline: Option<usize>,

    /// Send N messages a second, whatever the server does: an open loop. Latency then counts from
    /// the moment a message was due [default: none, a closed loop]
    #[arg(short, long, value_name = "N", help_heading = TRAFFIC)]
    #[arg(value_parser = count::rate)]
    pub(super) rate: Option<f64>,

    /// Bursts, RATE:DURATION:EVERY, as in 50k:1s:5s: every EVERY, for DURATION, RATE messages a second
    /// are due instead of --rate's. What they do and how long the server takes to recover is
    /// reported apart [default: none]
    #[arg(long, value_name = "PULSE", help_heading = TRAFFIC)]
    pub(super) pulse: Option<PulseOption>,

    /// Add connections in steps, START:+STEP:DURATION, as in 50:+50:180s: up to --connections,
    /// each step measured for so long and a row of its own [default: none]
    #[arg(long, value_name = "RAMP", conflicts_with = "duration", help_heading = TRAFFIC)]
    pub(super) ramp: Option<RampOption>,

    /// Traffic before the clock starts [default: 1s, with --messages 0s]
    #[arg(long, value_name = "DURATION", help_heading = TRAFFIC)]
    pub(super) warmup: Option<Span>,

    /// What the server puts before each line, in mode lines [default: none]
    #[arg(long, value_name = "TEXT", help_heading = MODES)]
    pub(super) prefix: Option<String>,

    /// Connections that send, in mode broadcast; all receive [default: 1]
    #[arg(long, value_name = "N", help_heading = MODES)]
    #[arg(value_parser = count::parse::<usize>)]
    pub(super) publishers: Option<usize>,

    /// The command, in mode redis [default: ping]
    #[arg(long, value_name = "COMMAND", help_heading = MODES)]
    pub(super) command: Option<CommandName>,

    /// The path, in mode http [default: that of the target, or /]
    #[arg(long, value_name = "PATH", help_heading = MODES)]
    pub(super) path: Option<String>,

    /// Threads, each with an event loop and its share of the connections [default: 1]
    #[arg(short, long, value_name = "N", help_heading = CLIENTS)]
    #[arg(value_parser = count::parse::<usize>)]
    pub(super) threads: Option<usize>,

    /// Connect from these addresses in turns, with commas [default: chosen by itself on loopback
    /// when one has too few ports, otherwise left to the system]
    #[arg(long, value_name = "IP", value_delimiter = ',', help_heading = CLIENTS)]
    #[arg(value_parser = source)]
    pub(super) source: Vec<IpAddr>,

    /// Believe servers whose certificate is signed by one in FILE, in PEM, or is in FILE itself; where
    /// TLS is spoken [default: those that the system believes]
    #[arg(long, value_name = "FILE", help_heading = CLIENTS)]
    pub(super) tls_ca: Option<PathBuf>,

    /// Believe whatever certificate the server shows, where TLS is spoken [default: false]
    #[arg(long, conflicts_with = "tls_ca", help_heading = CLIENTS)]
    pub(super) insecure: bool,

    /// How long a connect may take [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = CLIENTS)]
    pub(super) connect_timeout: Option<Span>,

    /// How long an answer may take [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = CLIENTS)]
    pub(super) timeout: Option<Span>,

    /// With --rate: never sleep while running, so that messages leave on the microsecond; costs a
    /// CPU for each thread [default: false]
    #[arg(long, requires = "rate", help_heading = CLIENTS)]
    pub(super) spin: bool,

    /// Chooses the bytes that are sent [default: 1]
    #[arg(long, value_name = "N", help_heading = CLIENTS)]
    #[arg(value_parser = count::parse::<u64>)]
    pub(super) seed: Option<u64>,

    /// The server's process, of which CPU time and memory are reported; several with commas
    /// [default: found by itself where the target is on this machine]
    #[arg(long, value_name = "PID", value_delimiter = ',', help_heading = CLIENTS)]
    #[arg(value_parser = count::at_least_one::<u32>)]
    pub(super) server_pid: Vec<u32>,

    /// Write everything to FILE as JSON; `-` is stdout, in place of the table [default: none]
    #[arg(long, value_name = "FILE", help_heading = RESULTS)]
    pub(super) json: Option<PathBuf>,

    /// Write a page with pictures to FILE [default: none]
    #[arg(long, value_name = "FILE", help_heading = RESULTS)]
    pub(super) html: Option<PathBuf>,

    /// Measure nothing; show what earlier runs wrote with --json side by side [default: none]
    #[arg(long, value_name = "FILE", num_args = 2.., conflicts_with = "target")]
    #[arg(help_heading = RESULTS)]
    pub(super) compare: Vec<PathBuf>,

    /// Exit with code 3 if this is so, as in 'p99>5ms' or 'errors>0'; repeatable [default: none]
    #[arg(long, value_name = "BOUND", help_heading = RESULTS)]
    pub(super) fail_if: Vec<String>,

    /// Show no progress [default: false]
    #[arg(short, long, help_heading = RESULTS)]
    pub(super) quiet: bool,
}

/// What `--mode` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeName {
    Echo,
    Lines,
    Stream,
    Broadcast,
    Redis,
    Http,
    Idle,
    Churn,
}

/// What `--command` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CommandName {
    Ping,
    Set,
    Get,
    Incr,
    Mset,
    Publish,
}

/// What `--ramp` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct RampOption {
    ramp: Ramp,
    each: Span,
}

/// What `--pulse` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct PulseOption(Pulse);

impl LoadOptions {
    /// The plan that these options describe.
    ///
    /// # Errors
    /// An option that makes no sense, or a target that does not resolve.
    pub(super) fn plan(&self, sources: &Sources) -> Result<Plan, Failure> {
        let target = self.target.as_deref().unwrap_or_default();
        let target: Target = target.parse().map_err(Failure::Usage)?;
        let mode = self.mode(&target)?;
        let mut addresses = self.resolve(&target.endpoint)?;
        let mut plan = Plan::new(addresses.remove(0), mode);
        plan.alternatives = addresses;
        plan.layer = self.tls(&target, &plan.mode, sources)?;
        set(&mut plan.connections, self.connections);
        set(&mut plan.size, self.size.map(Size::bytes));
        set(&mut plan.pipeline, self.pipeline);
        set(&mut plan.threads, self.threads);
        set(&mut plan.seed, self.seed);
        set(&mut plan.connect_timeout, self.connect_timeout.map(Span::duration));
        set(&mut plan.reply_timeout, self.timeout.map(Span::duration));
        let default = plan.duration.filter(|_| self.messages.is_none());
        plan.duration = self.duration.map(Span::duration).or(default);
        set(&mut plan.warmup, self.messages.map(|_| std::time::Duration::ZERO));
        set(&mut plan.warmup, self.warmup.map(Span::duration));
        if let Some(RampOption { ramp, each }) = self.ramp {
            plan.ramp = Some(ramp);
            plan.duration = Some(each.duration());
        }
        plan.messages = self.messages;
        plan.rate = self.rate;
        plan.pulse = self.pulse.map(|PulseOption(pulse)| pulse);
        plan.spin = self.spin;
        plan.sources.clone_from(&self.source);
        plan.server_pids.clone_from(&self.server_pid);
        plan.check().map_err(|error| sources.blame(&error.to_string()))?;
        Ok(plan)
    }

    /// What puts TLS on connections to a target that has it.
    fn tls(
        &self,
        target: &Target,
        mode: &Mode,
        sources: &Sources,
    ) -> Result<Option<PutLayer>, Failure> {
        let Some(name) = &target.tls_name else {
            return match self.insecure || self.tls_ca.is_some() {
                true => Err(Failure::Usage(NO_TLS.into())),
                false => Ok(None),
            };
        };
        let trust = match &self.tls_ca {
            _ if self.insecure => Trust::Anybody,
            Some(file) => Trust::Authorities(
                Authorities::read(file)
                    .map_err(|error| sources.blame_value("tls-ca", &error.to_string()))?,
            ),
            None => Trust::Authorities(Authorities::of_system().map_err(|error| {
                Failure::Usage(format!("{error}; name one with --tls-ca FILE, or say --insecure"))
            })?),
        };
        let protocols: &[&str] =
            if matches!(mode, Mode::Http { .. }) { &["http/1.1"] } else { &[] };
        let put = TlsClient::new(&trust, protocols).and_then(|client| client.wrap(name));
        Ok(Some(PutLayer::new(put.map_err(|error| Failure::Usage(error.to_string()))?)))
    }

    /// The addresses of the target, at least one. Of the addresses of a name these are the first few that
    /// can be reached from `--source`.
    fn resolve(&self, endpoint: &Endpoint) -> Result<Vec<Address>, Failure> {
        let mut addresses = endpoint.resolve()?;
        let has_way = |address: &Address| match address {
            Address::Tcp(to) => self.source.iter().all(|from| from.is_ipv4() == to.is_ipv4()),
            Address::Unix(_) => true,
        };
        if addresses.iter().any(has_way) {
            addresses.retain(has_way);
        }
        addresses.truncate(Plan::ADDRESSES_MAX);
        Ok(addresses)
    }

    fn mode(&self, target: &Target) -> Result<Mode, Failure> {
        let default = match target.path {
            Some(_) => ModeName::Http,
            None if target.is_redis => ModeName::Redis,
            None => ModeName::Echo,
        };
        let name = self.mode.unwrap_or(default);
        let only = |given: bool, option: &str, mode: ModeName| match given && name != mode {
            true => Err(Failure::Usage(format!("--{option} is for another --mode"))),
            false => Ok(()),
        };
        only(self.prefix.is_some(), "prefix", ModeName::Lines)?;
        only(self.publishers.is_some(), "publishers", ModeName::Broadcast)?;
        only(self.command.is_some(), "command", ModeName::Redis)?;
        only(self.path.is_some() || target.path.is_some(), "path", ModeName::Http)?;
        Ok(match name {
            ModeName::Echo => Mode::Echo,
            ModeName::Lines => Mode::Lines { prefix: self.prefix.clone().unwrap_or_default() },
            ModeName::Stream => Mode::Stream,
            ModeName::Broadcast => Mode::Broadcast { publishers: self.publishers.unwrap_or(1) },
            ModeName::Redis => Mode::Redis(self.command.map_or(RedisCommand::Ping, Into::into)),
            ModeName::Http => {
                let path = self.path.clone().or_else(|| target.path.clone());
                Mode::Http { host: target.host.clone(), path: path.unwrap_or_else(|| "/".into()) }
            }
            ModeName::Idle => Mode::Idle,
            ModeName::Churn => Mode::Churn,
        })
    }
}

impl FromStr for RampOption {
    type Err = String;

    fn from_str(text: &str) -> Result<RampOption, String> {
        let wrong = || format!("`{text}` is no ramp; write START:+STEP:DURATION, as 50:+50:180s");
        let mut parts = text.split(':');
        let (Some(first), Some(add), Some(each), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let first = count::parse(first).map_err(|_| wrong())?;
        let add = add.strip_prefix('+').ok_or_else(wrong)?;
        let add = count::parse(add).map_err(|_| wrong())?;
        let each: Span = each.parse()?;
        match each.duration().is_zero() {
            true => Err(wrong()),
            false => Ok(RampOption { ramp: Ramp { first, add }, each }),
        }
    }
}

impl FromStr for PulseOption {
    type Err = String;

    fn from_str(text: &str) -> Result<PulseOption, String> {
        let wrong = || format!("`{text}` is no pulse; write RATE:DURATION:EVERY, as 50k:1s:5s");
        let mut parts = text.split(':');
        let (Some(rate), Some(duration), Some(every), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let rate = count::rate(rate).map_err(|_| wrong())?;
        let (duration, every): (Span, Span) = (duration.parse()?, every.parse()?);
        let (duration, every) = (duration.duration(), every.duration());
        Ok(PulseOption(Pulse { rate, duration, every }))
    }
}

impl From<CommandName> for RedisCommand {
    fn from(name: CommandName) -> RedisCommand {
        match name {
            CommandName::Ping => RedisCommand::Ping,
            CommandName::Set => RedisCommand::Set,
            CommandName::Get => RedisCommand::Get,
            CommandName::Incr => RedisCommand::Incr,
            CommandName::Mset => RedisCommand::Mset,
            CommandName::Publish => RedisCommand::Publish,
        }
    }
}

fn source(text: &str) -> Result<IpAddr, String> {
    let address = text.trim().parse();
    address
        .map_err(|_| format!("`{text}` is no IP address; write it like 127.0.0.2, without a port"))
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

const NO_TLS: &str =
    "--tls-ca and --insecure are for a target with TLS, such as tls:host:port or https://host/";

const TRAFFIC: &str = "Traffic";
const MODES: &str = "Modes";
const CLIENTS: &str = "Clients";
const RESULTS: &str = "Results";
