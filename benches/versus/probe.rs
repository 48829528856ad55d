//! Reading what a process and the machine did, before and after a stretch of time.

use std::fs;
use std::hint::black_box;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use crate::machine::{CLIENT_CPU, SERVER_CPU};
use crate::{Result, system};

/// What a process that is bound to one CPU has used since it started, over all of its threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: u64,
    /// CPU time that the kernel's `ksoftirqd` had there: network work that did not end soon enough
    /// in the process that caused it. Nobody else is on that CPU to have caused it.
    deferred_ns: u64,
    /// CPU time of the thread that has used most.
    busiest_ns: u64,
    /// That thread was ready to run, and something else had the CPU.
    waited_ns: u64,
    /// How often it slept of its own accord: a server that never does has no time left.
    pub(crate) voluntary_switches: u64,
}

impl Usage {
    pub(crate) fn of(pid: u32, cpu: usize) -> Result<Self> {
        let mut usage = Self::default();
        if let Some(task) = ksoftirqd(cpu) {
            usage.deferred_ns = task_times(&task)?.0;
        }
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let (cpu_ns, waited_ns) = task_times(&task)?;
            usage.cpu_ns += cpu_ns;
            if cpu_ns >= usage.busiest_ns {
                (usage.busiest_ns, usage.waited_ns) = (cpu_ns, waited_ns);
            }
            let status = fs::read_to_string(task.join("status"))?;
            usage.voluntary_switches += field(&status, "voluntary_ctxt_switches:")?;
        }
        Ok(usage)
    }

    /// Its CPU time, and what the kernel used for it beside.
    pub(crate) fn cpu_and_deferred_ns(self) -> u64 {
        self.cpu_ns + self.deferred_ns
    }

    /// Its busiest thread was ready to run, while something that was none of its own work had the CPU.
    pub(crate) fn waited_for_others_ns(self) -> u64 {
        let own_ns = self.deferred_ns + self.cpu_ns.saturating_sub(self.busiest_ns);
        self.waited_ns.saturating_sub(own_ns)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns - before.cpu_ns,
            deferred_ns: self.deferred_ns - before.deferred_ns,
            // Another thread may have become the busiest.
            busiest_ns: self.busiest_ns.saturating_sub(before.busiest_ns),
            waited_ns: self.waited_ns.saturating_sub(before.waited_ns),
            voluntary_switches: self.voluntary_switches - before.voluntary_switches,
        }
    }
}

/// The kernel's thread for deferred network work on a CPU; none where it cannot be seen, as in a
/// container.
fn ksoftirqd(cpu: usize) -> Option<PathBuf> {
    static ALL: LazyLock<Vec<(String, PathBuf)>> = LazyLock::new(|| {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            Some((fs::read_to_string(entry.path().join("comm")).ok()?, entry.path()))
        });
        named.filter(|(name, _)| name.starts_with("ksoftirqd/")).collect()
    });
    let name = format!("ksoftirqd/{cpu}\n");
    ALL.iter().find(|(found, _)| *found == name).map(|(_, path)| path.clone())
}

/// On the CPU and waiting for it. The scheduler counts nanoseconds; a kernel without its statistics
/// has ticks of 10 ms, and does not know who waited.
fn task_times(task: &Path) -> Result<(u64, u64)> {
    if let Ok(text) = fs::read_to_string(task.join("schedstat"))
        && let [on_cpu, waiting, ..] = text.split_whitespace().collect::<Vec<_>>()[..]
    {
        return Ok((on_cpu.parse()?, waiting.parse()?));
    }
    let text = fs::read_to_string(task.join("stat"))?;
    // The name before the last parenthesis may hold spaces; user and system time are the 12th
    // and 13th field behind it, in hundredths of a second.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).flat_map(str::parse).collect();
    Ok((ticks.iter().sum::<u64>() * 10_000_000, 0))
}

/// Resident memory in bytes, counted page by page: the figure in `status` may lag by many pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Without the pages of the program's file, which come in as its code is first used.
    pub(crate) anonymous: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let bytes = |name| field(&text, name).map(|kib| kib * 1024);
        Ok(Self { resident: bytes("Rss:")?, anonymous: bytes("Anonymous:")? })
    }
}

/// Signs of trouble that the whole machine counts, and that no client can see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Host {
    pub(crate) listen_overflows: u64,
    pub(crate) listen_drops: u64,
    pub(crate) tcp_timeouts: u64,
    /// Without tail loss probes: those go out whenever an acknowledgement is delayed for longer
    /// than usual, which a receiver that is served every tenth of a second cannot help.
    pub(crate) retransmits: u64,
    pub(crate) steal: u64,
    pub(crate) ticks: u64,
}

impl Host {
    pub(crate) fn now() -> Result<Self> {
        let netstat = fs::read_to_string("/proc/net/netstat")?;
        let snmp = fs::read_to_string("/proc/net/snmp")?;
        let stat = fs::read_to_string("/proc/stat")?;
        let cpu: Vec<u64> =
            stat.lines().next().unwrap_or_default().split(' ').flat_map(str::parse).collect();
        Ok(Self {
            listen_overflows: column(&netstat, "TcpExt:", "ListenOverflows")?,
            listen_drops: column(&netstat, "TcpExt:", "ListenDrops")?,
            tcp_timeouts: column(&netstat, "TcpExt:", "TCPTimeouts")?,
            retransmits: column(&snmp, "Tcp:", "RetransSegs")?.saturating_sub(column(
                &netstat,
                "TcpExt:",
                "TCPLossProbes",
            )?),
            steal: cpu.get(7).copied().unwrap_or(0),
            ticks: cpu.iter().take(8).sum(),
        })
    }

    /// The share of time that the hypervisor gave to somebody else.
    pub(crate) fn steal_share(self) -> f64 {
        self.steal as f64 / self.ticks.max(1) as f64
    }
}

impl Sub for Host {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            listen_overflows: self.listen_overflows - before.listen_overflows,
            listen_drops: self.listen_drops - before.listen_drops,
            tcp_timeouts: self.tcp_timeouts - before.tcp_timeouts,
            retransmits: self.retransmits.saturating_sub(before.retransmits),
            // The kernel does not promise that tick counts never step back.
            steal: self.steal.saturating_sub(before.steal),
            ticks: self.ticks.saturating_sub(before.ticks),
        }
    }
}

/// How long the same integer work takes on the server's CPU, now, in nanoseconds.
///
/// Where this differs between the two sides of a pair, the machine changed and not the server. The
/// shortest of many pieces, so that the answer is about the CPU and not about who shares it.
pub(crate) fn canary() -> Result<u64> {
    const PIECES: u32 = 20;
    const ROUNDS: u32 = 100_000;
    system::pin(SERVER_CPU)?;
    let piece = |_| {
        let start = Instant::now();
        let mut value = black_box(1_u64);
        for _ in 0..ROUNDS {
            value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        black_box(value);
        start.elapsed().as_nanos() as u64
    };
    let shortest = (0..PIECES).map(piece).min().unwrap_or(0);
    system::pin(CLIENT_CPU)?;
    Ok(shortest)
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).ok_or_else(|| format!("no `{name}` found").into())
}

/// The number under a name, in a table of two lines that both begin with `table`.
fn column(text: &str, table: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let names = lines.next().unwrap_or_default().split_whitespace();
    let values = lines.next().unwrap_or_default().split_whitespace();
    let found = names.zip(values).find(|(known, _)| *known == name);
    found.and_then(|(_, value)| value.parse().ok()).ok_or_else(|| format!("no {name}").into())
}
