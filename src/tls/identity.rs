//! A certificate with its key.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::authorities::{certificates, invalid};

/// A certificate, those that lead from it to an authority, and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before this time.
    pub begins: SystemTime,
    /// Not after this time.
    pub ends: SystemTime,
}

impl Identity {
    /// Reads a certificate and its key, both in PEM. The server's certificate comes first in its file, those
    /// that lead to the authority behind it; the key is PKCS#8, PKCS#1 or SEC1, without a password.
    ///
    /// # Errors
    /// One sentence that names both files: one of them cannot be read or is no PEM, or they do not fit
    /// together.
    pub fn read(certificate: &Path, key: &Path) -> io::Result<Identity> {
        let load = |file: &Path, other: &Path, what: &str| {
            fs::read(file).map_err(|error| {
                let (file, other) = (file.display(), other.display());
                io::Error::new(error.kind(), format!("{what} {file} (with {other}): {error}"))
            })
        };
        let certificate_text = load(certificate, key, "certificate")?;
        let key_text = load(key, certificate, "key")?;
        Identity::from_pem(&certificate_text, &key_text).map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            invalid(format!("certificate {certificate} and key {key}: {error}"))
        })
    }

    /// As [`read`](Self::read), from the texts of both files.
    ///
    /// # Errors
    /// As for `read`, without the names.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> io::Result<Identity> {
        let about = |what: &str, why: &str| invalid(format!("of the {what}: {why}"));
        let chain =
            certificates(certificate).map_err(|error| about("certificate", &error.to_string()))?;
        ParsedCertificate::try_from(&chain[0])
            .map_err(|error| about("certificate", &error.to_string()))?;
        let key = read_key(key).map_err(|why| about("key", &why))?;
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let key = pair.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                invalid("the key is that of another certificate".into())
            }
            error => about("key", &error.to_string()),
        })?;
        Ok(Identity { key: Arc::new(key) })
    }

    /// From when to when the certificate is valid; `None` if that cannot be told.
    pub fn validity(&self) -> Option<Validity> {
        let leaf = self.key.cert.first()?;
        let refusal_at =
            |seconds| refusal(leaf, UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        // Before all certificates, and behind them: the refusal tells the bound.
        let begins = match refusal_at(0)? {
            CertificateError::NotValidYetContext { not_before, .. } => not_before,
            _ => return None,
        };
        let ends = match refusal_at(AFTER_ALL)? {
            CertificateError::ExpiredContext { not_after, .. } => not_after,
            _ => return None,
        };
        let time = |time: UnixTime| UNIX_EPOCH + Duration::from_secs(time.as_secs());
        Some(Validity { begins: time(begins), ends: time(ends) })
    }
}

/// The key of a text in PEM. A password is a case of its own: rustls would say that there is no key.
fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let text_shown = String::from_utf8_lossy(text);
    if text_shown.contains("ENCRYPTED") {
        return Err("it has a password; take that off with openssl pkey -in FILE -out FILE".into());
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            "it has no key in PEM (-----BEGIN PRIVATE KEY-----)".into()
        }
        error => format!("it is no PEM: {error}"),
    })
}

/// Why a certificate would be refused at this time, if its time is what is wrong: that is looked at first.
fn refusal(leaf: &CertificateDer<'static>, at: UnixTime) -> Option<CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).ok()?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
    let name = ServerName::try_from("localhost").ok()?;
    match verifier.ok()?.verify_server_cert(leaf, &[], &name, &[], at) {
        Err(Error::InvalidCertificate(refusal)) => Some(refusal),
        _ => None,
    }
}

/// The last second of the year 9999, the last that a certificate can name.
const AFTER_ALL: u64 = 253_402_300_799 + 1;
