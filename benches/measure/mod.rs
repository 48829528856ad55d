//! What the benchmarks share: settings for a noisy machine of two processors, the clock that they
//! read, seeds, and clients.

#![allow(dead_code, reason = "each benchmark uses its own part")]
#![expect(unsafe_code, reason = "std does not read the clock of a thread")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use criterion::Criterion;
use edgeloop::{Address, Config, Handler, ListenOptions, Reactor};

/// Short enough that all of them together end within five minutes. Differences below three per cent
/// are noise here.
pub(crate) fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30)
        .noise_threshold(0.03)
        .significance_level(0.01)
}

/// Processor time of this thread, system calls included: what others do on the machine meanwhile
/// does not count.
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours; the clock exists since Linux 2.6.12.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// splitmix64 with a fixed seed: every run sees the same order.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index as u64 + 1) as usize);
        }
    }
}

/// A reactor on this thread and clients that never wait, all of them accepted.
pub(crate) fn crowd<H: Handler>(handler: H, count: usize) -> (Reactor<H>, Vec<TcpStream>) {
    let mut reactor = Reactor::new(Config::default(), handler).expect("a reactor");
    let any = "127.0.0.1:0".parse().expect("an address");
    let address = reactor.listen(&any, &ListenOptions::default()).expect("a listener");
    let Address::Tcp(address) = address else { unreachable!("asked for TCP") };
    let clients = (0..count).map(|_| client(address)).collect();
    while reactor.stats().open() < count as u64 {
        reactor.turn().expect("a turn");
    }
    (reactor, clients)
}

pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("a connection");
    client.set_nodelay(true).expect("no delay");
    client.set_nonblocking(true).expect("non-blocking");
    client
}

/// Both ends of so many connections, without a reactor: servers and clients.
pub(crate) fn pairs(count: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let pair = || {
        let client = client(address);
        let (server, _) = listener.accept().expect("the connection");
        server.set_nodelay(true).expect("no delay");
        server.set_nonblocking(true).expect("non-blocking");
        (server, client)
    };
    (0..count).map(|_| pair()).unzip()
}

/// Sends all of it at once; it must fit into the kernel's buffers.
pub(crate) fn send(mut client: &TcpStream, bytes: &[u8]) {
    client.write_all(bytes).expect("room for a message");
}

/// Reads and drops what is there.
pub(crate) fn drop_input(mut client: &TcpStream, buffer: &mut [u8]) {
    loop {
        match client.read(buffer) {
            Ok(0) => panic!("the connection has ended"),
            Ok(n) if n < buffer.len() => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}
