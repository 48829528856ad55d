//! Whether a client may have a command carried out: who it is, and what its user may do.

use super::command::{Command, Flags};
use super::fault::Fault;
use super::glob::TEXT_WORK;
use super::store::Store;
use super::user::{Access, Patterns, User};
use super::work::{SMALL, TURN_MAX};
use crate::codec::resp::Request;

/// Why it may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    Stranger,
    Command,
    Key,
    Channel,
    /// It cannot be found out, or not now.
    Unknown(Fault),
}

impl Denial {
    const TOO_LONG: Denial = Denial::Unknown(Fault::text(
        "ERR it takes too long to compare so many names with the patterns of this user",
    ));

    pub(super) fn fault(self, command: &str) -> Fault {
        let none = "NOPERM this user has no permissions to";
        match self {
            Denial::Stranger => Fault::text("NOAUTH Authentication required."),
            Denial::Command => Fault::of(format!("{none} run the '{command}' command")),
            Denial::Key => Fault::of(format!("{none} access one of the keys used as arguments")),
            Denial::Channel => {
                Fault::of(format!("{none} access one of the channels used as arguments"))
            }
            Denial::Unknown(fault) => fault,
        }
    }

    /// For a command that was queued as another user than it is carried out as.
    pub(super) fn fault_in_transaction(self) -> Fault {
        let reason = match self {
            Denial::Unknown(fault) => return fault,
            Denial::Key => "no permission to touch the specified keys",
            Denial::Channel => {
                "no permission to access one of the channels used as arguments to the command"
            }
            Denial::Command | Denial::Stranger => {
                "no permission to execute the command or subcommand"
            }
        };
        Fault::of(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC \
             call. This command is no longer allowed for the following reason: {reason}"
        ))
    }
}

impl Store {
    /// Whether a client may have a command carried out.
    pub(super) fn permit<R>(
        &mut self,
        client: u32,
        command: &Command<R>,
        request: &Request<'_>,
    ) -> Result<(), Denial> {
        let Some(client) = self.clients.get(client as usize) else { return Ok(()) };
        let standing = client.standing;
        if standing.is_free || command.flags.has(Flags::NO_AUTH) {
            return Ok(());
        }
        if !standing.is_in {
            return Err(Denial::Stranger);
        }
        let users = self.config.users.clone();
        let user = users.user(standing);
        // What few names cost is small, and counted afterwards.
        let price = request.len() * user.patterns() * TEXT_WORK;
        if price > SMALL {
            self.charge_work(price).map_err(Denial::Unknown)?;
        }
        let mut left = TURN_MAX;
        let permitted = check(user, command, request, &mut left);
        self.work.add((TURN_MAX - left).saturating_sub(if price > SMALL { price } else { 0 }));
        permitted
    }
}

fn check<R>(
    user: &User,
    command: &Command<R>,
    request: &Request<'_>,
    left: &mut usize,
) -> Result<(), Denial> {
    if !user.may_run(command.name) {
        return Err(Denial::Command);
    }
    let denied = |denial: Denial, left: usize| if left == 0 { Denial::TOO_LONG } else { denial };
    if !matches!(user.keys, Patterns::All) {
        for (place, key) in command.keys_of(request).enumerate() {
            if !user.keys.describe(key, command.access(place, request), left) {
                return Err(denied(Denial::Key, *left));
            }
        }
    }
    if matches!(user.channels, Patterns::All) {
        return Ok(());
    }
    let channels = match command.name {
        "publish" | "spublish" => 1,
        "subscribe" | "ssubscribe" | "psubscribe" => usize::MAX,
        _ => 0,
    };
    for channel in request.arguments().skip(1).take(channels) {
        // Of a pattern all channels would have to be permitted, so it is to be one of the user's.
        let may = match command.name {
            "psubscribe" => user.channels.have(channel, left),
            _ => user.channels.describe(channel, Access::NONE, left),
        };
        if !may {
            return Err(denied(Denial::Channel, *left));
        }
    }
    Ok(())
}
