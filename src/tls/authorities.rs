//! The certificates by which those of others are checked.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Certificates of authorities: what they have signed is believed.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    /// As they stood in the file, where they came from one.
    pub(super) certificates: Arc<[CertificateDer<'static>]>,
}

impl Authorities {
    /// Reads a file of certificates in PEM, one behind the other.
    ///
    /// # Errors
    /// One sentence that names the file: it cannot be read, or has no certificate, or a broken one.
    pub fn read(file: &Path) -> io::Result<Authorities> {
        let named = |why: String| invalid(format!("{}: {why}", file.display()));
        let text = fs::read(file).map_err(|error| named(error.to_string()))?;
        Authorities::from_pem(&text).map_err(|error| named(error.to_string()))
    }

    /// As [`read`](Self::read), from the text of a file.
    ///
    /// # Errors
    /// As for `read`.
    pub fn from_pem(text: &[u8]) -> io::Result<Authorities> {
        let certificates = certificates(text)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| invalid(error.to_string()))?;
        }
        Ok(Authorities { roots: Arc::new(roots), certificates: certificates.into() })
    }

    /// Those that this system believes; or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, as with OpenSSL.
    /// Certificates that cannot be used are passed over, since such stores hold old ones.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_system() -> io::Result<Authorities> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
            let glue = if why.is_empty() { "" } else { ": " };
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("this system has no certificates of authorities{glue}{why}"),
            ));
        }
        Ok(Authorities { roots: Arc::new(roots), certificates: Arc::new([]) })
    }
}

/// The certificates of a text in PEM, at least one.
pub(super) fn certificates(text: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| invalid(format!("it is no PEM: {error}")))?;
    match found.is_empty() {
        true => Err(invalid("it has no certificate in PEM (-----BEGIN CERTIFICATE-----)".into())),
        false => Ok(found),
    }
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
