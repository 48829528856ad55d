//! Balancers that say who their clients are, by the PROXY protocol.

use super::networks::Network;
use crate::codec::ProxyHeader;
use crate::reactor::{Address, BadPreface, Introduced, Preface};

/// Has balancers introduce their clients, by a header of the PROXY protocol, version 1 or 2, before the
/// client's bytes. A connection from one of the balancers must begin with a header; from any other
/// address none is read, and what looks like one is the client's.
///
/// A balancer is believed whatever it says, so nobody else may be able to connect from its address. The
/// balancer's own connections (`LOCAL`), and those of clients that it names by no IP address, are taken for
/// what they are, the balancer's.
///
/// ```
/// use std::sync::Arc;
/// use edgeloop::service::{Echo, ProxyProtocol};
/// use edgeloop::{Config, ListenOptions, Reactor};
/// let balancers = ProxyProtocol::new(["10.0.0.0/29".parse()?, "unix".parse()?]);
/// let options = ListenOptions { preface: Some(Arc::new(balancers)), ..ListenOptions::default() };
/// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
/// reactor.listen(&"127.0.0.1:0".parse()?, &options)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    balancers: Vec<Network>,
}

impl ProxyProtocol {
    /// The balancers are in these networks.
    pub fn new(balancers: impl IntoIterator<Item = Network>) -> Self {
        ProxyProtocol { balancers: balancers.into_iter().collect() }
    }
}

impl Preface for ProxyProtocol {
    fn is_expected(&self, from: &Address) -> bool {
        self.balancers.iter().any(|network| network.contains(from))
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<Introduced>, BadPreface> {
        let header = ProxyHeader::parse(bytes).map_err(|error| BadPreface::new(error.text()))?;
        Ok(header
            .map(|header| Introduced { len: header.len, client: header.client.map(Address::Tcp) }))
    }

    fn longest(&self) -> usize {
        ProxyHeader::LONGEST
    }
}
