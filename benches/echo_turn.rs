//! What does the reactor add to the system calls of an echo? One whole turn over 64 loopback
//! connections with a 64-byte message each, in processor time of the one thread, against an
//! edge-triggered loop without features and against bare `recv` and `send`, on the same kind of
//! sockets.
//!
//! The clients send before the clock starts and read after it has stopped. Most of what is left is
//! the kernel's loopback, which is why the ratio counts and not the time.

#![expect(unsafe_code, reason = "the loop to compare with is made of bare system calls")]

mod measure;

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::service::Echo;
use measure::{crowd, drop_input, pairs, send, thread_time};

const PAIRS: usize = 64;
const LEN: usize = 64;

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("echo_turn");
    group.throughput(Throughput::Elements(PAIRS as u64));
    group.bench_function("reactor", |b| {
        let (mut reactor, clients) = crowd(Echo::new(), PAIRS);
        b.iter_custom(|rounds| {
            rounds_of(rounds, &clients, || {
                let wanted = reactor.stats().bytes_sent + (PAIRS * LEN) as u64;
                while reactor.stats().bytes_sent < wanted {
                    reactor.turn().expect("a turn");
                }
            })
        });
    });
    group.bench_function("featureless loop", |b| {
        let (servers, clients) = pairs(PAIRS);
        let epoll = epoll_of(&servers);
        b.iter_custom(|rounds| {
            rounds_of(rounds, &clients, || {
                let mut echoed = 0;
                while echoed < PAIRS {
                    echoed += wait(epoll, echo_once);
                }
            })
        });
    });
    group.bench_function("bare recv and send", |b| {
        let (servers, clients) = pairs(PAIRS);
        b.iter_custom(|rounds| {
            rounds_of(rounds, &clients, || {
                servers.iter().for_each(|server| {
                    assert!(echo_once(server.as_raw_fd()), "the bytes are there already");
                })
            })
        });
    });
    group.finish();
}

/// The processor time of so many rounds of `answer`.
fn rounds_of(rounds: u64, clients: &[TcpStream], mut answer: impl FnMut()) -> Duration {
    let mut time = Duration::ZERO;
    for _ in 0..rounds {
        clients.iter().for_each(|client| send(client, &[7; LEN]));
        let began = thread_time();
        answer();
        time += thread_time() - began;
        clients.iter().for_each(|client| drop_input(client, &mut [0; 2 * LEN]));
    }
    time
}

/// Returns whether there was something to echo.
fn echo_once(server: i32) -> bool {
    let mut buffer = [0_u8; 4096];
    // SAFETY: the buffer is ours and as long as said.
    let read = unsafe { libc::recv(server, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if read <= 0 {
        return false;
    }
    // SAFETY: so many bytes were just read into it.
    let sent =
        unsafe { libc::send(server, buffer.as_ptr().cast(), read as usize, libc::MSG_NOSIGNAL) };
    assert_eq!(sent, read, "a message fits into the kernel's buffers");
    true
}

fn epoll_of(servers: &[TcpStream]) -> i32 {
    // SAFETY: no pointer is passed. It lives as long as the process.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    for server in servers {
        let bits = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: bits as u32, u64: server.as_raw_fd() as u64 };
        // SAFETY: the event is ours; the kernel copies it.
        let added =
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, server.as_raw_fd(), &mut event) };
        assert_eq!(added, 0, "registered");
    }
    epoll
}

/// One wait; counts the events that `serve` made use of.
fn wait(epoll: i32, mut serve: impl FnMut(i32) -> bool) -> usize {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1024];
    // SAFETY: the array is ours and as long as said.
    let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as i32, 0) };
    let told = &events[..count.max(0) as usize];
    told.iter().filter(|event| serve(event.u64 as i32)).count()
}

criterion_group! { name = benches; config = measure::settings(); targets = echo }
criterion_main!(benches);
