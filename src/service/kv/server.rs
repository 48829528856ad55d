//! The commands about the server and about commands.

use super::call::{Call, Run};
use super::command::{Command, Flags};
use super::fault::{Fault, Flow, Outcome};
use super::glob::Pattern;
use super::keyspace::KeyspaceStats;
use crate::codec::resp::Replies;

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

pub(super) fn config_resetstat(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.kv.keyspace.stats = KeyspaceStats::default();
    call.kv.counters.reset(call.cx.stats());
    call.ok()
}

pub(super) fn debug(_: &mut Call<'_, '_, '_>) -> Outcome {
    Err(Fault::text("ERR DEBUG command not allowed. Nobody may stop this server or look into it."))
}

// ---- COMMAND ----

/// The work to find a command, and to write all that is known of it. A subcommand is as much again.
const COMMAND_WORK: usize = 1 << 10;

/// The work for the subcommands of a command.
fn work_below(command: &Command<Run>) -> usize {
    command.subcommands.len() * COMMAND_WORK
}

pub(super) fn command(call: &mut Call<'_, '_, '_>) -> Outcome {
    let all = call.commands.all();
    call.kv.charge_work(all.iter().map(|command| COMMAND_WORK + work_below(command)).sum())?;
    let replies = call.replies();
    replies.array(all.len());
    all.iter().for_each(|command| describe(replies, command));
    Ok(Flow::Next)
}

pub(super) fn command_count(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.answer(call.commands.all().len() as i64)
}

pub(super) fn command_info(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.arguments.len() == 0 {
        return command(call);
    }
    let kv = &mut *call.kv;
    kv.charge_work(call.arguments.len() * COMMAND_WORK)?;
    kv.replies.array(call.arguments.len());
    for name in &mut call.arguments {
        match call.commands.find_full(name) {
            Some(command) => {
                kv.work.add(work_below(command));
                describe(&mut kv.replies, command);
            }
            None => kv.replies.null(),
        }
    }
    Ok(Flow::Next)
}

pub(super) fn command_docs(call: &mut Call<'_, '_, '_>) -> Outcome {
    let kv = &mut *call.kv;
    let all = call.commands.all();
    let names = &mut call.arguments;
    kv.charge_work(if names.len() > 0 { names.len() } else { all.len() } * COMMAND_WORK)?;
    let listed: Vec<&Command<Run>> = match names.len() {
        0 => all.iter().collect(),
        _ => names.filter_map(|name| call.commands.find_full(name)).collect(),
    };
    kv.work.add(listed.iter().map(|command| work_below(command)).sum());
    kv.replies.map(listed.len());
    listed.iter().for_each(|command| document(&mut kv.replies, command));
    Ok(Flow::Next)
}

pub(super) fn command_list(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut filter = CommandFilter::parse(call)?;
    let all = call.commands.all();
    call.kv.charge_work(all.len() * COMMAND_WORK)?;
    let all = all.iter().flat_map(|command| [command].into_iter().chain(command.subcommands));
    let listed: Vec<&Command<Run>> = all.filter(|command| filter.takes(command)).collect();
    if let CommandFilter::ByPattern(pattern) = filter {
        call.kv.work.add(pattern.work);
    }
    call.replies().array(listed.len());
    listed.iter().for_each(|command| call.replies().bulk(command.name.as_bytes()));
    Ok(Flow::Next)
}

/// Which commands `COMMAND LIST` lists.
enum CommandFilter<'a> {
    All,
    /// There are no modules.
    OfModule,
    InCategory(&'a [u8]),
    ByPattern(Pattern<'a>),
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
            b"pattern" => Ok(CommandFilter::ByPattern(Pattern::in_any_case(call.pattern()?))),
            _ => Err(Fault::SYNTAX),
        }
    }

    fn takes(&mut self, command: &Command<Run>) -> bool {
        match self {
            CommandFilter::All => true,
            CommandFilter::OfModule => false,
            CommandFilter::InCategory(name) => command.is_in_category(name),
            CommandFilter::ByPattern(pattern) => pattern.matches(command.name.as_bytes()),
        }
    }
}

pub(super) fn command_getkeys(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut words = call.arguments.clone();
    let command = call.commands.find(words.next().unwrap_or_default());
    let mut command = command.ok_or(Fault::text("ERR Invalid command specified"))?;
    if !command.subcommands.is_empty() {
        let sub = words.next().and_then(|name| command.subcommand(name));
        command = sub.ok_or(Fault::text("ERR Invalid command specified"))?;
    }
    let count = call.arguments.len();
    if command.keys.0 == 0 || command.flags.has(Flags::PUBSUB) {
        return Err(Fault::text("ERR The command has no key arguments"));
    }
    if !command.takes(count) {
        return Err(Fault::text("ERR Invalid number of arguments specified for command"));
    }
    let keys = command.keys_of(&call.arguments.as_request());
    call.replies().array(keys.len());
    keys.for_each(|key| call.replies().bulk(key));
    Ok(Flow::Next)
}

/// The ten elements that Redis 7 tells about a command. There are no access categories, hints or
/// further rules about keys.
fn describe(replies: &mut Replies, command: &Command<Run>) {
    replies.array(10);
    replies.bulk(command.name.as_bytes());
    replies.integer(command.arity.into());
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

fn document(replies: &mut Replies, command: &Command<Run>) {
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
