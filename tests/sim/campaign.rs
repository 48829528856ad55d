//! Many seeds, on both cores; what they found, made small; and the line at the end.

use std::env;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::facts::{self, Controls};
use crate::greetings;
use crate::libc_symbols::Call;
use crate::million;
use crate::schedule::Schedule;
use crate::simulation::{Outcome, run};
use crate::single_faults;
use crate::slow_readers;
use crate::world::{self, inside};

/// Without `SIM_SECS`: as many seeds as a debug build runs in a few seconds.
const SEEDS: u64 = if cfg!(debug_assertions) { 250 } else { 4_000 };
/// After so many violations there is enough to look at.
const VIOLATIONS_MAX: u64 = 3;
/// How long a failing seed is made smaller.
const SHRINKING: Duration = Duration::from_secs(10);
/// One seed in so many is run twice, and must do the very same.
const REPEATED: u64 = 64;

/// Beside one seed in so many there is a schedule of greetings.
const GREETINGS: u64 = 2;

/// What all threads did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    next: AtomicU64,
    seeds: AtomicU64,
    calls: AtomicU64,
    faults: AtomicU64,
    violations: AtomicU64,
    is_over: AtomicBool,
    by_call: Mutex<Vec<u64>>,
}

pub(crate) fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    check_variables();
    check_that_real_calls_go_through();
    // The long one: by its name, or with all the long ones.
    if arguments.iter().any(|argument| argument == "million" || argument == "--ignored") {
        exit(i32::from(!million::run_timed(million::MILLION)));
    }
    if let Some(seed) = number("SIM_SEED") {
        std::panic::set_hook(Box::new(|_| {}));
        exit(i32::from(!replay(seed)));
    }
    let tally = Tally::default();
    if !are_facts_equal() {
        tally.count_violation();
    }
    if !slow_readers::run() {
        tally.count_violation();
    }
    if number("SIM_SECS").is_none() && !million::run_timed(million::SMALL) {
        println!("a figure of the crowd is not what it should be");
        tally.count_violation();
    }
    std::panic::set_hook(Box::new(|_| {}));
    run_both(&tally, number("SIM_SECS").map(Duration::from_secs));
    let mut violations = tally.violations.load(Ordering::Relaxed);
    if let Some(missing) = uncalled(&tally) {
        println!("{missing:?} is not called any more: std or mio calls something else instead");
        violations += 1;
    }
    println!(
        "sim: {} seeds, {} calls, {} faults, {violations} violations",
        tally.seeds.load(Ordering::Relaxed),
        tally.calls.load(Ordering::Relaxed),
        tally.faults.load(Ordering::Relaxed),
    );
    exit(i32::from(violations > 0));
}

/// Whether the simulated kernel says what the real one does. Without that no seed proves anything.
fn are_facts_equal() -> bool {
    let controls = Controls { limit_descriptors: world::limit_descriptors, arrive: world::arrive };
    let compared = facts::compare(|script| inside(script), controls);
    match &compared {
        Ok(count) => println!("{count} kernel facts: the simulated kernel says what Linux says"),
        Err(differences) => println!("violation: {differences}"),
    }
    compared.is_ok()
}

/// What may be asked of a campaign.
const VARIABLES: [&str; 3] = ["SIM_SECS", "SIM_SEED", "SIM_FROM"];

/// A misspelt variable would pass as a campaign that nobody asked for.
fn check_variables() {
    let is_stray = |name: &str| name.starts_with("SIM_") && !VARIABLES.contains(&name);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_stray) {
            println!("{name:?} is unknown; there are {}", VARIABLES.join(", "));
            exit(2);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.or_else(|| {
        println!("{name} is {text:?}, which is no number");
        exit(2)
    })
}

/// Every single fault on one core, seeds on the other, and then on both.
fn run_both(tally: &Tally, time: Option<Duration>) {
    let until = time.map(|time| Instant::now() + time);
    tally.next.store(number("SIM_FROM").unwrap_or(0), Ordering::Relaxed);
    let first = tally.next.load(Ordering::Relaxed);
    let run = || {
        while !tally.is_over.load(Ordering::Relaxed) {
            let seed = tally.next.fetch_add(1, Ordering::Relaxed);
            let is_over = match until {
                Some(until) => Instant::now() >= until,
                None => seed - first >= SEEDS,
            };
            if is_over {
                return;
            }
            tally.run_seed(seed);
        }
    };
    thread::scope(|scope| {
        scope.spawn(run);
        single_faults::run_all(tally);
        run();
    });
}

impl Tally {
    fn run_seed(&self, seed: u64) {
        if seed.is_multiple_of(GREETINGS) {
            self.run_greetings(seed);
        }
        let schedule = Schedule::draw(seed);
        let mut outcome = run(&schedule);
        self.seeds.fetch_add(1, Ordering::Relaxed);
        self.enter(&outcome);
        if seed.is_multiple_of(REPEATED) {
            let again = run(&schedule);
            self.enter(&again);
            if again.hash != outcome.hash && outcome.violation.is_none() {
                outcome.violation = Some("a second run of the seed went another way".into());
            }
        }
        if outcome.violation.is_some()
            && self.violations.fetch_add(1, Ordering::Relaxed) < VIOLATIONS_MAX
        {
            if self.violations.load(Ordering::Relaxed) >= VIOLATIONS_MAX {
                self.is_over.store(true, Ordering::Relaxed);
            }
            report(&schedule, &outcome);
        }
    }

    /// A schedule of another kind.
    fn run_greetings(&self, seed: u64) {
        if let Some(what) = greetings::run(seed) {
            println!("violation, {what}replay: SIM_SEED={seed} cargo test --test sim\n");
            if self.violations.fetch_add(1, Ordering::Relaxed) + 1 >= VIOLATIONS_MAX {
                self.is_over.store(true, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn count_violation(&self) {
        self.violations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, outcome: &Outcome) {
        self.calls.fetch_add(outcome.calls, Ordering::Relaxed);
        self.faults.fetch_add(outcome.faults, Ordering::Relaxed);
        let mut by_call = self.by_call.lock().expect("no thread panics while it holds this");
        by_call.resize(Call::ALL.len(), 0);
        by_call.iter_mut().zip(&outcome.by_call).for_each(|(sum, count)| *sum += count);
    }
}

/// Says what a seed found, and how little of it is needed for that.
fn report(schedule: &Schedule, outcome: &Outcome) {
    let what = outcome.violation.as_deref().unwrap_or("nothing");
    println!("violation, seed {}: {what}", schedule.seed);
    let (small, outcome) = shrink(schedule.clone());
    let what = outcome.violation.as_deref().unwrap_or("nothing");
    println!("made smaller: {what}\n{small}the last calls:\n{}", outcome.trace);
    println!("replay: SIM_SEED={} cargo test --test sim\n", schedule.seed);
}

/// What a violation is, without its numbers.
fn kind(outcome: &Outcome) -> Option<String> {
    let what = outcome.violation.as_deref()?;
    Some(what.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect())
}

/// Takes away what is not needed for a violation of the same kind.
fn shrink(mut schedule: Schedule) -> (Schedule, Outcome) {
    let until = Instant::now() + SHRINKING;
    let mut outcome = run(&schedule);
    let wanted = kind(&outcome);
    'again: while Instant::now() < until {
        for smaller in schedule.smaller() {
            if smaller.size() >= schedule.size() || Instant::now() >= until {
                continue;
            }
            let tried = run(&smaller);
            if kind(&tried) == wanted {
                (schedule, outcome) = (smaller, tried);
                continue 'again;
            }
        }
        break;
    }
    (schedule, outcome)
}

/// Runs one seed and tells it in full; says whether all was well.
fn replay(seed: u64) -> bool {
    let schedule = Schedule::draw(seed);
    print!("{schedule}");
    let outcome = run(&schedule);
    if outcome.violation.is_some() {
        report(&schedule, &outcome);
    }
    let greeting = seed.is_multiple_of(GREETINGS).then(|| greetings::run(seed)).flatten();
    greeting.iter().for_each(|what| println!("violation, {what}"));
    let violations = u64::from(outcome.violation.is_some()) + u64::from(greeting.is_some());
    let Outcome { calls, faults, hash, .. } = outcome;
    println!("trace {hash:016x}");
    println!("sim: 1 seeds, {calls} calls, {faults} faults, {violations} violations");
    violations == 0
}

/// Calls that std and mio make for a reactor. The others are for scripts that call libc themselves.
const CALLED: [Call; 18] = [
    Call::Accept4,
    Call::Bind,
    Call::Close,
    Call::Connect,
    Call::EpollCreate1,
    Call::EpollCtl,
    Call::EpollWait,
    Call::Eventfd,
    Call::Getpeername,
    Call::Getsockname,
    Call::Getsockopt,
    Call::Listen,
    Call::Recv,
    Call::Send,
    Call::Setsockopt,
    Call::Shutdown,
    Call::Write,
    Call::Writev,
];

/// A function that was not called although every service ran.
fn uncalled(tally: &Tally) -> Option<Call> {
    let by_call = tally.by_call.lock().expect("no thread panics while it holds this");
    let ran_enough = tally.seeds.load(Ordering::Relaxed) >= 200;
    CALLED.into_iter().find(|call| ran_enough && by_call[*call as usize] == 0)
}

/// Outside a simulation the functions are the kernel's own; inside, a descriptor says where it is
/// from.
fn check_that_real_calls_go_through() {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    let real = TcpListener::bind("127.0.0.1:0").expect("a real socket");
    assert!(!crate::kernel::Kernel::owns(real.as_raw_fd()));
    inside(|| {
        let simulated = TcpListener::bind("127.0.0.1:0").expect("a simulated socket");
        assert!(crate::kernel::Kernel::owns(simulated.as_raw_fd()));
    });
}
