//! Passwords of users. They need the feature `identity`; without it there are none.

#[cfg(feature = "identity")]
use crate::service::identity::secret::SecretDigest;

/// What is kept of a password.
#[cfg(feature = "identity")]
pub(super) type Password = SecretDigest;
#[cfg(not(feature = "identity"))]
pub(super) type Password = std::convert::Infallible;

/// Whether what a client gives is one of the passwords. Also where there are none it takes the time to
/// find out.
#[cfg(feature = "identity")]
pub(super) fn opens(passwords: &[Password], given: &[u8]) -> bool {
    SecretDigest::of(given).is_any_of(passwords)
}

#[cfg(not(feature = "identity"))]
pub(super) fn opens(_: &[Password], _: &[u8]) -> bool {
    false
}

/// The work to make a digest of a password, and that for each byte of it: four nanoseconds, as long as a
/// processor without instructions for it takes.
pub(super) const DIGEST_WORK: usize = 4 << 10;
pub(super) const DIGEST_BYTE_WORK: usize = 16;
