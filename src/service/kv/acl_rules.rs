//! The file of users, in the format of Redis' `aclfile`: what is understood of it means here what it
//! means there, and everything else is an error.
//!
//! ```text
//!   user default off
//!   user alice on >a-password ~cached:* %R~settings:* &news.* +@read +@write +@connection -keys
//! ```
//!
//! Rules are applied from left to right. A user begins without any right; `default` begins with all of
//! them, and without a password.

use std::collections::BTreeSet;

use super::call::Run;
use super::command::{CATEGORIES, Command, Commands as Index};
use super::commands::COMMANDS;
use super::glob::PATTERN_MAX;
use super::password::Password;
use super::user::{Access, Commands, DEFAULT_NAME, Patterns, USERS_MAX, User, Users};
use crate::service::identity::LineError;

/// A password that is shorter can be guessed; a file of Redis may have one all the same.
const PASSWORD_SHORT: usize = 8;

impl Users {
    /// The users of a file, and what is to be said of its lines although they are right.
    ///
    /// ```
    /// use edgeloop::service::Users;
    /// let (users, remarks) = Users::parse("user default off\nuser alice on >open-sesame ~a:* +get\n")?;
    /// assert_eq!((format!("{users:?}"), remarks.len()), (r#"Users(["alice", "default"])"#.into(), 0));
    /// let wrong = Users::parse("user default off\nuser alice (+get ~x)\n").unwrap_err();
    /// assert!(wrong.to_string().starts_with("line 2: selectors"), "{wrong}");
    /// # Ok::<(), edgeloop::service::identity::LineError>(())
    /// ```
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<(Users, Vec<LineError>), LineError> {
        let rules = Rules { index: Index::new(COMMANDS) };
        let mut users = vec![User::free(DEFAULT_NAME)];
        let (mut named, mut remarks) = (BTreeSet::new(), Vec::new());
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim_matches([' ', '\t', '\r']);
            if text.is_empty() {
                continue;
            }
            let wrong = |text: String| LineError::new(line, text);
            let mut words = text.split(' ');
            let (first, name) = (words.next(), words.next().unwrap_or_default());
            if first != Some("user") || name.is_empty() {
                return Err(wrong("a line is `user NAME RULE …`; there are no comments".into()));
            }
            if !named.insert(name.to_owned()) {
                return Err(wrong(format!("there is a user {name} already")));
            }
            let mut user = if name == DEFAULT_NAME { users.remove(0) } else { User::new(name) };
            for (place, rule) in (3..).zip(words) {
                let rule = rule.trim_matches(['\t', '\r']);
                rules.apply(&mut user, rule, place).map_err(wrong)?;
                if rule.strip_prefix('>').is_some_and(|it| it.len() < PASSWORD_SHORT) {
                    let text = format!("a password of user {name} is short enough to be guessed");
                    remarks.push(LineError::new(line, text));
                }
            }
            users.insert(if name == DEFAULT_NAME { 0 } else { users.len() }, user);
            if users.len() > USERS_MAX {
                return Err(LineError::new(line, format!("there are more than {USERS_MAX} users")));
            }
        }
        Ok((Users::of(users), remarks))
    }
}

/// What rules are read with.
struct Rules {
    index: Index<Run>,
}

impl Rules {
    /// Applies one rule, which is the line's word at `place`.
    fn apply(&self, user: &mut User, rule: &str, place: usize) -> Result<(), String> {
        let lower = rule.to_ascii_lowercase();
        match lower.as_str() {
            "" | "sanitize-payload" | "skip-sanitize-payload" => {}
            "on" => user.is_on = true,
            "off" => user.is_on = false,
            "nopass" => (user.is_open, user.passwords) = (true, Vec::new()),
            "resetpass" => (user.is_open, user.passwords) = (false, Vec::new()),
            "allkeys" | "~*" => user.keys = Patterns::All,
            "resetkeys" => user.keys = Patterns::Some(Vec::new()),
            "allchannels" | "&*" => user.channels = Patterns::All,
            "resetchannels" => user.channels = Patterns::Some(Vec::new()),
            "allcommands" | "+@all" => user.commands = Commands::All,
            "nocommands" | "-@all" => user.commands = Commands::Some(BTreeSet::new()),
            "reset" => *user = User::new(&user.name),
            _ => self.apply_with_value(user, rule, place)?,
        }
        Ok(())
    }

    fn apply_with_value(&self, user: &mut User, rule: &str, place: usize) -> Result<(), String> {
        // A word may be a password whose sign was forgotten: it is not quoted.
        let unknown = || format!("its word {place} is no rule");
        let mut letters = rule.chars();
        let sign = letters.next().ok_or_else(unknown)?;
        let value = letters.as_str();
        match sign {
            '>' if value.is_empty() => {
                return Err(format!("its word {place} is an empty password"));
            }
            '>' => user.add_password(Password::of(value.as_bytes())),
            '#' => {
                let digest = Password::from_hex(value.as_bytes());
                let text = "is no SHA-256 of 64 lowercase hexadecimal characters";
                user.add_password(digest.ok_or_else(|| format!("its word {place} {text}"))?);
            }
            '<' | '!' => {
                return Err(format!(
                    "its word {place} takes a password away; begin with resetpass"
                ));
            }
            '~' => user.keys.add(Access::BOTH, value, rule, "allkeys")?,
            '%' => {
                let (access, pattern) = value.split_once('~').ok_or_else(unknown)?;
                let access = match access.to_ascii_uppercase().as_str() {
                    "R" => Access::READ,
                    "W" => Access::WRITE,
                    "RW" | "WR" => Access::BOTH,
                    _ => return Err(unknown()),
                };
                user.keys.add(access, pattern, rule, "allkeys")?;
            }
            '&' => user.channels.add(Access::BOTH, value, rule, "allchannels")?,
            '+' | '-' => {
                let changed = self.change(user, value, sign == '+');
                changed.map_err(|text| format!("{}: {text}", shown(rule, place)))?;
            }
            '(' => return Err("selectors in parentheses are not understood here".into()),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// Permits commands, or forbids them: those of a category, or one, with its subcommands.
    fn change(&self, user: &mut User, name: &str, is_permitted: bool) -> Result<(), String> {
        let named: Vec<&'static str> = match name.strip_prefix('@') {
            Some(name) if CATEGORIES.iter().any(|it| it.eq_ignore_ascii_case(name)) => {
                let all = COMMANDS.iter().flat_map(with_subcommands);
                let name = name.as_bytes();
                all.filter(|it| it.is_in_category(name)).map(|it| it.name).collect()
            }
            Some(_) => return Err("there is no such category".into()),
            None => {
                let found = self.index.find_full(name.as_bytes());
                let found = found.ok_or("there is no such command here")?;
                with_subcommands(found).map(|it| it.name).collect()
            }
        };
        let mut permitted = match std::mem::replace(&mut user.commands, Commands::All) {
            Commands::Some(names) => names,
            // Every command is permitted already.
            Commands::All if is_permitted => return Ok(()),
            Commands::All => COMMANDS.iter().flat_map(with_subcommands).map(|it| it.name).collect(),
        };
        for name in named {
            if is_permitted {
                permitted.insert(name)
            } else {
                permitted.remove(name)
            };
        }
        user.commands = Commands::Some(permitted);
        Ok(())
    }
}

/// A rule as it may be quoted: what is spelled unlike a command may be a password.
fn shown(rule: &str, place: usize) -> String {
    let is_of_a_name = |byte: u8| byte.is_ascii_alphabetic() || b"+-@|_".contains(&byte);
    match rule.bytes().all(is_of_a_name) {
        true => rule.into(),
        false => format!("its word {place}"),
    }
}

fn with_subcommands(command: &'static Command<Run>) -> impl Iterator<Item = &'static Command<Run>> {
    [command].into_iter().chain(command.subcommands)
}

impl User {
    /// A user without any right.
    fn new(name: &str) -> Self {
        User {
            name: name.into(),
            is_on: false,
            is_open: false,
            passwords: Vec::new(),
            commands: Commands::Some(BTreeSet::new()),
            keys: Patterns::Some(Vec::new()),
            channels: Patterns::Some(Vec::new()),
        }
    }

    fn add_password(&mut self, password: Password) {
        self.passwords.push(password);
        self.is_open = false;
    }
}

impl Patterns {
    fn add(&mut self, access: Access, pattern: &str, rule: &str, all: &str) -> Result<(), String> {
        let Patterns::Some(patterns) = self else {
            return Err(format!("{rule} has no effect behind {all}; take {all} away"));
        };
        if pattern.len() > PATTERN_MAX {
            return Err(format!("a pattern has at most {PATTERN_MAX} bytes"));
        }
        patterns.push((access, pattern.as_bytes().into()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(rules: &str) -> Result<User, LineError> {
        let (users, _) = Users::parse(&format!("user default off\nuser u {rules}\n"))?;
        let standing = users.authenticate(b"u", b"").or_else(|| users.authenticate(b"u", b"p"));
        Ok(standing.map_or_else(|| User::new("u"), |standing| users.user(standing).clone()))
    }

    fn commands(rules: &str) -> Vec<&'static str> {
        let user = user(&format!("on nopass {rules}")).unwrap();
        let all = COMMANDS.iter().flat_map(with_subcommands).map(|command| command.name);
        all.filter(|name| user.may_run(name)).collect()
    }

    #[test]
    fn rules_are_applied_from_left_to_right() {
        assert_eq!(commands(""), [""; 0]);
        assert_eq!(commands("+get +set -get"), ["set"]);
        assert_eq!(commands("+GET|x".split('|').next().unwrap()), ["get"]);
        assert_eq!(commands("+config -config|set"), ["config", "config|get", "config|resetstat"]);
        assert_eq!(commands("+config|get"), ["config|get"]);
        assert_eq!(commands("+@transaction"), ["discard", "exec", "multi", "unwatch", "watch"]);
        assert_eq!(commands("+@all -@all +ping reset"), [""; 0]);
        assert_eq!(commands("-get +@all"), commands("allcommands"));
        assert_eq!(commands("+@all -get").len(), commands("+@all").len() - 1);
        assert_eq!(commands("+@hash +@scripting"), [""; 0], "categories without a command here");
    }

    #[test]
    fn first_user_is_default_wherever_it_stands_and_may_do_everything_unless_it_is_said() {
        let (users, _) = Users::parse("user a on nopass\n\n  user b on nopass\r\n").unwrap();
        assert!(users.let_anybody_in());
        let (users, _) = Users::parse("user a on nopass\nuser default on >open-sesame\n").unwrap();
        assert!(!users.let_anybody_in());
        assert!(users.authenticate(b"default", b"open-sesame").unwrap().is_free);
        assert!(users.authenticate(b"default", b"").is_none());
        for (text, line) in
            [("user a\nusers b\n", 2), ("user a\nuser a\n", 2), ("user\n", 1), ("#\n", 1)]
        {
            assert_eq!(Users::parse(text).unwrap_err().line, line, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_file_has_is_read_or_refused_with_its_line(text in "(user |[ab+@~&%#>()|\\n -]|get|on|allkeys){0,60}") {
            if let Err(LineError { line, .. }) = Users::parse(&text) {
                prop_assert!((1..=text.lines().count()).contains(&line));
            }
        }

        #[test]
        fn behind_a_reset_it_does_not_matter_what_was_before(
            before in proptest::collection::vec(rule(), 0..8),
            after in proptest::collection::vec(rule(), 0..8),
        ) {
            let (before, after) = (before.join(" "), after.join(" "));
            // Patterns behind all of them are refused.
            if let (Ok(_), Ok(alone)) = (user(&before), user(&format!("reset {after}"))) {
                let both = user(&format!("{before} reset {after}")).unwrap();
                for command in COMMANDS {
                    prop_assert_eq!(both.may_run(command.name), alone.may_run(command.name));
                }
                for (patterns, same) in [(&both.keys, &alone.keys), (&both.channels, &alone.channels)] {
                    for text in ["a", "ab", "b"] {
                        let describe = |it: &Patterns| it.describe(text.as_bytes(), Access::READ, &mut { usize::MAX });
                        prop_assert_eq!(describe(patterns), describe(same));
                    }
                }
            }
        }
    }

    fn rule() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec![
            "on",
            "off",
            "nopass",
            ">p",
            "resetpass",
            "~a*",
            "%R~b",
            "%W~*",
            "allkeys",
            "resetkeys",
            "&a",
            "allchannels",
            "resetchannels",
            "+get",
            "-get",
            "+config|get",
            "-config",
            "+@read",
            "-@fast",
            "+@all",
            "-@all",
            "reset",
        ])
    }
}
