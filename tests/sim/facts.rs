//! Fake equals real: what the simulated kernel says is compared with what Linux says, call by
//! call.
//!
//! ```text
//!   scenario --> Script on the real kernel, in a child process --> trace --+
//!       |                                                                  +--> line by line
//!       +------> Script inside the simulated kernel -------------> trace --+
//! ```
//!
//! A simulation proves nothing about a reactor if its kernel is kinder than Linux, and wastes its
//! time if it is harsher. The child process is there for the scenarios that need a limit of
//! descriptors, which Linux keeps for a process; and it stays on one processor, where the packets
//! of the loopback interface are delivered before the call that sent them returns.

#![expect(unsafe_code, reason = "what is compared are plain calls of libc")]

mod scenarios;
mod script;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::Command;

use scenarios::SCENARIOS;
pub(crate) use script::Controls;
use script::{Script, World};

use crate::processor::stay_on_this_processor;

/// Set in the child process; asks it for the traces of the real kernel.
const CHILD: &str = "EDGELOOP_KERNEL_FACTS";
/// Precedes the name of a scenario in what the child writes.
const HEADING: &str = "# ";
/// How often a scenario that differs is tried on the real kernel: other processes may delay it.
const ATTEMPTS: usize = 3;

type Trace = Vec<String>;

/// Compares every scenario and returns how many there are, or the differences as a text.
///
/// `simulated` runs a closure on this thread with the simulated kernel behind libc's symbols.
pub(crate) fn compare(
    simulated: impl Fn(&mut dyn FnMut()),
    controls: Controls,
) -> Result<usize, String> {
    let fake: HashMap<&str, Trace> = SCENARIOS
        .iter()
        .map(|(name, scenario)| {
            let mut trace = Trace::new();
            simulated(&mut || {
                let mut script = Script::new(World::Simulated(controls));
                scenario(&mut script);
                trace = script.finish();
            });
            (*name, trace)
        })
        .collect();
    let mut differing: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    let mut report = String::new();
    for _ in 0..ATTEMPTS {
        let real = real_traces(&differing)?;
        report.clear();
        differing.retain(|name| {
            let (real, fake) = (real.get(*name).cloned().unwrap_or_default(), &fake[name]);
            if real != *fake {
                write_difference(&mut report, name, &real, fake);
            }
            real != *fake
        });
        if differing.is_empty() {
            return Ok(SCENARIOS.len());
        }
    }
    Err(format!("{} of {} kernel facts differ\n{report}", differing.len(), SCENARIOS.len()))
}

/// In the child process: writes the traces that are asked for, and says so. To be called before
/// anything else is done.
pub(crate) fn answer_as_child() -> bool {
    let Ok(wanted) = std::env::var(CHILD) else { return false };
    stay_on_this_processor();
    for (name, scenario) in SCENARIOS {
        if wanted.split(' ').any(|wanted| wanted == *name) {
            let limit = descriptor_limit();
            let mut script = Script::new(World::Real);
            scenario(&mut script);
            set_descriptor_limit(&limit);
            println!("{HEADING}{name}");
            script.finish().iter().for_each(|line| println!("{line}"));
        }
    }
    true
}

fn real_traces(names: &[&str]) -> Result<HashMap<String, Trace>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program).env(CHILD, names.join(" ")).output();
    let output = child.map_err(|error| format!("no process for the real kernel: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the scripts failed on the real kernel: {text}"));
    }
    let mut traces: HashMap<String, Trace> = HashMap::new();
    let mut name = String::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match line.strip_prefix(HEADING) {
            Some(heading) => heading.clone_into(&mut name),
            None => traces.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    Ok(traces)
}

/// Both traces, side by side, with a mark at the lines that differ.
fn write_difference(report: &mut String, name: &str, real: &Trace, fake: &Trace) {
    let _ = writeln!(report, "\n{name}\n    {:50} simulated", "real");
    for index in 0..real.len().max(fake.len()) {
        let line = |trace: &Trace| trace.get(index).map_or("", |line| line).to_owned();
        let (real, fake) = (line(real), line(fake));
        let mark = if real == fake { ' ' } else { '!' };
        let _ = writeln!(report, "  {mark} {real:50} {fake}");
    }
}

fn descriptor_limit() -> libc::rlimit {
    // SAFETY: a zeroed limit is a valid one, and lives through the call.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit
    }
}

fn set_descriptor_limit(limit: &libc::rlimit) {
    // SAFETY: the limit lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) };
}
