//! What a server shows, whom it lets in, and how both are changed while it runs.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use mio::net::TcpStream;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier};

use super::authorities::{Authorities, invalid};
use super::by_name::ByName;
use super::identity::Identity;
use super::layer::Tls;
use crate::reactor::Layer;

/// What a server shows and whom it lets in.
#[derive(Clone, Debug, Default)]
pub struct TlsServerConfig {
    /// Certificates with their keys, at least one. A client is shown the first that is valid for the name
    /// that it asks for, or else the first of all.
    pub identities: Vec<Identity>,
    /// Lets in clients only that show a certificate which one of these has signed. Default: clients need
    /// none.
    pub client_authorities: Option<Authorities>,
    /// Protocols that are spoken (ALPN, RFC 7301), the preferred one first. A client that names protocols,
    /// and none of these, is refused; a client that names none is let in. Default: none, which refuses
    /// nobody.
    pub protocols: Vec<String>,
}

/// The server's side of TLS. Clones are the same server.
#[derive(Clone, Debug)]
pub struct TlsServer {
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsServer {
    /// # Errors
    /// `InvalidData` when there is no certificate, or the authorities cannot be used.
    pub fn new(config: TlsServerConfig) -> io::Result<TlsServer> {
        let config = Arc::new(build(&config)?);
        Ok(TlsServer { current: Arc::new(RwLock::new(config)) })
    }

    /// Lets connections that come from now on see this instead, from any thread. Connections that are there
    /// keep what they have. Tickets of the time before are worth nothing any more: whom the new authorities
    /// do not let in cannot resume.
    ///
    /// # Errors
    /// As for [`new`](Self::new); then nothing has changed.
    pub fn replace(&self, config: TlsServerConfig) -> io::Result<()> {
        let config = Arc::new(build(&config)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What puts TLS on accepted sockets, for [`Reactor::listen_layered`](crate::Reactor::listen_layered).
    pub fn wrap(&self) -> impl FnMut(TcpStream) -> io::Result<Box<dyn Layer>> + use<> {
        let server = self.clone();
        move |socket| Ok(Box::new(Tls::server(socket, server.config())))
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn build(config: &TlsServerConfig) -> io::Result<ServerConfig> {
    let shown = ByName::new(&config.identities);
    let shown = shown.ok_or_else(|| invalid("a server needs a certificate".into()))?;
    let builder = builder()?;
    let builder = match &config.client_authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let roots = Arc::clone(&authorities.roots);
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| invalid(error.to_string()))?)
        }
    };
    let mut built = builder.with_cert_resolver(Arc::new(shown));
    built.alpn_protocols = config.protocols.iter().map(|name| name.clone().into_bytes()).collect();
    // Tickets, and not a memory of sessions: what a client keeps costs the server nothing.
    built.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
    Ok(built)
}

fn builder() -> io::Result<ConfigBuilder<ServerConfig, WantsVerifier>> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(io::Error::other)
}
