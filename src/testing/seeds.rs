//! The same test with many seeds.

use std::ffi::OsStr;

/// Names the one seed that is to be run.
const SEED: &str = "EDGELOOP_SEED";

/// Runs `test` with each of the seeds 0 to `count`, that one not included. The first that panics ends it;
/// its number is printed, and with `EDGELOOP_SEED` set to it only that one is run.
///
/// # Panics
/// When `test` does, and when `EDGELOOP_SEED` is set to what is no seed.
///
/// ```
/// use edgeloop::testing::{Faults, Harness, for_seeds};
/// use edgeloop::{Config, service::Echo};
///
/// for_seeds(20, |seed| {
///     let server = Harness::new(Config::default(), Echo::new()).expect("a reactor");
///     let mut server = server.with_faults(Faults::gentle(seed));
///     let peer = server.connect();
///     peer.send("every byte comes back, whatever happens to it on the way");
///     peer.end_sending();
///     server.run_until_idle();
///     assert_eq!(peer.read_text().len(), 56);
///     server.finish();
/// });
/// ```
pub fn for_seeds(count: u64, mut test: impl FnMut(u64)) {
    let mut run = |seed| {
        let told = Told(seed);
        test(seed);
        std::mem::forget(told);
    };
    match std::env::var_os(SEED) {
        Some(chosen) => run(number(&chosen)),
        None => (0..count).for_each(run),
    }
}

/// The seed that is asked for. Another one must not pass in its place.
fn number(text: &OsStr) -> u64 {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .unwrap_or_else(|| panic!("{SEED} is {text:?}; a seed is a number from 0 to {}", u64::MAX))
}

/// Tells the seed if the test panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("edgeloop::testing: failed with {SEED}={}", self.0);
    }
}
