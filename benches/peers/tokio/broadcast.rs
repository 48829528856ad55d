//! Lines from each to all others, over `tokio::sync::broadcast`.
//!
//! A line is shared and never copied before it is written; a subscriber takes all that waits for
//! it and writes it in one call. One that falls behind by more than the channel holds misses lines.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Lines that the channel holds for its slowest subscriber.
const CHANNEL: usize = 4096;
/// What is written in one call, about.
const BATCH: usize = 64 * 1024;
const LINE_MAX: u64 = 64 * 1024;

#[derive(Clone)]
struct Line {
    sender: u64,
    bytes: Arc<[u8]>,
}

pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let (sender, _) = channel(CHANNEL);
    for number in 0.. {
        let (input, output) = crate::accept(&listener).await.into_split();
        let receiver = sender.subscribe();
        let sender = sender.clone();
        tokio::spawn(async move {
            // The two halves of a connection end together, whichever ends first.
            tokio::select! {
                _ = publish(input, number, sender) => {}
                _ = deliver(output, number, receiver) => {}
            }
        });
    }
    Ok(())
}

async fn publish(input: OwnedReadHalf, number: u64, sender: Sender<Line>) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut input).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        // This connection subscribes as well, so there is always somebody.
        let _ = sender.send(Line { sender: number, bytes: line.as_slice().into() });
    }
}

async fn deliver(
    mut output: OwnedWriteHalf,
    number: u64,
    mut receiver: Receiver<Line>,
) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        match receiver.recv().await {
            Ok(line) => append(&mut batch, &line, number),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
        while batch.len() < BATCH {
            match receiver.try_recv() {
                Ok(line) => append(&mut batch, &line, number),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        output.write_all(&batch).await?;
        batch.clear();
    }
}

fn append(batch: &mut Vec<u8>, line: &Line, number: u64) {
    if line.sender != number {
        batch.extend_from_slice(&line.bytes);
    }
}
