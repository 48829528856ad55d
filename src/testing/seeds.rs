//! The same test with many seeds.

/// Names the one seed that is to be run.
const SEED: &str = "EDGELOOP_SEED";

/// Runs `test` with each of the seeds 0 to `count`, that one not included. The first that panics ends it;
/// its number is printed, and with `EDGELOOP_SEED` set to it only that one is run.
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
    let chosen = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or(0..count, |seed: u64| seed..seed.saturating_add(1));
    for seed in seeds {
        let told = Told(seed);
        test(seed);
        std::mem::forget(told);
    }
}

/// Tells the seed if the test panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("edgeloop::testing: failed with {SEED}={}", self.0);
    }
}
