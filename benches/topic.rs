//! What does a shared topic save against a copy for each subscriber? One publisher, 200
//! subscribers, one message or fifty in a turn: whole turns of the same reactor, once with a topic
//! and once with a handler that sends to each.
//!
//! The kernel's part, one write for each subscriber, is the same on both sides, and the largest; so
//! the bare writes stand beside them. Processor time of the one thread; the clients send before the
//! clock starts and read after it has stopped.

mod measure;
#[path = "../tests/common/scripted.rs"]
mod scripted;

use std::net::TcpStream;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::service::{Broadcast, Framing};
use edgeloop::{Context, Handler, Reactor, Token, TopicConfig};
use measure::{crowd, drop_input, pairs, send, thread_time};
use scripted::Scripted;

const SUBSCRIBERS: usize = 200;
const LEN: usize = 100;

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("topic");
    for messages in [1, 50] {
        let lines = [[b'x'; LEN - 1].as_slice(), b"\n"].concat().repeat(messages);
        group.throughput(Throughput::Elements((messages * SUBSCRIBERS) as u64));
        group.bench_function(BenchmarkId::new("one ring", messages), |b| {
            let broadcast = Broadcast::new(Framing::Lines, 64 << 10, TopicConfig::default());
            let (mut reactor, clients) = crowd(broadcast, SUBSCRIBERS + 1);
            b.iter_custom(|turns| turns_of(turns, &mut reactor, &clients, &lines));
        });
        group.bench_function(BenchmarkId::new("a copy each", messages), |b| {
            let (mut reactor, clients) = crowd(copy_to_each(), SUBSCRIBERS + 1);
            b.iter_custom(|turns| turns_of(turns, &mut reactor, &clients, &lines));
        });
        group.bench_function(BenchmarkId::new("bare writes", messages), |b| {
            let (servers, clients) = pairs(SUBSCRIBERS);
            let mut buffer = vec![0; 64 << 10];
            b.iter_custom(|turns| {
                let mut time = Duration::ZERO;
                for _ in 0..turns {
                    let began = thread_time();
                    servers.iter().for_each(|server| send(server, &lines));
                    time += thread_time() - began;
                    clients.iter().for_each(|client| drop_input(client, &mut buffer));
                }
                time
            });
        });
    }
    group.finish();
}

/// The processor time of so many turns, in each of which the first client's lines go to all the
/// others.
fn turns_of<H: Handler>(
    turns: u64,
    reactor: &mut Reactor<H>,
    clients: &[TcpStream],
    lines: &[u8],
) -> Duration {
    let mut time = Duration::ZERO;
    let mut buffer = vec![0; 64 << 10];
    for _ in 0..turns {
        send(&clients[0], lines);
        let wanted = reactor.stats().bytes_sent + (SUBSCRIBERS * lines.len()) as u64;
        let began = thread_time();
        while reactor.stats().bytes_sent < wanted {
            reactor.turn().expect("a turn");
        }
        time += thread_time() - began;
        clients[1..].iter().for_each(|client| drop_input(client, &mut buffer));
    }
    time
}

/// The obvious broadcast: each line is copied into the output of everybody else.
fn copy_to_each() -> Scripted<Vec<Token>> {
    let on_open = |members: &mut Vec<Token>, _: &mut Context<'_>, token| members.push(token);
    Scripted::new(Vec::new(), on_open, |members, cx, token, (), input| {
        while let Some(end) = input.contiguous().iter().position(|byte| *byte == b'\n') {
            for member in members.iter().filter(|member| **member != token) {
                cx.send(*member, &input.contiguous()[..=end]);
            }
            input.consume(end + 1);
        }
        Ok(())
    })
    .on_close(|members, _, token, (), _| members.retain(|member| *member != token))
}

criterion_group! { name = benches; config = measure::settings(); targets = fan_out }
criterion_main!(benches);
