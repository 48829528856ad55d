//! A key-value store that speaks the Redis protocol: strings, expiry, publish and subscribe.
//!
//! | file | what it is |
//! | --- | --- |
//! | `kv`, `config` | the handler: from requests to commands, and to replies; its limits |
//! | `store`, `counters` | all that commands work on; what the server counts of itself |
//! | `table`, `database`, `keyspace` | keys and values; when they end; all of them, and what they cost |
//! | `channels`, `client` | who listens to what; what is known about a connection |
//! | `publication`, `publish` | a message; its way to those who listen |
//! | `transaction`, `transactions`, `watches` | commands that are queued; what is done with them; keys that are watched |
//! | `command`, `commands` | what is known of a command; the table of all of them |
//! | `user`, `password`, `acl_rules` | who may come in, and what for; how they prove it; the file that says so |
//! | `auth`, `permission`, `acl` | how a client says who it is; whether it may; the commands about users |
//! | `call`, `fault` | a command being carried out; what becomes of it |
//! | `work`, `list`, `slices` | what commands cost, and whose turn it is; those that go on in slices |
//! | `strings`, `bits`, `lcs`, `keys`, `connection`, `server`, `pubsub` | what the commands do, by group |
//! | `extended`, `natural` | sums of numbers with a fraction, as Redis has them |
//! | `info`, `settings` | what is told of the server; what can be set |
//! | `glob` | patterns |
//!
//! What it answers, errors included, is what Redis 7.0 answers, in either version of the protocol;
//! `docs/reference/kv-commands.md` lists the commands and every difference. Nothing is written to
//! disk.

mod acl;
#[cfg(feature = "identity")]
mod acl_rules;
mod auth;
mod bits;
mod call;
mod channels;
mod client;
mod command;
mod commands;
mod config;
mod connection;
mod counters;
mod database;
mod extended;
mod fault;
mod glob;
mod info;
mod keys;
mod keyspace;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod kv;
mod lcs;
mod list;
mod natural;
mod password;
mod permission;
mod publication;
mod publish;
mod pubsub;
mod server;
mod settings;
mod slices;
mod store;
mod strings;
mod table;
mod transaction;
mod transactions;
mod user;
mod watches;
mod work;

pub use config::KvConfig;
pub use kv::{Kv, KvSession};
pub use user::Users;
