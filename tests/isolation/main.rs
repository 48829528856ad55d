//! Nobody can hurt another: each scenario is an attack, by clients that do the worst that a protocol
//! allows, beside honest ones, who must be answered, in order, in time, within the server's memory.
//!
//! ```sh
//! cargo test --test isolation                                # the short form, some seconds
//! ISOLATION=full cargo test --release --test isolation       # the full form, a quarter of an hour
//! ISOLATION=full cargo test --release --test isolation flood # scenarios whose names have this part
//! ISOLATION_PROGRAM=/path/to/edgeloop ISOLATION=full cargo test --release --test isolation    # of before a change
//! ```
//!
//! The short form has small limits and few clients, and counts what holds on a busy machine, too: what
//! was answered, in which order, before which amount of other work, and bytes. The full form has
//! thousands of clients, measures time and memory, sets the same attacks on other programs, and writes
//! `docs/isolation.md`; it wants a machine that does nothing else.
//!
//! | file | what it is |
//! | --- | --- |
//! | `engine` | clients by the thousand on one thread |
//! | `honest`, `speakers`, `feed` | who asks, who speaks in a room, who reads a flood, and what they are to see |
//! | `server` | the programs under attack |
//! | `subscribers` | what a flood and a room are to withstand |
//! | `kv` | a client of the Redis protocol that prepares attacks and asks for counters |
//! | `report` | both forms, and the page |
//! | the others | a scenario each |

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod engine;
mod feed;
mod honest;
mod kv;
mod report;
mod server;
mod speakers;
mod subscribers;

mod costly_commands;
mod crowd;
mod frames;
mod many_channels;
mod memory_in_turns;
mod patterns_and_publish;
mod places;
mod requests;
mod returning_subscribers;
mod slow_readers;
mod stopped_server;
mod trickle_and_churn;
mod unread_pipelines;
