//! The file of a Unix socket: whose it is, who may connect, and when it goes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod common;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use common::PATIENCE;
use common::directory::Directory;
use edgeloop::service::Echo;
use edgeloop::{Address, Config, Layer, ListenOptions, Reactor};

fn listen_with(path: &Path, options: &ListenOptions) -> io::Result<Reactor<Echo>> {
    let mut reactor = Reactor::new(Config::default(), Echo::new())?;
    reactor.listen(&Address::Unix(path.into()), options)?;
    Ok(reactor)
}

fn listen(path: &Path) -> io::Result<Reactor<Echo>> {
    listen_with(path, &ListenOptions::default())
}

#[track_caller]
fn expect_in_use(path: &Path) {
    let error = listen(path).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
}

#[test]
fn file_goes_with_its_server_and_nothing_else_is_left() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let reactor = listen(&path).unwrap();
    assert_eq!(directory.names(), ["socket"]);
    drop(reactor);
    assert_eq!(directory.names(), [""; 0]);
}

// Linux gives the number of an inode out again as soon as nobody has it.
#[test]
fn file_of_a_successor_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path("socket");
    for _ in 0..20 {
        let former = listen(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = listen(&path).unwrap();
        drop(former);
        UnixStream::connect(&path).expect("the successor's file is there");
        drop(successor);
        assert!(!path.exists());
    }
}

#[test]
fn file_that_is_no_socket_is_left_alone_at_the_start_and_at_the_end() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let reactor = listen(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(reactor);
    let error = listen(&path).map(drop).unwrap_err();
    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn one_of_many_that_find_an_abandoned_file_gets_it() {
    let directory = Directory::new();
    for round in 0..100 {
        let path = directory.path(round.to_string());
        drop(UnixListener::bind(&path).unwrap());
        let (start, end) = (Barrier::new(6), Barrier::new(6));
        let outcomes: Vec<_> = thread::scope(|scope| {
            let run = || {
                start.wait();
                let outcome = listen(&path);
                end.wait();
                let is_reached = UnixStream::connect(&path).is_ok();
                end.wait();
                outcome.map(|_| assert!(is_reached, "the path leads elsewhere"))
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let losers: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(losers.len(), 5, "in round {round}");
        for error in losers {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        }
    }
}

#[test]
fn listener_that_accepts_nobody_is_found_without_waiting() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let stuck = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    stuck.bind(&address).unwrap();
    stuck.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let kind = socket2::Type::STREAM.nonblocking();
        let client = socket2::Socket::new(socket2::Domain::UNIX, kind, None).unwrap();
        let outcome = client.connect(&address);
        waiting.push(client);
        if outcome.is_err() {
            break;
        }
    }
    let begun = Instant::now();
    expect_in_use(&path);
    assert!(begun.elapsed() < PATIENCE / 2);
    assert!(path.exists(), "the other's file was removed");
}

#[test]
fn path_that_somebody_is_changing_is_in_use_and_one_that_somebody_left_is_not() {
    let directory = Directory::new();
    let (path, lock) = (directory.path("socket"), directory.path("socket.lock"));
    let abandon = || drop(UnixListener::bind(&path).unwrap());
    abandon();
    let held = File::create(&lock).unwrap();
    held.lock().unwrap();
    expect_in_use(&path);
    // As after a crash.
    drop(held);
    drop(listen(&path).unwrap());
    assert_eq!(directory.names(), [""; 0]);
    // What is no lock does not count as one, and is not followed.
    abandon();
    std::os::unix::fs::symlink(directory.path("elsewhere"), &lock).unwrap();
    assert!(listen(&path).is_err());
    assert!(!directory.path("elsewhere").exists());
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, "precious").unwrap();
    let error = listen(&path).map(drop).unwrap_err().to_string();
    assert!(error.contains("socket.lock: it exists and is no lock"), "{error}");
    // Where nobody's file is in the way none is needed.
    fs::remove_file(&path).unwrap();
    drop(listen(&path).unwrap());
    assert_eq!(fs::read_to_string(&lock).unwrap(), "precious");
    assert!(!path.exists());
}

#[test]
fn rights_are_there_before_anybody_can_connect() {
    let directory = Directory::new();
    for (round, mode) in [0o600, 0o660, 0o666, 0o777].into_iter().cycle().take(40).enumerate() {
        let path = directory.path(round.to_string());
        let options = ListenOptions { socket_mode: Some(mode), ..ListenOptions::default() };
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let begun = Instant::now();
                while UnixStream::connect(&path).is_err() {
                    assert!(begun.elapsed() < PATIENCE, "nobody listens");
                }
                let metadata = fs::metadata(&path).unwrap();
                assert!(metadata.file_type().is_socket());
                assert_eq!(metadata.mode() & 0o777, mode);
            });
            let _reactor = listen_with(&path, &options).unwrap();
            watcher.join().unwrap();
        });
    }
}

#[test]
fn group_that_is_named_may_connect() {
    let directory = Directory::new();
    let path = directory.path("socket");
    // The one group that everybody may give a file to.
    let own = fs::metadata(directory.itself()).unwrap().gid();
    let options = ListenOptions { socket_group: Some(own), ..ListenOptions::default() };
    let reactor = listen_with(&path, &options).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o777), (own, 0o660));
    drop(reactor);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let options = ListenOptions { socket_group: Some(own + 12_345), ..options };
        let _reactor = listen_with(&path, &options).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().gid(), own + 12_345);
    } else {
        let options = ListenOptions { socket_group: Some(0), ..options };
        let error = listen_with(&path, &options).map(drop).unwrap_err();
        assert!(error.to_string().contains("its group cannot be set to 0"), "{error}");
        assert!(!path.exists(), "it was left behind");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn abstract_socket_has_no_file() {
    let path = PathBuf::from(format!("\0edgeloop-test-{}", std::process::id()));
    let reactor = listen(&path).unwrap();
    expect_in_use(&path);
    drop(reactor);
    drop(listen(&path).unwrap());
}

// Bugs that were found, each with the schedule that showed it.

#[test]
fn regression_unix_listener_with_a_layer_is_refused_and_not_served_without_it() {
    let path = std::env::temp_dir().join(format!("edgeloop-layer-{}", std::process::id()));
    let mut reactor = Reactor::new(Config::default(), Echo::new()).unwrap();
    let wrap = |_| -> io::Result<Box<dyn Layer>> { Err(io::ErrorKind::Other.into()) };
    let outcome = reactor.listen_layered(&Address::Unix(path), &ListenOptions::default(), wrap);
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
