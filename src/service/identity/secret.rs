//! Secrets that are looked for: only a digest of each is kept.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 of a secret. Whatever is compared with it costs the same time, however much agrees.
#[derive(Clone, Copy)]
pub(crate) struct SecretDigest([u8; 32]);

impl SecretDigest {
    pub(crate) fn of(secret: &[u8]) -> Self {
        SecretDigest(Sha256::digest(secret).into())
    }

    pub(crate) fn of_bytes(digest: [u8; 32]) -> Self {
        SecretDigest(digest)
    }

    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// A digest in hexadecimal, as `sha256sum` prints it.
    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text).ok()?;
        Some(SecretDigest(bytes.try_into().ok()?))
    }

    /// Whether this is one of them. All of them are looked at.
    pub(crate) fn is_any_of(self, others: &[SecretDigest]) -> bool {
        let found = others.iter().fold(Choice::from(0), |found, it| found | it.0.ct_eq(&self.0));
        found.into()
    }
}

/// Says nothing of it.
impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_that_of_the_standard_and_shows_nothing() {
        // FIPS 180-2, appendix B.1.
        let hex = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let abc = SecretDigest::from_hex(hex).unwrap();
        assert!(SecretDigest::of(b"abc").is_any_of(&[SecretDigest::of(b"x"), abc]));
        assert!(!SecretDigest::of(b"abd").is_any_of(&[abc]));
        assert!(!SecretDigest::of(b"abc").is_any_of(&[]));
        for wrong in [&hex[1..], &hex.to_ascii_uppercase(), b"", &[b'g'; 64]] {
            assert!(SecretDigest::from_hex(wrong).is_none(), "{}", wrong.escape_ascii());
        }
        assert_eq!(format!("{abc:?}"), "SecretDigest");
    }
}
