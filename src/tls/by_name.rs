//! Which certificate a client is shown: the first that is valid for the name that the client asks for, or
//! the first of all. Clients that connect by an address ask for no name.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::identity::Identity;

/// At least one.
#[derive(Debug)]
pub(super) struct ByName {
    first: Arc<CertifiedKey>,
    others: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    /// `None` where there is nothing to show.
    pub(super) fn new(identities: &[Identity]) -> Option<ByName> {
        let mut keys = identities.iter().map(|identity| Arc::clone(&identity.key));
        Some(ByName { first: keys.next()?, others: keys.collect() })
    }

    fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let is_valid = |key: &&Arc<CertifiedKey>| {
            let leaf = key.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
            leaf.zip(name.as_ref())
                .is_some_and(|(leaf, name)| verify_server_name(&leaf, name).is_ok())
        };
        // With one certificate there is nothing to compare.
        if self.others.is_empty() || is_valid(&&self.first) {
            return &self.first;
        }
        self.others.iter().find(is_valid).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}
