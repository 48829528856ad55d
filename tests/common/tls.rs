//! Certificates of tests, and a TLS client on a socket that waits.

#![allow(dead_code, reason = "each test program uses its own part of the vocabulary")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use edgeloop::Handler;
use edgeloop::tls::{Identity, TlsServer, TlsServerConfig};
use edgeloop::{Address, Config, ListenOptions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::{PATIENCE, Server, socket_address, start_by};

/// Both that there are, as rustls knows them.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    /// Signed by itself, for these names.
    pub(crate) fn of(names: &[&str]) -> Pair {
        Pair::changed(names, |_| ())
    }

    /// The same with something else about it.
    pub(crate) fn changed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let (mut params, key) = (params(names), KeyPair::generate().unwrap());
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let (mut params, key) = (params(&[name]), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    pub(crate) fn sign(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names).signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let common = names[0].clone();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, common);
    params
}

/// A server on 127.0.0.1 that shows this certificate.
pub(crate) fn start<H: Handler + Send + 'static>(
    pair: &Pair,
    config: Config,
    handler: H,
) -> Server {
    let identities = vec![pair.identity()];
    start_with(TlsServerConfig { identities, ..TlsServerConfig::default() }, config, handler)
}

pub(crate) fn start_with<H: Handler + Send + 'static>(
    tls: TlsServerConfig,
    config: Config,
    handler: H,
) -> Server {
    start_as(&TlsServer::new(tls).unwrap(), config, handler)
}

pub(crate) fn start_as<H: Handler + Send + 'static>(
    tls: &TlsServer,
    config: Config,
    handler: H,
) -> Server {
    let tls = tls.clone();
    start_by(config, handler, move |reactor| {
        let address = "127.0.0.1:0".parse().unwrap();
        reactor.listen_layered(&address, &ListenOptions::default(), tls.wrap()).unwrap()
    })
}

/// What a client says and believes.
pub(crate) struct Client {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl Client {
    /// Believes what stands in these certificates, in PEM, and calls the server `localhost`.
    pub(crate) fn of(certificates: &str) -> Client {
        Client::with(certificates, &VERSIONS, None)
    }

    /// Speaks this version alone.
    pub(crate) fn in_version(
        certificates: &str,
        version: &'static SupportedProtocolVersion,
    ) -> Client {
        Client::with(certificates, &[version], None)
    }

    /// Shows a certificate of its own.
    pub(crate) fn showing(certificates: &str, own: &Pair) -> Client {
        Client::with(certificates, &VERSIONS, Some(own))
    }

    fn with(
        certificates: &str,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Pair>,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(certificates.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        Client { config, name: "localhost".try_into().unwrap() }
    }

    pub(crate) fn calling(mut self, name: &str) -> Client {
        self.name = name.to_owned().try_into().unwrap();
        self
    }

    pub(crate) fn offering(mut self, protocols: &[&str]) -> Client {
        self.config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        self
    }

    /// What the client says first.
    pub(crate) fn hello(&self) -> Vec<u8> {
        self.begin().0
    }

    /// A session, and what it says first.
    pub(crate) fn begin(&self) -> (Vec<u8>, ClientConnection) {
        let config = Arc::new(self.config.clone());
        let mut session = ClientConnection::new(config, self.name.clone()).unwrap();
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        (hello, session)
    }

    /// Connects, and waits for the end of the handshake.
    pub(crate) fn connect(&self, address: &Address) -> TlsStream {
        self.try_connect(address).expect("the handshake failed")
    }

    pub(crate) fn try_connect(&self, address: &Address) -> io::Result<TlsStream> {
        let socket = TcpStream::connect(socket_address(address)).expect("cannot connect");
        self.greet(super::patient(socket))
    }

    /// The handshake on a socket that is connected.
    pub(crate) fn greet(&self, mut socket: TcpStream) -> io::Result<TlsStream> {
        let (hello, session) = self.begin();
        socket.write_all(&hello)?;
        TlsStream::greet(session, socket)
    }
}

/// An established connection. One thread may read while another one writes.
pub(crate) struct TlsStream {
    pub(crate) socket: TcpStream,
    session: Mutex<ClientConnection>,
}

impl TlsStream {
    /// The rest of the handshake, behind the hello.
    pub(crate) fn greet(
        mut session: ClientConnection,
        mut socket: TcpStream,
    ) -> io::Result<TlsStream> {
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(TlsStream { socket, session: Mutex::new(session) })
    }

    pub(crate) fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.session.lock().unwrap()
    }

    /// The farewell, and then the end of the socket.
    pub(crate) fn end_sending(&self) {
        self.session().send_close_notify();
        self.push();
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Hands the socket what the session has for it.
    pub(crate) fn push(&self) {
        (&self.socket).write_all(&self.records()).expect("cannot send");
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut session = self.session();
        while session.wants_write() {
            session.write_tls(&mut records).unwrap();
        }
        records
    }
}

impl Read for &TlsStream {
    /// 0 is a `close_notify`; the end of the socket without one is an error.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session().reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            let mut bytes = [0; 4096];
            let count = (&self.socket).read(&mut bytes)?;
            let (mut session, mut rest) = (self.session(), &bytes[..count]);
            // Once at the end of the socket, too, of which the session has to know.
            loop {
                session.read_tls(&mut rest)?;
                session.process_new_packets().map_err(io::Error::other)?;
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
}

impl Write for &TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session().writer().write(&bytes[..bytes.len().min(16 << 10)])?;
        (&self.socket).write_all(&self.records())?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything a raw socket gets until its end.
pub(crate) fn read_raw(mut socket: &TcpStream) -> io::Result<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    Ok(bytes)
}
