//! Reading what processes and the kernel's TCP did, before and after a stretch of time. Linux only;
//! elsewhere there is nothing to read, and nothing is reported.

use std::fs;
use std::ops::Sub;
use std::path::{Path, PathBuf};

/// What a thread has used since it started.
#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    path: PathBuf,
    cpu_ns: u64,
    waited_ns: u64,
    voluntary: u64,
    involuntary: u64,
}

/// What processes have used since they started, thread by thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    tasks: Vec<Task>,
    /// CPU time of the children that have ended, as far as they were waited for.
    ended_ns: u64,
}

/// What processes used in a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) cpu_ns: u64,
    /// The same for the thread that used most.
    pub(super) busiest_ns: u64,
    /// That thread was ready to run, while something else had the CPU.
    pub(super) waited_ns: u64,
    /// The same for the thread that waited longest.
    pub(super) longest_ns: u64,
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
}

impl Usage {
    /// All threads of these processes, and what children that have ended had used: of a server with a
    /// process for each connection that is everything. Threads that end are left out.
    pub(super) fn of(pids: &[u32]) -> Usage {
        let (mut tasks, mut ended_ns) = (Vec::new(), 0);
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            ended_ns += ticks_ns(&stat, CHILDREN_TIMES);
            let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            tasks.extend(entries.flatten().filter_map(|entry| Task::at(&entry.path())));
        }
        Usage { tasks, ended_ns }
    }

    /// Single threads, by their directories below `/proc`.
    pub(super) fn of_tasks(paths: &[PathBuf]) -> Usage {
        Usage { tasks: paths.iter().filter_map(|path| Task::at(path)).collect(), ended_ns: 0 }
    }

    /// Whether there was anything to read.
    pub(super) fn is_known(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// What was used since `before`. A thread that was not there yet began at nothing.
    pub(super) fn since(&self, before: &Usage) -> Used {
        let mut used = Used::default();
        for task in &self.tasks {
            let former = before.tasks.iter().find(|former| former.path == task.path);
            let former = former.cloned().unwrap_or_default();
            let cpu_ns = task.cpu_ns.saturating_sub(former.cpu_ns);
            let waited_ns = task.waited_ns.saturating_sub(former.waited_ns);
            used.cpu_ns += cpu_ns;
            used.longest_ns = used.longest_ns.max(waited_ns);
            if cpu_ns >= used.busiest_ns {
                (used.busiest_ns, used.waited_ns) = (cpu_ns, waited_ns);
            }
            used.voluntary += task.voluntary.saturating_sub(former.voluntary);
            used.involuntary += task.involuntary.saturating_sub(former.involuntary);
        }
        // What a child had used before is in the time that it left behind as well.
        let is_gone = |former: &&Task| self.tasks.iter().all(|task| task.path != former.path);
        let counted: u64 = before.tasks.iter().filter(is_gone).map(|former| former.cpu_ns).sum();
        used.cpu_ns += self.ended_ns.saturating_sub(before.ended_ns + counted);
        used
    }
}

impl Task {
    fn at(path: &Path) -> Option<Task> {
        let (cpu_ns, waited_ns) = times(path)?;
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let switches = |name| field(&status, name).unwrap_or(0);
        Some(Task {
            path: path.into(),
            cpu_ns,
            waited_ns,
            voluntary: switches("voluntary_ctxt_switches:"),
            involuntary: switches("nonvoluntary_ctxt_switches:"),
        })
    }
}

/// On the CPU and waiting for it. The scheduler counts nanoseconds; a kernel without its statistics
/// has ticks of 10 ms, and does not know who waited.
fn times(task: &Path) -> Option<(u64, u64)> {
    if let Ok(text) = fs::read_to_string(task.join("schedstat")) {
        let mut numbers = text.split_whitespace().flat_map(str::parse);
        if let (Some(on_cpu), Some(waiting)) = (numbers.next(), numbers.next()) {
            return Some((on_cpu, waiting));
        }
    }
    let text = fs::read_to_string(task.join("stat")).ok()?;
    Some((ticks_ns(&text, OWN_TIMES), 0))
}

/// User and system time from a file `stat`, which are neighbours. The name before the last
/// parenthesis may hold spaces; the fields are counted behind it.
fn ticks_ns(stat: &str, place: usize) -> u64 {
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(place).take(2).flat_map(str::parse::<u64>).sum::<u64>() * TICK_NS
}

/// Resident memory of processes in bytes, counted page by page where the kernel does so: the
/// figure in `status` may lag by many pages.
pub(super) fn resident(pids: &[u32]) -> Option<u64> {
    let of = |pid: &u32| {
        let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let exact = exact.ok().and_then(|text| field(&text, "Rss:"));
        let status = || fs::read_to_string(format!("/proc/{pid}/status")).ok();
        exact.or_else(|| field(&status()?, "VmRSS:")).map(|kib| kib * 1024)
    };
    let sizes: Vec<u64> = pids.iter().filter_map(of).collect();
    (!sizes.is_empty()).then(|| sizes.iter().sum())
}

/// Signs of trouble that the whole machine counts, and that no client can see.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) listen_overflows: u64,
    pub(super) listen_drops: u64,
    pub(super) tcp_timeouts: u64,
    pub(super) retransmits: u64,
}

impl Counters {
    /// `None` where the kernel does not tell.
    pub(super) fn now() -> Option<Counters> {
        let netstat = fs::read_to_string("/proc/net/netstat").ok()?;
        let snmp = fs::read_to_string("/proc/net/snmp").ok()?;
        Some(Counters {
            listen_overflows: column(&netstat, "TcpExt:", "ListenOverflows")?,
            listen_drops: column(&netstat, "TcpExt:", "ListenDrops")?,
            tcp_timeouts: column(&netstat, "TcpExt:", "TCPTimeouts")?,
            retransmits: column(&snmp, "Tcp:", "RetransSegs")?,
        })
    }
}

impl Sub for Counters {
    type Output = Counters;

    fn sub(self, before: Counters) -> Counters {
        Counters {
            listen_overflows: self.listen_overflows.saturating_sub(before.listen_overflows),
            listen_drops: self.listen_drops.saturating_sub(before.listen_drops),
            tcp_timeouts: self.tcp_timeouts.saturating_sub(before.tcp_timeouts),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
        }
    }
}

/// The directory below `/proc` of the thread that asks.
pub(super) fn this_task() -> Option<PathBuf> {
    let task = fs::read_link("/proc/thread-self").ok()?;
    Some(Path::new("/proc").join(task))
}

/// The kernel's threads for the network work that did not end soon enough where it arose, by CPU;
/// nothing for a CPU that is off. None where they cannot be seen, as in a container.
pub(super) fn ksoftirqd_tasks() -> Vec<Option<PathBuf>> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_entry = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let cpu: usize = name.trim().strip_prefix("ksoftirqd/")?.parse().ok()?;
        Some((cpu, entry.path().join("task").join(entry.file_name())))
    };
    let mut tasks = Vec::new();
    for (cpu, path) in entries.filter_map(of_entry) {
        tasks.resize(tasks.len().max(cpu + 1), None);
        tasks[cpu] = Some(path);
    }
    tasks
}

/// CPU time of each of these threads since it started, and 0 for none.
pub(super) fn cpu_ns_each(tasks: &[Option<PathBuf>]) -> Vec<u64> {
    let cpu_ns = |task: &Option<PathBuf>| times(task.as_ref()?).map(|(on_cpu, _)| on_cpu);
    tasks.iter().map(|task| cpu_ns(task).unwrap_or(0)).collect()
}

/// The number behind a name at the start of a line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The number under a name, in a table of two lines that both begin with `table`.
fn column(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let names = lines.next()?.split_whitespace();
    let values = lines.next()?.split_whitespace();
    let (_, value) = names.zip(values).find(|(known, _)| *known == name)?;
    value.parse().ok()
}

/// A hundredth of a second, on every Linux that has come with a default configuration.
const TICK_NS: u64 = 10_000_000;
/// `utime` and `stime`, `cutime` and `cstime` in proc_pid_stat(5), less the fields before.
const OWN_TIMES: usize = 11;
const CHILDREN_TIMES: usize = 13;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn busy_thread_is_seen_to_use_its_cpu() {
        let task = this_task().unwrap();
        let before = Usage::of_tasks(std::slice::from_ref(&task));
        let mut value = 1u64;
        while Usage::of_tasks(std::slice::from_ref(&task)).since(&before).cpu_ns < 20_000_000 {
            (0..100_000).for_each(|n| value = std::hint::black_box(value.wrapping_mul(n | 3)));
        }
        let own = std::process::id();
        assert!(Usage::of(&[own]).since(&Usage::default()).cpu_ns >= 20_000_000);
        assert!(resident(&[own]).unwrap() > 1 << 20);
        assert!(Counters::now().is_some());
    }

    #[test]
    fn children_that_have_ended_have_used_what_they_used() {
        let script = "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done); echo; read line";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let before = Usage::of(&[shell.id()]);
        // The child has ended when the shell says so.
        shell.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let used = Usage::of(&[shell.id()]).since(&before);
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(used.cpu_ns >= 40_000_000, "{used:?}");
    }

    #[test]
    fn tables_of_the_kernel_are_read_by_name() {
        let text = "TcpExt: A ListenDrops B\nTcpExt: 1 22 3\nIpExt: A\nIpExt: 9\n";
        assert_eq!(column(text, "TcpExt:", "ListenDrops"), Some(22));
        assert_eq!(column(text, "TcpExt:", "C"), None);
        assert_eq!(field("a: 1\nRss:   12 kB\n", "Rss:"), Some(12));
    }
}
