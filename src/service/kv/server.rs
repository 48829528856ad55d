//! The commands about the server and about commands.

use std::fmt::Write;

use super::call::{Call, Fault, Flow, Outcome};
use super::command::{COMMANDS, Command, Flags};
use super::connection::REDIS_VERSION;
use super::glob;
use super::keyspace::KeyspaceStats;
use crate::codec::resp::Replies;
use crate::reactor::Stats;

pub(super) fn dbsize(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.answer(call.kv.keyspace.len() as i64)
}

pub(super) fn flushall(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_flush_mode(call)?;
    call.kv.keyspace.clear_all();
    call.ok()
}

pub(super) fn flushdb(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_flush_mode(call)?;
    call.kv.keyspace.clear();
    call.ok()
}

/// Both modes are the same here.
fn check_flush_mode(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let option = call.arguments.next();
    let is_known = option.is_none_or(|option| {
        option.eq_ignore_ascii_case(b"sync") || option.eq_ignore_ascii_case(b"async")
    });
    if !is_known || call.arguments.len() > 0 {
        return Err(Fault::SYNTAX);
    }
    Ok(())
}

pub(super) fn time(call: &mut Call<'_, '_, '_>) -> Outcome {
    let now = call.kv.keyspace.now().wall_ms;
    let replies = call.replies();
    replies.array(2);
    replies.bulk((now / 1000).to_string().as_bytes());
    replies.bulk((now % 1000 * 1000).to_string().as_bytes());
    Ok(Flow::Next)
}

// ---- INFO ----

pub(super) fn info(call: &mut Call<'_, '_, '_>) -> Outcome {
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

type WriteSection = fn(&Call<'_, '_, '_>, &mut String);

const SECTIONS: [(&str, WriteSection); 8] = [
    ("Server", server_section),
    ("Clients", clients_section),
    ("Memory", memory_section),
    ("Persistence", |_, text| fields(text, &[("loading", 0)])),
    ("Stats", stats_section),
    ("Replication", |_, text| text.push_str("role:master\r\nconnected_slaves:0\r\n")),
    ("Cluster", |_, text| fields(text, &[("cluster_enabled", 0)])),
    ("Keyspace", keyspace_section),
];

fn server_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let up = call.kv.keyspace.now().steady_ms / 1000;
    let _ = write!(
        text,
        "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nedgeloop_version:{}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let (bits, pid) = (u64::from(usize::BITS), u64::from(std::process::id()));
    fields(
        text,
        &[
            ("arch_bits", bits),
            ("process_id", pid),
            ("uptime_in_seconds", up),
            ("uptime_in_days", up / 86_400),
        ],
    );
}

fn clients_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let most = call.cx.config().connections_max as u64;
    fields(text, &[("connected_clients", call.kv.clients.len() as u64), ("maxclients", most)]);
}

fn memory_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let messages = call.cx.topic_memory();
    let used = call.kv.used() + messages;
    fields(
        text,
        &[
            ("used_memory", used as u64),
            ("used_memory_dataset", call.kv.keyspace.used() as u64),
            ("used_memory_messages", messages as u64),
            ("maxmemory", call.kv.config.max_memory as u64),
        ],
    );
    text.push_str("maxmemory_policy:noeviction\r\n");
}

fn stats_section(call: &Call<'_, '_, '_>, text: &mut String) {
    let (stats, keys) = (call.cx.stats(), call.kv.keyspace.stats);
    let before = call.kv.counted_before.as_deref();
    let since = |count: fn(&Stats) -> u64| count(stats) - before.map_or(0, count);
    fields(
        text,
        &[
            ("total_connections_received", since(|stats| stats.accepted)),
            ("total_commands_processed", call.kv.commands_processed),
            ("total_net_input_bytes", since(|stats| stats.bytes_received)),
            ("total_net_output_bytes", since(|stats| stats.bytes_sent)),
            ("expired_keys", keys.expired),
            ("evicted_keys", 0),
            ("keyspace_hits", keys.hits),
            ("keyspace_misses", keys.misses),
            ("pubsub_channels", call.kv.channels.len() as u64),
            ("pubsub_patterns", call.kv.patterns.len() as u64),
            ("pubsubshard_channels", call.kv.shard_channels.len() as u64),
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

fn fields(text: &mut String, fields: &[(&str, u64)]) {
    for (name, value) in fields {
        let _ = write!(text, "{name}:{value}\r\n");
    }
}

pub(super) fn config_resetstat(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.kv.keyspace.stats = KeyspaceStats::default();
    call.kv.commands_processed = 0;
    call.kv.counted_before = Some(Box::new(call.cx.stats().clone()));
    call.ok()
}

pub(super) fn debug(_: &mut Call<'_, '_, '_>) -> Outcome {
    Err(Fault::text("ERR DEBUG command not allowed. Nobody may stop this server or look into it."))
}

// ---- COMMAND ----

pub(super) fn command(call: &mut Call<'_, '_, '_>) -> Outcome {
    let replies = call.replies();
    replies.array(COMMANDS.len());
    COMMANDS.iter().for_each(|command| describe(replies, command));
    Ok(Flow::Next)
}

pub(super) fn command_count(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.answer(COMMANDS.len() as i64)
}

pub(super) fn command_info(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.arguments.len() == 0 {
        return command(call);
    }
    let kv = &mut *call.kv;
    kv.replies.array(call.arguments.len());
    for name in &mut call.arguments {
        match kv.commands.find_full(name) {
            Some(command) => describe(&mut kv.replies, command),
            None => kv.replies.null(),
        }
    }
    Ok(Flow::Next)
}

pub(super) fn command_docs(call: &mut Call<'_, '_, '_>) -> Outcome {
    let kv = &mut *call.kv;
    let mut listed: Vec<&Command> = COMMANDS.iter().collect();
    if call.arguments.len() > 0 {
        listed = call.arguments.by_ref().filter_map(|name| kv.commands.find_full(name)).collect();
    }
    kv.replies.map(listed.len());
    listed.iter().for_each(|command| document(&mut kv.replies, command));
    Ok(Flow::Next)
}

pub(super) fn command_list(call: &mut Call<'_, '_, '_>) -> Outcome {
    let filter = CommandFilter::parse(call)?;
    let replies = call.replies();
    let all = COMMANDS.iter().flat_map(|command| [command].into_iter().chain(command.subcommands));
    let listed = all.filter(|command| filter.takes(command));
    replies.array(listed.clone().count());
    listed.for_each(|command| replies.bulk(command.name.as_bytes()));
    Ok(Flow::Next)
}

/// Which commands `COMMAND LIST` lists.
enum CommandFilter<'a> {
    All,
    /// There are no modules.
    OfModule,
    InCategory(&'a [u8]),
    ByPattern(&'a [u8]),
}

impl<'a> CommandFilter<'a> {
    fn parse(call: &mut Call<'a, '_, '_>) -> Result<Self, Fault> {
        let Some(option) = call.arguments.next() else { return Ok(CommandFilter::All) };
        if !option.eq_ignore_ascii_case(b"filterby") || call.arguments.len() != 2 {
            return Err(Fault::SYNTAX);
        }
        match call.argument().to_ascii_lowercase().as_slice() {
            b"module" => Ok(CommandFilter::OfModule),
            b"aclcat" => Ok(CommandFilter::InCategory(call.argument())),
            b"pattern" => Ok(CommandFilter::ByPattern(call.pattern()?)),
            _ => Err(Fault::SYNTAX),
        }
    }

    fn takes(&self, command: &Command) -> bool {
        match self {
            CommandFilter::All => true,
            CommandFilter::OfModule => false,
            CommandFilter::InCategory(name) => command.is_in_category(name),
            CommandFilter::ByPattern(pattern) => {
                glob::matches(pattern, command.name.as_bytes(), true)
            }
        }
    }
}

pub(super) fn command_getkeys(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut words = call.arguments.clone();
    let command = call.kv.commands.find(words.next().unwrap_or_default());
    let mut command = command.ok_or(Fault::text("ERR Invalid command specified"))?;
    if !command.subcommands.is_empty() {
        let sub = words.next().and_then(|name| command.subcommand(name));
        command = sub.ok_or(Fault::text("ERR Invalid command specified"))?;
    }
    let count = call.arguments.len();
    let (first, last, step) = command.keys;
    // Channels of the shard stand where a cluster looks for keys, and are none.
    if first == 0 || command.flags.has(Flags::PUBSUB) {
        return Err(Fault::text("ERR The command has no key arguments"));
    }
    if !command.takes(count) {
        return Err(Fault::text("ERR Invalid number of arguments specified for command"));
    }
    let end = if last < 0 {
        count.saturating_sub(usize::from(last.unsigned_abs()))
    } else {
        last as usize
    };
    let (first, step) = (first as usize, (step as usize).max(1));
    let keys = call.arguments.clone().skip(first).take(end + 1 - first).step_by(step);
    call.replies().array(keys.clone().count());
    keys.for_each(|key| call.replies().bulk(key));
    Ok(Flow::Next)
}

/// The ten elements that Redis 7 tells about a command. There are no access categories, hints or
/// further rules about keys.
fn describe(replies: &mut Replies, command: &Command) {
    replies.array(10);
    replies.bulk(command.name.as_bytes());
    replies.integer(command.arity().into());
    replies.set(command.flags.names().count());
    command.flags.names().for_each(|flag| replies.simple(flag));
    let (first, last, step) = command.keys;
    [first, last, step].into_iter().for_each(|number| replies.integer(number.into()));
    (0..3).for_each(|_| replies.set(0));
    match command.subcommands.len() {
        // As Redis has it.
        0 => replies.set(0),
        len => replies.array(len),
    }
    command.subcommands.iter().for_each(|sub| describe(replies, sub));
}

fn document(replies: &mut Replies, command: &Command) {
    replies.bulk(command.name.as_bytes());
    let has_subcommands = !command.subcommands.is_empty();
    replies.map(if has_subcommands { 3 } else { 2 });
    for (key, value) in [("summary", command.summary), ("group", command.group)] {
        replies.bulk(key.as_bytes());
        replies.bulk(value.as_bytes());
    }
    if has_subcommands {
        replies.bulk(b"subcommands");
        replies.map(command.subcommands.len());
        command.subcommands.iter().for_each(|sub| document(replies, sub));
    }
}
