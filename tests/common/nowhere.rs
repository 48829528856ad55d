//! An address at which nobody listens.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// Bound and not listening, so that as long as this is kept nobody else can listen there either.
pub(crate) struct Nowhere {
    pub(crate) address: SocketAddr,
    _kept: Socket,
}

impl Nowhere {
    pub(crate) fn new() -> Nowhere {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let address = socket.local_addr().expect("its address");
        Nowhere { address: address.as_socket().expect("an address of TCP"), _kept: socket }
    }
}
