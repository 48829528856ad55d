//! All tokens that a service takes.

use std::fmt;
use std::sync::Arc;

use super::identity::{Identity, TokenError};
use super::line_error::LineError;
use super::signed_token::{self, Key};
use super::token_list::{TOKEN_MAX, TokenList};

/// The tokens that a service takes: those of a list, and those that are signed with a key. Cheap to clone.
///
/// ```
/// use edgeloop::service::identity::{TokenError, Tokens};
/// let list = "7Kq2mVw0c9TzXfUe1sYbLg anna operator *\nnE4hJp8rD3vQyBt6kWxZ0A bob - lobby,den\n";
/// let tokens = Tokens::default().with_list(list)?;
/// let bob = tokens.identify("nE4hJp8rD3vQyBt6kWxZ0A", 0).unwrap();
/// assert_eq!((bob.name.as_str(), bob.role), ("bob", None));
/// assert_eq!(bob.rooms.unwrap(), ["lobby", "den"]);
/// assert_eq!(tokens.identify("7Kq2mVw0c9TzXfUe1sYbLx", 0), Err(TokenError::Unknown));
/// # Ok::<(), edgeloop::service::identity::LineError>(())
/// ```
#[derive(Clone, Default)]
pub struct Tokens {
    list: Arc<TokenList>,
    keys: Arc<[Key]>,
}

/// The shortest key: RFC 7518, 3.2, asks for as many bytes as the digest has.
const KEY_MIN: usize = 32;
/// The most keys: each is tried. Two are enough to change one for another.
const KEYS_MAX: usize = 8;

impl Tokens {
    /// The longest token, in bytes.
    pub const LEN_MAX: usize = TOKEN_MAX;

    /// Takes the tokens of a list as well: on each line a token, and behind it a name, a role or `-`, and
    /// rooms with commas between them or `*`. Role and rooms may be left out. A line that begins with `#`
    /// is a comment.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn with_list(self, text: &str) -> Result<Self, LineError> {
        Ok(Tokens { list: Arc::new(TokenList::parse(text)?), ..self })
    }

    /// Takes tokens that are signed with one of these keys as well: a key on each line. A line that begins
    /// with `#` is a comment.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn with_keys(self, text: &str) -> Result<Self, LineError> {
        let mut keys = Vec::new();
        for (line, key) in (1..).zip(text.lines()) {
            let wrong = |text: String| Err(LineError::new(line, text));
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return wrong("a key has no spaces in it".into());
            }
            if key.len() < KEY_MIN {
                let len = key.len();
                return wrong(format!("the key has {len} bytes; it must have at least {KEY_MIN}"));
            }
            if keys.len() == KEYS_MAX {
                return wrong(format!("there are more than {KEYS_MAX} keys"));
            }
            keys.extend(Key::new(key.as_bytes()));
        }
        if keys.is_empty() {
            return Err(LineError::new(1, "there is no key"));
        }
        Ok(Tokens { keys: keys.into(), ..self })
    }

    /// Whom a token stands for, at so many milliseconds since 1970.
    ///
    /// # Errors
    /// Why it stands for nobody.
    pub fn identify(&self, token: &str, now_ms: u64) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_MAX {
            return Err(TokenError::Unknown);
        }
        match self.list.find(token) {
            Some(identity) => Ok(identity.clone()),
            None => signed_token::verify(&self.keys, token, now_ms),
        }
    }

    /// Checks whom the tokens of the list stand for.
    ///
    /// # Errors
    /// The first line with which something is wrong.
    pub fn check(
        &self,
        mut check: impl FnMut(&Identity) -> Result<(), String>,
    ) -> Result<(), LineError> {
        let mut all: Vec<_> = self.list.identities().collect();
        all.sort_unstable_by_key(|(line, _)| *line);
        all.into_iter().try_for_each(|(line, identity)| {
            check(identity).map_err(|text| LineError::new(line, text))
        })
    }
}

/// How many there are, and none of them.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} in a list, {} keys)", self.list.identities().count(), self.keys.len())
    }
}
