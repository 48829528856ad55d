//! `edgeloop kv`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::{Args, Command};
use edgeloop::service::{self, KvConfig, Users};

use super::count;
use super::failure::Failure;
use super::secret_file::SecretFile;
use super::server::{Server, Welcome};
use super::server_options::ServerOptions;
use super::size::Size;
use super::sources::Sources;

/// Keep keys and values, and speak the Redis protocol
///
/// Strings, expiry, publish and subscribe; in memory only. Talk with: redis-cli -p 7000
#[derive(Debug, Args)]
pub(crate) struct Kv {
    #[command(flatten)]
    own: KvOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Default, Args)]
struct KvOptions {
    /// Refuse commands that add data while keys and values take more than SIZE [default: 256MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_MAX_MEMORY")]
    max_memory: Option<Size>,

    /// Let one client listen to at most N channels and patterns [default: 1024]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_SUBSCRIPTIONS")]
    #[arg(value_parser = count::parse::<usize>)]
    max_subscriptions: Option<usize>,

    /// Hold so many bytes of messages for one channel, once for all its subscribers that speak one
    /// version of the protocol; a message may be half as long [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_CHANNEL_MEMORY")]
    channel_memory: Option<Size>,

    /// Disconnect a client for which more bytes of messages than that would wait in all its channels
    /// and patterns together [default: 32MiB, or --channel-memory if that is more]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_SUBSCRIBER_MEMORY")]
    subscriber_memory: Option<Size>,

    /// Let one client queue at most so many bytes of commands behind MULTI [default: 8MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_TRANSACTION_MEMORY")]
    transaction_memory: Option<Size>,

    /// Commands a second that are taken from a client, the others wait; 0 for any number [default: 0]
    #[arg(long, value_name = "N", env = "EDGELOOP_RATE")]
    #[arg(value_parser = count::parse::<u32>)]
    rate: Option<u32>,

    /// Let in only who gives the password in FILE (AUTH); one line [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_PASSWORD_FILE")]
    password_file: Option<PathBuf>,

    /// Let in the users of FILE, which is as Redis' aclfile: names, passwords, commands, keys, channels
    /// [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_ACL_FILE")]
    acl_file: Option<PathBuf>,

    /// Answer clients of other machines with an error and close them, where they need no password
    /// [default: yes]
    #[arg(long, value_name = "BOOL", env = "EDGELOOP_PROTECTED_MODE")]
    #[arg(value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    protected_mode: Option<bool>,
}

impl Kv {
    /// Serves until a signal ends it.
    pub(crate) fn run(self, sources: Sources) -> Result<ExitCode, Failure> {
        let mut options = self.server;
        options.input_limit.get_or_insert(INPUT_LIMIT);
        options.output_limit.get_or_insert(OUTPUT_LIMIT);
        let mut server = Server::new(NAME, options, sources)?;
        let users = self.own.users(&mut server)?;
        let is_open = users.let_anybody_in();
        let config = KvConfig { users, ..self.own.config() };
        let exposed = if config.protected_mode { PROTECTED } else { UNPROTECTED };
        server
            .welcome(Welcome { exposed: Some(exposed).filter(|_| is_open), ..Welcome::default() });
        let kv = service::Kv::new(config, server.config())
            .map_err(|error| server.blame(&error.to_string()))?;
        server.run(kv)
    }
}

impl KvOptions {
    fn users(&self, server: &mut Server) -> Result<Users, Failure> {
        if let Some(path) = &self.password_file {
            let file = SecretFile::read(server, "password-file", path)?;
            return Ok(Users::with_password(file.password(server)?));
        }
        let Some(path) = &self.acl_file else { return Ok(Users::default()) };
        let file = SecretFile::read(server, "acl-file", path)?;
        let (users, remarks) =
            Users::parse(file.text()).map_err(|error| file.blame(server, &error))?;
        remarks.iter().for_each(|remark| server.caution(file.place(remark)));
        Ok(users)
    }

    fn config(&self) -> KvConfig {
        let default = KvConfig::default();
        let channel_memory = self.channel_memory.map_or(default.channel_memory, Size::bytes);
        KvConfig {
            max_memory: self.max_memory.map_or(default.max_memory, Size::bytes),
            subscriptions_max: self.max_subscriptions.unwrap_or(default.subscriptions_max),
            channel_memory,
            subscriber_memory: self
                .subscriber_memory
                .map_or(default.subscriber_memory.max(channel_memory), Size::bytes),
            transaction_memory: self
                .transaction_memory
                .map_or(default.transaction_memory, Size::bytes),
            rate: self.rate.unwrap_or(default.rate),
            users: default.users,
            protected_mode: self.protected_mode.unwrap_or(default.protected_mode),
        }
    }
}

/// The help, with the defaults that only this service has.
pub(super) fn with_own_defaults(command: Command) -> Command {
    command
        .mut_arg("input_limit", |option| {
            let default = INPUT_LIMIT;
            option
                .help(format!("The longest request, and so the longest value [default: {default}]"))
        })
        .mut_arg("output_limit", |option| {
            let default = OUTPUT_LIMIT;
            option.help(format!(
                "The most bytes queued for one connection; a reply may have three quarters of it, \
                 less 16KiB [default: {default}]"
            ))
        })
}

pub(super) const NAME: &str = "kv";

/// What is said where other machines may come.
const PROTECTED: &str = "there is no password, so clients of other machines are answered -DENIED; \
    --protected-mode no lets them in";
const UNPROTECTED: &str = "protected mode is off and there is no password: whoever reaches this \
    address may read and change everything";

/// Values are longer than lines: what Redis is used for beside counters is pages and pictures.
const INPUT_LIMIT: Size = Size::new(1 << 20);
/// Room for a reply with the longest value behind what may wait already; and for a list of keys.
const OUTPUT_LIMIT: Size = Size::new(4 << 20);
