//! A simulated, seeded, edge-triggered Linux under the very reactor that ships.
//!
//! This program defines the libc functions that std and mio call (`libc_symbols`), and answers them
//! from a kernel of its own (`kernel`, `tcp`, `socket`, `epoll`, `clock`). A seed decides what the
//! network does, what fails (`faults`), who is at the other end (`peers`, `stream`), what the program
//! under test is (`services`) and how it is configured (`schedule`); `oracles` and `audit` watch
//! every call and every callback, `world` holds it all together and `simulation` runs it. `campaign`
//! runs many, with `greetings` beside each, `single_faults` lets each call fail once with each error, and `million`, with `allocator`
//! and `stopwatch`, shows what a connection costs where there are a million.
//!
//! ```text
//!   cargo test --test sim                           the first seeds, some seconds
//!   SIM_SECS=60 cargo test --release --test sim     as many seeds as fit into a minute
//!   SIM_SEED=7 cargo test --test sim                one seed, told in full
//!   cargo test --release --test sim -- million      a million connections
//! ```

mod allocator;
mod audit;
mod campaign;
mod clock;
mod epoll;
mod facts;
mod faults;
mod gate;
mod greetings;
mod kernel;
mod libc_symbols;
mod load;
mod million;
mod oracles;
mod peers;
#[path = "../common/processor.rs"]
mod processor;
mod random;
mod schedule;
#[path = "../common/scripted.rs"]
mod scripted;
#[path = "../common/sealed.rs"]
mod sealed;
mod services;
mod simulation;
mod single_faults;
mod slow_readers;
mod socket;
mod stopwatch;
mod stream;
mod tcp;
mod trace;
mod work;
mod world;

/// An index that names nothing.
pub(crate) const NONE: u32 = u32::MAX;

fn main() {
    if facts::answer_as_child() {
        return;
    }
    campaign::main();
}
