//! Who is there: secrets, and what they prove.
//!
//! | file | what it is |
//! | --- | --- |
//! | `secret` | a secret that is looked for, of which only a digest is kept |
//! | `line_error` | what is wrong with a line of a file of secrets |
//! | `identity` | whom a token stands for, or why for nobody: [`Identity`], [`TokenError`] |
//! | `token_list`, `signed_token` | tokens that stand in a list, and tokens that are signed |
//! | `tokens` | both: [`Tokens`] |

#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod identity;
mod line_error;
pub(super) mod secret;
mod signed_token;
mod token_list;
mod tokens;

pub use identity::{Identity, TokenError};
pub use line_error::LineError;
pub use tokens::Tokens;
