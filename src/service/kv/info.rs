//! `INFO`: what programs that watch a server read, and what they compute with.
//!
//! Fields that mean something here have their values. Fields of features that this server does not have
//! (persistence, replication, clusters) say so, as far as consoles and exporters read them without asking
//! whether they are there.

use std::fmt::{Display, Write};
use std::fs;

use super::call::Call;
use super::connection::REDIS_VERSION;
use super::fault::{Flow, Outcome};
use crate::reactor::{Address, CloseReason, Stats};

pub(super) fn info(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.kv.charge_work(INFO_WORK + call.arguments.len() * SECTION_WORK)?;
    let asked: Vec<Vec<u8>> = call.arguments.by_ref().map(<[u8]>::to_ascii_lowercase).collect();
    let all = ["all", "default", "everything"];
    let is_asked = |name: &str| {
        let is = |section: &Vec<u8>| section == name.as_bytes();
        asked.is_empty()
            || asked
                .iter()
                .any(|section| is(section) || all.iter().any(|all| section == all.as_bytes()))
    };
    let mut text = String::new();
    for (name, write) in SECTIONS {
        if is_asked(&name.to_ascii_lowercase()) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing into a string does not fail.
            let _ = write!(text, "# {name}\r\n");
            write(call, &mut text);
        }
    }
    call.replies().verbatim(&text);
    Ok(Flow::Next)
}

/// The work to write all sections, most of it that of the system, which is asked for two of them.
const INFO_WORK: usize = 256 << 10;
/// The work to compare a word with the names of all sections.
const SECTION_WORK: usize = 512;

type WriteSection = fn(&Call<'_, '_, '_>, &mut String);

const SECTIONS: [(&str, WriteSection); 9] = [
    ("Server", server_section),
    ("Clients", clients_section),
    ("Memory", memory_section),
    ("Persistence", persistence_section),
    ("Stats", stats_section),
    ("Replication", replication_section),
    ("CPU", cpu_section),
    ("Cluster", |_, text| fields(text, &[("cluster_enabled", &0)])),
    ("Keyspace", keyspace_section),
];

fn server_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let now = call.kv.keyspace.now();
    let up = now.steady_ms / 1000;
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    fields(
        text,
        &[
            ("redis_version", &REDIS_VERSION),
            ("redis_mode", &"standalone"),
            ("edgeloop_version", &env!("CARGO_PKG_VERSION")),
            ("os", &system),
            ("arch_bits", &usize::BITS),
            ("process_id", &std::process::id()),
            ("run_id", &call.kv.counters.run_id),
            ("tcp_port", &tcp_port(call.cx.addresses())),
            ("server_time_usec", &(now.wall_ms * 1000)),
            ("uptime_in_seconds", &up),
            ("uptime_in_days", &(up / 86_400)),
        ],
    );
}

/// That of the first listener which has one; as in Redis 0, where all are Unix sockets.
fn tcp_port(addresses: &[Address]) -> u16 {
    let port = |address: &Address| match address {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    };
    addresses.iter().find_map(port).unwrap_or(0)
}

fn clients_section(call: &Call<'_, '_, '_>, text: &mut String) {
    fields(
        text,
        &[
            ("connected_clients", &(call.kv.clients.len() - call.kv.clients_closing)),
            ("cluster_connections", &0),
            ("maxclients", &call.cx.config().connections_max),
            // By commands that wait for data, of which there is none.
            ("blocked_clients", &0),
            ("tracking_clients", &0),
            ("clients_in_timeout_table", &0),
        ],
    );
}

fn memory_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let messages = call.cx.topic_memory();
    let used = call.kv.used() + messages;
    let dataset = call.kv.keyspace.used();
    let (peak, most) = (call.kv.counters.peak.max(used), call.kv.config.max_memory);
    // Where the system does not tell: not less than this.
    let resident = resident_bytes().unwrap_or(used);
    let share = |part: usize, whole: usize| {
        let percent = part as f64 * 100.0 / whole.max(1) as f64;
        format!("{percent:.2}%")
    };
    let ratio = resident as f64 / used.max(1) as f64;
    fields(
        text,
        &[
            ("used_memory", &used),
            ("used_memory_human", &human(used)),
            ("used_memory_rss", &resident),
            ("used_memory_rss_human", &human(resident)),
            ("used_memory_peak", &peak),
            ("used_memory_peak_human", &human(peak)),
            ("used_memory_peak_perc", &share(used, peak)),
            ("used_memory_overhead", &(used - dataset)),
            ("used_memory_startup", &0),
            ("used_memory_dataset", &dataset),
            ("used_memory_dataset_perc", &share(dataset, used)),
            ("used_memory_messages", &messages),
            ("used_memory_lua", &0),
            ("used_memory_scripts", &0),
            ("maxmemory", &most),
            ("maxmemory_human", &human(most)),
            ("maxmemory_policy", &"noeviction"),
            ("mem_fragmentation_ratio", &format!("{ratio:.2}")),
            ("mem_fragmentation_bytes", &(resident as i64 - used as i64)),
            ("mem_allocator", &"libc"),
            ("lazyfree_pending_objects", &call.kv.keyspace.entries_to_free()),
        ],
    );
}

fn persistence_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let now = call.kv.keyspace.now();
    let started = now.wall_ms.saturating_sub(now.steady_ms) / 1000;
    fields(
        text,
        &[
            ("loading", &0),
            ("async_loading", &0),
            ("rdb_changes_since_last_save", &0),
            ("rdb_bgsave_in_progress", &0),
            // As in Redis before the first save.
            ("rdb_last_save_time", &started),
            ("rdb_last_bgsave_status", &"ok"),
            ("rdb_last_bgsave_time_sec", &-1),
            ("rdb_current_bgsave_time_sec", &-1),
            ("aof_enabled", &0),
            ("aof_rewrite_in_progress", &0),
            ("aof_rewrite_scheduled", &0),
            ("aof_last_rewrite_time_sec", &-1),
            ("aof_current_rewrite_time_sec", &-1),
            ("aof_last_bgrewrite_status", &"ok"),
            ("aof_last_write_status", &"ok"),
        ],
    );
}

fn stats_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let (counters, keys) = (&call.kv.counters, call.kv.keyspace.stats);
    let since = |count: fn(&Stats) -> u64| counters.since(call.cx.stats(), count);
    let [commands, input, output] = counters.rates;
    let kib = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    let overload = call.cx.overload().map(|overload| overload.cause.name());
    fields(
        text,
        &[
            ("total_connections_received", &since(|stats| stats.accepted)),
            ("total_commands_processed", &counters.commands),
            ("instantaneous_ops_per_sec", &commands),
            ("total_net_input_bytes", &since(|stats| stats.bytes_received)),
            ("total_net_output_bytes", &since(|stats| stats.bytes_sent)),
            ("instantaneous_input_kbps", &kib(input)),
            ("instantaneous_output_kbps", &kib(output)),
            ("rejected_connections", &since(|stats| stats.closed(CloseReason::Refused))),
            ("sync_full", &0),
            ("sync_partial_ok", &0),
            ("sync_partial_err", &0),
            ("expired_keys", &keys.expired),
            ("evicted_keys", &0),
            ("evicted_clients", &0),
            ("keyspace_hits", &keys.hits),
            ("keyspace_misses", &keys.misses),
            ("pubsub_channels", &call.kv.channels.len()),
            ("pubsub_patterns", &call.kv.patterns.len()),
            ("pubsubshard_channels", &call.kv.shard_channels.len()),
            ("latest_fork_usec", &0),
            ("total_forks", &0),
            ("total_error_replies", &counters.errors),
            ("total_reads_processed", &since(|stats| stats.reads)),
            ("total_writes_processed", &since(|stats| stats.writes)),
            ("overloaded", &u8::from(overload.is_some())),
            ("overload_cause", &overload.unwrap_or("none")),
            ("overloads", &since(|stats| stats.overloads)),
        ],
    );
}

fn replication_section(call: &Call<'_, '_, '_>, text: &mut String) {
    fields(
        text,
        &[
            ("role", &"master"),
            ("connected_slaves", &0),
            ("master_failover_state", &"no-failover"),
            ("master_replid", &call.kv.counters.run_id),
            ("master_replid2", &"0000000000000000000000000000000000000000"),
            ("master_repl_offset", &0),
            ("second_repl_offset", &-1),
            ("repl_backlog_active", &0),
            ("repl_backlog_size", &0),
            ("repl_backlog_first_byte_offset", &0),
            ("repl_backlog_histlen", &0),
        ],
    );
}

/// Seconds; nothing where the system does not tell.
fn cpu_section(_: &Call<'_, '_, '_>, text: &mut String) {
    let Some((user, system)) = cpu_ticks() else { return };
    let seconds = |ticks: u64| format!("{:.6}", ticks as f64 / TICKS_A_SECOND);
    fields(
        text,
        &[
            ("used_cpu_sys", &seconds(system)),
            ("used_cpu_user", &seconds(user)),
            ("used_cpu_sys_children", &"0.000000"),
            ("used_cpu_user_children", &"0.000000"),
        ],
    );
}

fn keyspace_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let now = call.kv.keyspace.now();
    for (number, database) in call.kv.keyspace.databases() {
        let (len, expiring) = (database.table.len(), database.expiring());
        let ttl = database.mean_ttl_ms(now);
        let _ = write!(text, "db{number}:keys={len},expires={expiring},avg_ttl={ttl}\r\n");
    }
}

fn fields(text: &mut String, fields: &[(&str, &dyn Display)]) {
    for (name, value) in fields {
        let _ = write!(text, "{name}:{value}\r\n");
    }
}

/// As Redis writes sizes for people.
fn human(bytes: usize) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = "KMGTP".chars();
    let mut unit = units.next();
    while size >= 1024.0
        && let Some(larger) = units.next()
    {
        (size, unit) = (size / 1024.0, Some(larger));
    }
    format!("{size:.2}{}", unit.unwrap_or_default())
}

/// What the process takes of the machine's memory. Linux tells by a file without a disk.
fn resident_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// What the process has had of the processor, for itself and for its system calls.
fn cpu_ticks() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything, come the fields from the third on.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// `USER_HZ`, which is the same on all machines, as proc(5) is an interface.
const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::super::counters::Counters;
    use super::*;

    #[test]
    fn sizes_for_people_are_those_of_redis() {
        let cases = [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536 << 10, "1.50M")];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human(256 << 20), "256.00M");
        assert_eq!(human(3 << 30), "3.00G");
    }

    #[test]
    fn rates_are_those_of_the_last_second_in_which_there_was_anything() {
        let (mut counters, mut stats) = (Counters::new(), Stats::default());
        assert_eq!(counters.run_id.len(), 40);
        (counters.commands, stats.bytes_received) = (500, 2_048);
        counters.look(999, 10, &stats);
        assert_eq!((counters.rates, counters.peak), ([0, 0, 0], 10));
        counters.look(2_000, 5, &stats);
        assert_eq!((counters.rates, counters.peak), ([250, 1_024, 0], 10));
        counters.reset(&stats);
        counters.commands = 40;
        counters.look(3_000, 5, &stats);
        assert_eq!(counters.rates, [40, 0, 0]);
        assert_eq!(counters.since(&stats, |stats| stats.bytes_received), 0);
    }
}
