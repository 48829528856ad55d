//! The commands about users. Users are read from a file at start, and no command changes them.

use super::call::{Call, Run};
use super::command::{CATEGORIES, Command};
use super::fault::{Fault, Flow, Outcome};

/// The work to look at a command.
const COMMAND_WORK: usize = 128;

pub(super) fn whoami(call: &mut Call<'_, '_, '_>) -> Outcome {
    let standing = call.client().map(|client| client.standing);
    let standing = standing.unwrap_or_else(|| call.kv.config.users.newcomer());
    let kv = &mut *call.kv;
    kv.replies.bulk(kv.config.users.user(standing).name.as_bytes());
    Ok(Flow::Next)
}

pub(super) fn users(call: &mut Call<'_, '_, '_>) -> Outcome {
    let kv = &mut *call.kv;
    let names = kv.config.users.names();
    kv.replies.array(names.len());
    names.iter().for_each(|name| kv.replies.bulk(name.as_bytes()));
    Ok(Flow::Next)
}

pub(super) fn cat(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.arguments.len() > 1 {
        let text = "ERR unknown subcommand or wrong number of arguments for '{}'. Try ACL HELP.";
        return Err(Fault::quoting(text, call.request.arguments().nth(1).unwrap_or_default()));
    }
    let Some(name) = call.arguments.next() else {
        let replies = call.replies();
        replies.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| replies.bulk(name.as_bytes()));
        return Ok(Flow::Next);
    };
    if !CATEGORIES.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(name)) {
        return Err(Fault::quoting("ERR Unknown category '{}'", name));
    }
    let all = call.commands.all();
    call.kv.charge_work(all.len() * COMMAND_WORK)?;
    let all = all.iter().flat_map(|command| [command].into_iter().chain(command.subcommands));
    let found: Vec<&Command<Run>> = all.filter(|command| command.is_in_category(name)).collect();
    let replies = call.replies();
    replies.array(found.len());
    found.iter().for_each(|command| replies.bulk(command.name.as_bytes()));
    Ok(Flow::Next)
}
