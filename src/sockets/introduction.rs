//! What a greeting has found out about a peer.

/// What the [greeting of a layer](crate::Layer::greet) has found out about the peer. Empty for a
/// connection without a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// Nobody on the way can read or change what is said.
    pub is_encrypted: bool,
    /// The protocol that both sides have agreed on (ALPN), such as `http/1.1`.
    pub protocol: Option<Vec<u8>>,
    /// The name by which the peer called this server (SNI).
    pub server_name: Option<String>,
    /// The certificates that the peer has shown and that were verified, in DER; its own comes first.
    pub certificates: Vec<Vec<u8>>,
}
