//! The options of TLS, which every server has: what is shown to clients, and who may come.

use std::path::PathBuf;

use clap::Args;

use super::span::Span;

/// What can be said of TLS.
#[derive(Debug, Default, Args)]
pub(crate) struct TlsOptions {
    /// Show the certificate in FILE, in PEM, with those that lead to its authority behind it, on each
    /// tls: listener; repeatable, each with its --tls-key. A client is shown the first that has the name
    /// it asks for, or else the first of all [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_TLS_CERT", value_delimiter = ',')]
    #[arg(help_heading = TLS)]
    pub(crate) tls_cert: Option<Vec<PathBuf>>,

    /// The key of that certificate, in PEM; as many as there are certificates, in the same order
    /// [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_TLS_KEY", value_delimiter = ',')]
    #[arg(help_heading = TLS)]
    pub(crate) tls_key: Option<Vec<PathBuf>>,

    /// Let in only clients that show a certificate signed by one in FILE [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_TLS_CLIENT_CA", help_heading = TLS)]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// How long a client may take for its handshake, and a balancer for its header; one that says
    /// nothing is closed behind it, too [default: 10s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_HANDSHAKE_TIMEOUT", help_heading = TLS)]
    pub(crate) handshake_timeout: Option<Span>,
}

const TLS: &str = "TLS";
