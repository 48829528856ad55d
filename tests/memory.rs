//! What connections cost in resident memory: an idle one at most 128 bytes, all of it in the table
//! of connections, 256 with what a key-value store knows of its client, and 400 as a member of a chat
//! over WebSocket; and what a burst needed for its buffers is given back.
//!
//! How it is done: the program itself serves, in a process of its own, and `/proc` says how much of
//! its memory is resident before and after. The clients live here, so that their descriptors and
//! memory count against this process.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the README promises. Debug builds carry mio's registration checks in every socket.
const IDLE_BYTES_MAX: f64 = if cfg!(debug_assertions) { 256.0 } else { 128.0 };

/// What a client of the key-value store may cost.
const IDLE_KV_BYTES_MAX: f64 = if cfg!(debug_assertions) { 384.0 } else { 256.0 };

/// What a member of a chat may cost.
const MEMBER_BYTES_MAX: f64 = if cfg!(debug_assertions) { 600.0 } else { 400.0 };

#[test]
fn idle_connection_with_an_idle_timeout_costs_at_most_128_bytes() {
    expect_idle_cost("echo", b"hello\n", b"hello\n", IDLE_BYTES_MAX);
}

/// Each has sent a request, so that all has been there that a request needs.
#[test]
fn idle_kv_client_costs_at_most_256_bytes() {
    let request = b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n";
    expect_idle_cost("kv", request, b"$5\r\nhello\r\n", IDLE_KV_BYTES_MAX);
}

fn expect_idle_cost(service: &str, request: &[u8], answer: &[u8], most: f64) {
    let _alone = alone();
    let server = Server::start(service, &["--idle-timeout", "10m"]);
    let ask_all = |clients: &[TcpStream]| ask_all(clients, request, answer);
    // Both processes have the same limit, and need a few descriptors for themselves.
    let count = 19_000.min(descriptors_max() - 200);
    assert!(count >= 500, "with so few descriptors the figure would be the noise of a page");
    // The first connections bring in code and the pool's first buffers, which the others share.
    let warm: Vec<TcpStream> = (0..100).map(|_| server.client()).collect();
    ask_all(&warm);
    let before = server.resident();
    let idle: Vec<TcpStream> = (0..count - warm.len()).map(|_| server.client()).collect();
    ask_all(&idle);
    let each = (server.resident() - before) as f64 / idle.len() as f64;
    println!("{} idle connections: {each:.1} bytes of resident memory each", idle.len());
    assert!(each <= most, "{each:.1} bytes each");
    // They are served, not just held.
    ask_all(&idle[..100]);
    reset_all(warm.into_iter().chain(idle));
}

/// Everything included: the connection, the WebSocket, the client and its name, its places in rooms,
/// its subscription, its heartbeat.
#[test]
fn idle_websocket_member_of_a_chat_costs_at_most_400_bytes() {
    let _alone = alone();
    // What a room holds for those who come back has a limit of its own, which here is a low one.
    let held = ["--max-message", "100", "--room-memory", "1KiB"];
    let options =
        [&["--history", "0", "--rate", "1000", "--max-rooms", "1000"], &held[..]].concat();
    let server = Server::start("chat", &options);
    let count = 19_000.min(descriptors_max() - 200);
    assert!(count >= 500, "with so few descriptors the figure would be the noise of a page");
    // A hundred to a room: everybody is told of everybody's coming, which is read at once.
    let mut rooms = 0;
    let mut enter = |members: usize| -> Vec<TcpStream> {
        rooms += 1;
        let handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        // Masked with zeros, which changes nothing.
        let join = format!("/join room{rooms:04}");
        let frame = [&[0x81, 0x80 | join.len() as u8, 0, 0, 0, 0][..], join.as_bytes()].concat();
        let clients: Vec<TcpStream> = (0..members).map(|_| server.client()).collect();
        // A few at a time, as people come: a turn with many events takes more of the room.
        for (portion, sent) in clients.chunks(20).zip((20..).step_by(20)) {
            for mut client in portion {
                client.write_all(&[handshake.as_bytes(), &frame].concat()).unwrap();
            }
            let number = format!("\"number\":{sent},\"time\"");
            portion.iter().for_each(|client| receive_until(client, number.as_bytes()));
        }
        // Those who came earlier have not read what came after them.
        let last = format!("\"number\":{members},\"time\"");
        let earlier = &clients[..members.saturating_sub(20)];
        earlier.iter().for_each(|client| receive_until(client, last.as_bytes()));
        clients
    };
    let warm: Vec<TcpStream> = (0..10).flat_map(|_| enter(100)).collect();
    let before = settled(&server);
    let idle: Vec<TcpStream> = (0..(count - warm.len()) / 100).flat_map(|_| enter(100)).collect();
    let each = (settled(&server) - before) as f64 / idle.len() as f64;
    println!("{} idle members of a chat: {each:.1} bytes of resident memory each", idle.len());
    assert!(each <= MEMBER_BYTES_MAX, "{each:.1} bytes each");
    reset_all(warm.into_iter().chain(idle));
}

/// Clients that send until nothing is taken any more and do not read: their echo waits in the
/// server, up to its limits.
#[test]
fn output_buffers_of_a_burst_are_given_back() {
    let _alone = alone();
    let server = Server::start("echo", &["--write-timeout", "off"]);
    let clients: Vec<TcpStream> = (0..60).map(|_| server.client()).collect();
    echo_all(&clients);
    let before = settled(&server);
    clients.iter().for_each(|client| client.set_nonblocking(true).unwrap());
    let mut owed = vec![0; clients.len()];
    stuff(&clients, &mut owed, &server.client());
    let burst = settled(&server) - before;
    assert!(burst > 10 << 20, "{burst} bytes are no burst: {owed:?}");
    // Now everybody reads: every byte comes, and with the last one the buffers go.
    drain(&clients, &mut owed);
    assert_given_back(burst, settled(&server) - before);
    reset_all(clients);
}

/// The pool keeps 4 MiB of blocks for the next turn. What it gives back to the allocator, that
/// hands to the system only from the top of its heap, so that a block kept there keeps others.
fn assert_given_back(burst: i64, kept: i64) {
    println!("a burst of {} MiB left {} KiB", burst >> 20, kept >> 10);
    assert!(kept <= burst / 2, "{kept} of {burst} bytes were kept");
}

/// The same program over and over: what one crowd leaves behind is used by the next.
#[test]
fn crowds_that_come_and_go_leave_no_trace() {
    let _alone = alone();
    let server = Server::start("echo", &["--idle-timeout", "10m"]);
    let crowd = |server: &Server| {
        let clients: Vec<TcpStream> = (0..1000).map(|_| server.client()).collect();
        echo_all(&clients);
        reset_all(clients);
    };
    (0..2).for_each(|_| crowd(&server));
    let before = settled(&server);
    (0..5).for_each(|_| crowd(&server));
    let grown = settled(&server) - before;
    assert!(grown <= 256 << 10, "5,000 connections left {grown} bytes behind");
}

// ---- vocabulary ----

/// The program, serving.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(service: &str, options: &[&str]) -> Self {
        let port_file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "memory-{}-{service}-{}",
            std::process::id(),
            options.len()
        ));
        let _ = fs::remove_file(&port_file);
        let mut process = Command::new(env!("CARGO_BIN_EXE_edgeloop"))
            .args([service, "--quiet", "--listen", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .args(options)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let address = within(Duration::from_secs(60), || {
            assert!(process.try_wait().unwrap().is_none(), "the server has ended");
            fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        let _ = fs::remove_file(&port_file);
        Server { process, address }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// Resident bytes, counted page by page and not from the kernel's running estimate.
    fn resident(&self) -> i64 {
        let rollup =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Rss:")).unwrap();
        let kib: i64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A message each, so that all of them have been through everything that a connection goes through.
fn echo_all(clients: &[TcpStream]) {
    ask_all(clients, b"hello\n", b"hello\n");
}

fn ask_all(clients: &[TcpStream], request: &[u8], answer: &[u8]) {
    // In portions, so that no more of them are busy at once than on a quiet server.
    for portion in clients.chunks(100) {
        for mut client in portion {
            client.write_all(request).unwrap();
        }
        portion.iter().for_each(|client| receive(client, answer.len()));
    }
}

/// Everybody sends until nothing has been taken through so many of the server's turns, one for each
/// echo to `other`; counts what was.
fn stuff(clients: &[TcpStream], owed: &mut [usize], other: &TcpStream) {
    const TURNS: usize = 200;
    let chunk = [7; 64 << 10];
    let mut turns = 0;
    while turns < TURNS {
        for (mut client, owed) in clients.iter().zip(&mut *owed) {
            match client.write(&chunk) {
                Ok(n) => (*owed, turns) = (*owed + n, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        echo_all(std::slice::from_ref(other));
        turns += 1;
    }
}

/// Everybody reads what is owed, each a little at a time.
fn drain(clients: &[TcpStream], owed: &mut [usize]) {
    let mut buffer = vec![0; 256 << 10];
    within(Duration::from_secs(60), || {
        for (mut client, owed) in clients.iter().zip(&mut *owed) {
            match client.read(&mut buffer) {
                Ok(0) => panic!("the connection has ended, {owed} bytes early"),
                Ok(n) => *owed -= n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        owed.iter().all(|owed| *owed == 0).then_some(())
    });
}

fn receive(mut client: &TcpStream, bytes: usize) {
    client.read_exact(&mut vec![0; bytes]).unwrap();
}

/// Reads until these bytes have come.
fn receive_until(mut client: &TcpStream, last: &[u8]) {
    let (mut received, mut buffer) = (Vec::new(), [0; 16 << 10]);
    while !received.windows(last.len()).any(|bytes| bytes == last) {
        let len = client.read(&mut buffer).unwrap();
        assert!(len > 0, "the connection has ended");
        received.extend_from_slice(&buffer[..len]);
    }
}

/// Resident bytes once they no longer change.
fn settled(server: &Server) -> i64 {
    let mut last = 0;
    within(Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(200));
        let now = server.resident();
        (std::mem::replace(&mut last, now) == now).then_some(now)
    })
}

/// A reset leaves no port waiting behind, which 19,000 polite farewells would.
fn reset_all(clients: impl IntoIterator<Item = TcpStream>) {
    for client in clients {
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {time:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The soft limit of this process, which the server inherits.
fn descriptors_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1 << 20)
}

/// One test at a time: they share this process's descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
