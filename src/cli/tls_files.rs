//! The files of TLS, read and checked before anything listens.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use edgeloop::tls::{Authorities, Identity, TlsServer, TlsServerConfig};

use super::failure::Failure;
use super::remark::Remark;
use super::sources::Sources;
use super::tls_options::TlsOptions;

/// What was read of the files that the options name.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) server: TlsServer,
    /// How many days the first certificate to end is still valid.
    pub(crate) days_left: Option<i64>,
    /// What is wrong with the files, and keeps nobody from starting.
    pub(crate) remarks: Vec<Remark>,
}

impl Tls {
    /// Reads the files, for a server that has TLS somewhere or not.
    ///
    /// # Errors
    /// What is wrong with the options or the files.
    pub(crate) fn read(
        options: &TlsOptions,
        has_listener: bool,
        protocols: &[&str],
        sources: &Sources,
    ) -> Result<Option<Tls>, Failure> {
        let (certificates, keys) = (files(&options.tls_cert), files(&options.tls_key));
        check(options, has_listener, certificates.len(), keys.len(), sources)?;
        if !has_listener {
            return Ok(None);
        }
        let wrong = |error: std::io::Error, option| sources.blame_value(option, &error.to_string());
        let mut identities = Vec::new();
        let (mut remarks, mut ends) = (Vec::new(), Vec::new());
        for (certificate, key) in certificates.iter().zip(keys) {
            let identity =
                Identity::read(certificate, key).map_err(|error| wrong(error, "tls-cert"))?;
            let (left, not_valid) = days_left(&identity, certificate);
            ends.extend(left);
            remarks.extend(not_valid);
            remarks.extend(readable(key));
            identities.push(identity);
        }
        let authorities = options.tls_client_ca.as_deref().map(Authorities::read).transpose();
        let client_authorities = authorities.map_err(|error| wrong(error, "tls-client-ca"))?;
        let protocols = protocols.iter().map(|protocol| (*protocol).to_owned()).collect();
        let config = TlsServerConfig { identities, client_authorities, protocols };
        let server = TlsServer::new(config).map_err(|error| wrong(error, "tls-cert"))?;
        Ok(Some(Tls { server, days_left: ends.into_iter().min(), remarks }))
    }
}

fn check(
    options: &TlsOptions,
    has_listener: bool,
    certificates: usize,
    keys: usize,
    sources: &Sources,
) -> Result<(), Failure> {
    let given = [
        ("tls-cert", certificates > 0),
        ("tls-key", keys > 0),
        ("tls-client-ca", options.tls_client_ca.is_some()),
    ];
    let stray = given.iter().find(|(_, is_given)| *is_given && !has_listener);
    if let Some((option, _)) = stray {
        let text = "is for a listener that has TLS, and none has; write --listen tls:ADDR";
        return Err(sources.blame(&format!("{option} {text}")));
    }
    if has_listener && certificates == 0 && keys == 0 {
        let text = "has tls:, which needs a certificate: --tls-cert FILE and --tls-key FILE";
        return Err(sources.blame(&format!("listen {text}")));
    }
    if certificates != keys {
        let times = |count| if count == 1 { "one file".into() } else { format!("{count} files") };
        return Err(sources.blame(&format!(
            "tls-cert names {} and tls-key {}; they go in pairs",
            times(certificates),
            times(keys)
        )));
    }
    Ok(())
}

fn files(option: &Option<Vec<PathBuf>>) -> &[PathBuf] {
    option.as_deref().unwrap_or_default()
}

/// How long a certificate is still valid, and what is wrong with it if it is not.
fn days_left(identity: &Identity, file: &Path) -> (Option<i64>, Option<Remark>) {
    let Some(validity) = identity.validity() else { return (None, None) };
    let now = SystemTime::now();
    let days = |span: Duration| (span.as_secs() / DAY) as i64;
    let file = file.display();
    match validity.ends.duration_since(now) {
        Err(over) => {
            let since = days(over.duration());
            let text =
                format!("the certificate {file} expired {since} days ago: clients refuse it");
            (Some(-since), Some(not_valid(text)))
        }
        Ok(left) => {
            let early = validity.begins.duration_since(now).ok().filter(|wait| !wait.is_zero());
            let text = |_| format!("the certificate {file} is not valid yet: clients refuse it");
            (Some(days(left)), early.map(text).map(not_valid))
        }
    }
}

fn not_valid(text: String) -> Remark {
    Remark::new("certificate_not_valid", text)
}

/// A key is for the server alone.
fn readable(key: &Path) -> Option<Remark> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o777;
    let text = || {
        format!(
            "others can read the key {} (mode {mode:o}): chmod o= takes that away",
            key.display()
        )
    };
    (mode & 0o007 != 0).then(|| Remark::new("key_readable", text()))
}

const DAY: u64 = 24 * 60 * 60;
