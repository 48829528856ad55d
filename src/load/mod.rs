//! The load generator: clients that measure a server and verify what it says.
//!
//! The clients are a [`Handler`](crate::reactor::Handler) on the same reactor that servers run on, from the
//! other side: they dial. A [`Plan`] says what is to be measured, [`run`] does it, and the
//! [`Report`] says what came of it. Nothing here prints.
//!
//! What keeps the figures honest:
//!
//! - **Only verified answers count.** Every byte is compared with what it should be, by its
//!   position in the stream; what is wrong, missing or too much is a [`Fault`]. Of HTTP, whose
//!   bodies nobody knows beforehand, status and framing are checked.
//! - **In an open loop latency counts from the moment a message was due**, and the schedule goes on
//!   whatever the server does: a server that stalls cannot make the clients forget to ask. A closed
//!   loop measures service time, and hides stalls; it shows what a server costs.
//! - **The clock starts late**: a bounded number of connects is under way at a time, each
//!   connection has one message answered first, and there is a warm-up.
//! - **A client that was the limit says so**, from the scheduler's own counts of CPU time, and
//!   Little's law is held against the figures.
//!
//! # Reading the files
//!
//! `plan` and `report` are what goes in and what comes out; `fault` names what goes wrong. `window` is the
//! time that counts, `note` what the conductor and its threads say to each other, `share` a thread's part.
//! `pattern`, `pacer`, `pulse` and `tally` are plain data: the bytes, the schedule, its bursts, the counts.
//! `dialect` is what a client says, with one file for each protocol; `dialler` makes connections, along a
//! `route`. `run` has the stages that all clients of a thread pass; the clients are `requests`, and
//! `deliveries` of a broadcast, which hold what comes against the one `order`. `worker` is a thread,
//! `conductor` the whole, which adds up what threads tell on a `page`. `probe` and `server_process` read
//! what the system knows; `protocol` knows a server that speaks another one. `bound` holds a report against
//! what was promised.

mod bound;
mod conductor;
mod deliveries;
mod dialect;
mod dialler;
mod echo;
mod fault;
mod http;
mod lines;
mod note;
mod order;
mod pacer;
mod page;
mod pattern;
mod plan;
mod probe;
mod protocol;
mod pulse;
mod redis;
mod report;
mod requests;
mod route;
mod run;
mod server_process;
mod share;
mod tally;
mod window;
mod worker;

pub use bound::{Bound, Missed};
pub use conductor::{Phase, Progress, Stop, run};
pub use fault::{Fault, Faults};
pub use plan::{Mode, Plan, Pulse, PutLayer, Ramp, RedisCommand};
pub use report::{
    Asked, AskedPulse, Client, Closes, Connects, Kernel, Latency, Little, Machine, PulseRecovery,
    Pulses, Report, Sample, Server, Step,
};
