//! Who is there: secrets, and what they prove.
//!
//! | file | what it is |
//! | --- | --- |
//! | `secret` | a secret that is looked for, of which only a digest is kept |
//! | `line_error` | what is wrong with a line of a file of secrets |

mod line_error;
pub(super) mod secret;

pub use line_error::LineError;
