//! `CONFIG`: the settings that clients ask for, and those that can be changed while the server runs.
//!
//! Whoever may use the command can change a setting: a limit can be lowered, and raised
//! again to what the server was started with. Beyond that only a client on this machine can raise it.

use super::call::Call;
use super::client::is_local;
use super::config::TRANSACTION_MEMORY_MAX;
use super::database::DATABASES;
use super::fault::{Fault, Outcome};
use super::glob::{PATTERN_MAX, Pattern, TEXT_WORK};
use super::list::Head;
use super::slices;
use super::store::Store;
use crate::codec::resp::parse_integer;
use crate::reactor::Config;

/// What can be known of a setting, and what it may be set to.
struct Setting {
    name: &'static str,
    value: fn(&Store, &Config) -> String,
    change: Change,
}

enum Change {
    Never,
    /// To the value that it has, which clients set to be sure of it.
    Only(&'static str),
    /// To a number, within bounds.
    UpTo {
        parse: fn(&[u8]) -> Option<u64>,
        fault: &'static str,
        limit: fn(&mut Store) -> Limit<'_>,
    },
    /// To `yes` or `no`, by a client on this machine.
    Switch(fn(&mut Store, bool)),
}

/// A limit, and how far it can be raised.
struct Limit<'a> {
    now: &'a mut usize,
    at_start: usize,
    /// By a client on this machine.
    most: usize,
    /// Whether 0 means the one at the start. Redis has no limit then.
    takes_zero: bool,
}

const SETTINGS: [Setting; 13] = [
    Setting { name: "appendonly", value: |_, _| "no".into(), change: Change::Only("no") },
    Setting {
        name: "channel-memory",
        value: |kv, _| kv.config.channel_memory.to_string(),
        change: Change::Never,
    },
    Setting { name: "databases", value: |_, _| DATABASES.to_string(), change: Change::Never },
    Setting {
        name: "max-subscriptions",
        value: |kv, _| kv.config.subscriptions_max.to_string(),
        change: Change::UpTo {
            parse: number,
            fault: "argument couldn't be parsed into an integer",
            limit: |kv| Limit {
                now: &mut kv.config.subscriptions_max,
                at_start: kv.at_start.subscriptions_max,
                most: SUBSCRIPTIONS_MAX,
                takes_zero: false,
            },
        },
    },
    Setting {
        name: "maxclients",
        value: |_, limits| limits.connections_max.to_string(),
        change: Change::Never,
    },
    Setting {
        name: "maxmemory",
        value: |kv, _| kv.config.max_memory.to_string(),
        change: Change::UpTo {
            parse: size,
            fault: NO_SIZE,
            limit: |kv| Limit {
                now: &mut kv.config.max_memory,
                at_start: kv.at_start.max_memory,
                most: isize::MAX as usize,
                takes_zero: true,
            },
        },
    },
    Setting {
        name: "maxmemory-policy",
        value: |_, _| "noeviction".into(),
        change: Change::Only("noeviction"),
    },
    Setting {
        name: "proto-max-bulk-len",
        value: |kv, _| kv.value_max.to_string(),
        change: Change::Never,
    },
    Setting {
        name: "protected-mode",
        value: |kv, _| if kv.config.protected_mode { "yes" } else { "no" }.into(),
        change: Change::Switch(|kv, is_on| kv.config.protected_mode = is_on),
    },
    Setting { name: "save", value: |_, _| String::new(), change: Change::Only("") },
    Setting {
        name: "subscriber-memory",
        value: |kv, _| kv.config.subscriber_memory.to_string(),
        change: Change::Never,
    },
    Setting {
        name: "timeout",
        value: |_, limits| limits.idle_timeout.map_or(0, |timeout| timeout.as_secs()).to_string(),
        change: Change::Never,
    },
    Setting {
        name: "transaction-memory",
        value: |kv, _| kv.config.transaction_memory.to_string(),
        change: Change::UpTo {
            parse: size,
            fault: NO_SIZE,
            limit: |kv| Limit {
                now: &mut kv.config.transaction_memory,
                at_start: kv.at_start.transaction_memory,
                most: TRANSACTION_MEMORY_MAX,
                takes_zero: false,
            },
        },
    },
];

/// What `yes` is as a number.
const ON: usize = 1;
/// More than anybody listens to.
const SUBSCRIPTIONS_MAX: usize = 1 << 20;
const NO_SIZE: &str = "argument must be a memory value";

pub(super) fn get(call: &mut Call<'_, '_, '_>) -> Outcome {
    let patterns = call.arguments.clone();
    if patterns.clone().any(|pattern| pattern.len() > PATTERN_MAX) {
        return Err(Fault::PATTERN_TOO_LONG);
    }
    slices::reply(call, Head::Map, |kv, cx, list, left| {
        let from = list.at;
        for pattern in patterns.skip(from) {
            if *left == 0 {
                return false;
            }
            let mut pattern = Pattern::in_any_case(pattern);
            for (bit, setting) in SETTINGS.iter().enumerate() {
                list.marks |= u64::from(pattern.matches(setting.name.as_bytes())) << bit;
            }
            list.at += 1;
            *left = left.saturating_sub(SETTINGS.len() * TEXT_WORK + pattern.work);
        }
        for (bit, setting) in SETTINGS.iter().enumerate() {
            if list.marks >> bit & 1 == 1 {
                list.bulk(setting.name.as_bytes());
                list.bulk((setting.value)(kv, cx.config()).as_bytes());
            }
        }
        true
    })
}

/// All of the changes or none.
pub(super) fn set(call: &mut Call<'_, '_, '_>) -> Outcome {
    if !call.arguments.len().is_multiple_of(2) {
        return Err(Fault::SYNTAX);
    }
    let mut asked: Vec<(&Setting, &[u8])> = Vec::new();
    while let (Some(name), Some(value)) = (call.arguments.next(), call.arguments.next()) {
        let setting =
            SETTINGS.iter().find(|setting| setting.name.as_bytes().eq_ignore_ascii_case(name));
        let text = "ERR Unknown option or number of arguments for CONFIG SET - '{}'";
        let setting = setting.ok_or_else(|| Fault::quoting(text, name))?;
        if matches!(setting.change, Change::Never) {
            return Err(setting.fault("can't set immutable config"));
        }
        // So there are never more of them than settings.
        if asked.iter().any(|(other, _)| other.name == setting.name) {
            return Err(setting.fault("duplicate parameter"));
        }
        asked.push((setting, value));
    }
    let is_local = is_local(call.cx, call.token);
    let mut limits = Vec::new();
    for (setting, value) in asked {
        limits.push((setting, setting.check(call.kv, value, is_local)?));
    }
    for (setting, value) in limits {
        match (&setting.change, value) {
            (Change::UpTo { limit, .. }, Some(value)) => *limit(call.kv).now = value,
            (Change::Switch(turn), Some(value)) => turn(call.kv, value == ON),
            _ => {}
        }
    }
    call.ok()
}

impl Setting {
    /// The limit that a value means, if it is one, or whether it is [`ON`].
    fn check(&self, kv: &mut Store, value: &[u8], is_local: bool) -> Result<Option<usize>, Fault> {
        let (parse, fault, limit) = match self.change {
            Change::Never => return Ok(None),
            Change::Only(only) if value.eq_ignore_ascii_case(only.as_bytes()) => return Ok(None),
            Change::Only(only) => {
                let text = format!("argument(s) must be one of the following: {only}");
                return Err(self.fault(&text));
            }
            Change::Switch(_) if !is_local => {
                return Err(self.fault("it can only be set from the server's own machine"));
            }
            Change::Switch(_) => {
                return match value.to_ascii_lowercase().as_slice() {
                    b"yes" => Ok(Some(ON)),
                    b"no" => Ok(Some(1 - ON)),
                    _ => Err(self.fault("argument must be 'yes' or 'no'")),
                };
            }
            Change::UpTo { parse, fault, limit } => (parse, fault, limit(kv)),
        };
        let value = parse(value).ok_or_else(|| self.fault(fault))?;
        if value == 0 && limit.takes_zero {
            return Ok(Some(limit.at_start));
        }
        let most = if is_local { limit.most } else { limit.at_start };
        let value = usize::try_from(value).ok().filter(|value| (1..=most).contains(value));
        let text = || format!("argument must be between 1 and {most} inclusive");
        value.map(Some).ok_or_else(|| self.fault(&text()))
    }

    fn fault(&self, text: &str) -> Fault {
        let name = self.name;
        Fault::of(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {text}"))
    }
}

fn number(text: &[u8]) -> Option<u64> {
    u64::try_from(parse_integer(text)?).ok()
}

/// A number of bytes, with a unit or without. As in Redis, those with a b are powers of two.
fn size(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(digits);
    let scale: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::KvConfig;

    #[test]
    fn client_elsewhere_raises_a_limit_to_what_it_was_at_the_start_and_not_beyond() {
        let config = Config { output_limit: 4 << 20, ..Config::default() };
        let mut kv = Store::new(KvConfig::default(), &config).unwrap();
        let most = KvConfig::default().max_memory;
        let setting = SETTINGS.iter().find(|setting| setting.name == "maxmemory").unwrap();
        kv.config.max_memory = 1;
        for (value, is_local, limit) in [
            ("256mb", false, Some(most)),
            ("257mb", false, None),
            ("257mb", true, Some(257 << 20)),
            ("0", false, Some(most)),
            ("0", true, Some(most)),
        ] {
            let checked = setting.check(&mut kv, value.as_bytes(), is_local);
            assert_eq!(checked.ok().flatten(), limit, "{value}");
        }
    }
}
