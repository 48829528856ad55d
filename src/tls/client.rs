//! The client's side: whom it believes, and by which name.

use std::io;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};

use super::authorities::{Authorities, invalid};
use super::layer::Tls;
use super::verifier::{Anything, Signed};
use crate::reactor::Layer;

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Servers whose certificate is valid for their name, and signed by one of these or one of these itself.
    Authorities(Authorities),
    /// Everybody, so that the bytes are hidden from those who only listen, and from nobody else.
    Anybody,
}

/// The client's side of TLS.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// A client that offers these protocols (ALPN), the preferred one first; or none. Every connection has
    /// its own handshake: nothing is resumed.
    ///
    /// # Errors
    /// `InvalidData` when the authorities cannot be used.
    pub fn new(trust: &Trust, protocols: &[&str]) -> io::Result<TlsClient> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Anybody => Arc::new(Anything { provider: Arc::clone(&provider) }),
            Trust::Authorities(Authorities { roots, certificates }) => {
                let (roots, provider) = (Arc::clone(roots), Arc::clone(&provider));
                let by = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                let by = by.map_err(|error| invalid(error.to_string()))?;
                Arc::new(Signed { by, given: Arc::clone(certificates) })
            }
        };
        let builder = ClientConfig::builder_with_provider(provider);
        let builder =
            builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(io::Error::other)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(TlsClient { config: Arc::new(config) })
    }

    /// What puts TLS on sockets that lead to a server of this name or IP address, for
    /// [`Context::connect_layered`](crate::Context::connect_layered).
    ///
    /// # Errors
    /// `InvalidData` when it is neither.
    pub fn wrap(
        &self,
        name: &str,
    ) -> io::Result<impl Fn(TcpStream) -> io::Result<Box<dyn Layer>> + Clone + Send + Sync + use<>>
    {
        let (config, text) = (Arc::clone(&self.config), name);
        let name = ServerName::try_from(name.to_owned());
        let name = name.map_err(|_| invalid(format!("{text} is no name of a server")))?;
        Ok(move |socket| {
            let session = ClientConnection::new(Arc::clone(&config), name.clone());
            let session = session.map_err(io::Error::other)?;
            Ok(Box::new(Tls::client(socket, session.into())) as Box<dyn Layer>)
        })
    }
}
