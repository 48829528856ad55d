//! What the load generator calls an answer, an error, and neither; and that it ends at its time.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::Address;
use edgeloop::load::{Fault, Mode, Phase, Plan, Ramp, RedisCommand, Report, Step, Stop, run};
use nowhere::Nowhere;

#[path = "common/nowhere.rs"]
mod nowhere;
#[path = "common/processor.rs"]
mod processor;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const MISSING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
const BUSY_LAST: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

// A wrong answer is none.

#[test]
fn wrong_answers_are_in_no_figure_and_say_what_they_said() {
    let missing = http(|_, _| MISSING);
    let denied = serve(|mut stream| {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer)? > 0 {
            stream.write_all(b"-NOAUTH Authentication required.\r\n")?;
        }
        Ok(())
    });
    let redis = Mode::Redis(RedisCommand::Ping);
    for (server, mode, kind, said) in [
        (missing, http_mode(), Fault::BadStatus, "404"),
        (denied, redis, Fault::ErrorReply, "NOAUTH"),
    ] {
        for rate in [None, Some(200.0)] {
            let mut plan = plan(&server, mode.clone());
            (plan.rate, plan.duration) = (rate, Some(Duration::from_millis(300)));
            let step = measure(&plan);
            // What was due and could not be sent any more has waited.
            let counts = (step.messages, step.rate, step.latency.count - step.unsent, step.bytes);
            assert_eq!(counts, (0, 0.0, 0, 0), "{said} at {rate:?}");
            let errors = step.errors.count(kind);
            assert!(errors > 0 && step.errors.total() == errors, "{}", step.errors);
            assert_eq!(step.wrong_answers, [(said.to_owned(), errors)].into());
            assert_eq!(step.series.iter().map(|it| it.errors).sum::<u64>(), errors);
        }
    }
}

#[test]
fn right_answers_among_wrong_ones_are_counted_one_by_one() {
    let server = http(|_, number| if number % 2 == 0 { OK } else { BUSY });
    for pipeline in [1, 8] {
        let mut plan = plan(&server, http_mode());
        // The answer that proves the connection is right, and the first.
        (plan.connections, plan.messages, plan.pipeline) = (1, Some(60), pipeline);
        let step = measure(&plan);
        assert_eq!((step.messages, step.latency.count), (30, 30), "{}", step.errors);
        assert_eq!(step.bytes, 30 * OK.len() as u64);
        assert_eq!(step.errors.count(Fault::BadStatus), 30, "{}", step.errors);
        assert_eq!(step.wrong_answers, [("503".to_owned(), 30)].into());
    }
}

#[test]
fn errors_before_the_clock_started_are_told_apart() {
    let server = http(|_, number| if number == 0 { BUSY } else { OK });
    let output = load(&[&format!("http://{server}/"), "-c", "3", "-n", "30", "--json", "-"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    let step = only_step(report);
    assert_eq!((step.messages, step.errors.total()), (30, 0));
    assert_eq!(step.errors_before.count(Fault::BadStatus), 3, "{}", step.errors_before);
    let output = load(&[&format!("http://{server}/"), "-c", "3", "-n", "30"]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("errors     none\n"), "{stdout}");
    assert!(stdout.contains("before that time: 3 bad_status\n"), "{stdout}");
}

#[test]
fn server_of_wrong_answers_has_rate_0_and_its_status_is_named() {
    let server = http(|_, _| MISSING);
    let output = load(&[&format!("http://{server}/"), "-c", "2", "-n", "20"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    for words in ["rate       0 messages/s", "latency    unknown", "20 bad_status (20x 404)"] {
        assert!(stdout.contains(words), "{stdout}");
    }
}

// A close that a server may make is none of its errors.

#[test]
fn announced_close_loses_nothing_however_much_is_in_flight() {
    // One server takes in what it will not answer; one closes over it, which is a reset.
    for is_patient in [true, false] {
        let server = serve(move |stream| {
            let mut writer = stream.try_clone()?;
            let mut lines = BufReader::new(stream).lines();
            for answer in [OK, OK, OK, OK, LAST] {
                while !lines.next().ok_or(io::ErrorKind::UnexpectedEof)??.is_empty() {}
                writer.write_all(answer.as_bytes())?;
            }
            writer.shutdown(Shutdown::Write)?;
            if is_patient {
                lines.map_while(Result::ok).for_each(drop);
            }
            Ok(())
        });
        for (pipeline, rate) in [(1, None), (16, None), (16, Some(2000.0))] {
            let mut plan = plan(&server, http_mode());
            (plan.pipeline, plan.rate, plan.messages) = (pipeline, rate, Some(400));
            let step = measure(&plan);
            assert!(step.all_errors().is_none(), "{pipeline}: {}", step.all_errors());
            assert_eq!((step.messages, step.latency.count), (400, 400));
            assert_eq!(step.pauses, 0);
            assert!(step.closes.announced >= 60, "{:?}", step.closes);
            match (pipeline, rate) {
                (1, _) => assert_eq!(step.closes.asked_again, 0),
                (_, None) => assert!(step.closes.asked_again > 0),
                // How many are in flight is a matter of time.
                (_, Some(_)) => {}
            }
        }
    }
}

#[test]
fn message_that_crosses_the_close_of_an_idle_connection_is_asked_again() {
    // It closes behind an answer, and does not say so.
    let server = serve(|stream| {
        let mut writer = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        while !lines.next().ok_or(io::ErrorKind::UnexpectedEof)??.is_empty() {}
        writer.write_all(OK.as_bytes())
    });
    let mut plan = plan(&server, http_mode());
    plan.messages = Some(100);
    let step = measure(&plan);
    assert!(step.all_errors().is_none(), "{}", step.all_errors());
    assert_eq!((step.messages, step.pauses), (100, 0));
    assert!(step.closes.idle > 0 && step.closes.announced == 0, "{:?}", step.closes);
}

#[test]
fn connection_that_is_closed_before_any_answer_is_an_error() {
    // The one that proves each client is answered; no other connection is.
    let lives = AtomicUsize::new(0);
    let server = serve(move |stream| {
        let mut writer = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        while !lines.next().ok_or(io::ErrorKind::UnexpectedEof)??.is_empty() {}
        match lives.fetch_add(1, Ordering::SeqCst) {
            0..4 => writer.write_all(OK.as_bytes()),
            _ => Ok(()),
        }
    });
    let mut plan = plan(&server, http_mode());
    plan.duration = Some(Duration::from_millis(400));
    let step = measure(&plan);
    let lost = step.errors.count(Fault::ClosedEarly) + step.errors.count(Fault::Reset);
    assert!(lost > 0 && step.messages == 0, "{}", step.errors);
    assert!(step.pauses > 0, "a server in trouble is left alone for a while, and that is told");
}

#[test]
fn time_in_which_other_clients_were_connected_is_in_no_latency() {
    let is_slow = Arc::new(AtomicBool::new(false));
    let slow = Arc::clone(&is_slow);
    // Each answer is the last one of its connection; those of the second life take long.
    let server = sessions(move |life, mut requests| {
        if life == 1 || slow.load(Ordering::SeqCst) {
            thread::sleep(SLOW);
        }
        requests.answer(&[LAST])
    });
    let mut plan = plan(&server, http_mode());
    (plan.connections, plan.messages) = (2, Some(2));
    let step = measure(&plan);
    assert_eq!((step.messages, step.connects.seconds >= SLOW.as_secs_f64()), (2, true));
    assert!(step.latency.max_us < 0.9 * SLOW.as_micros() as f64, "{:?}", step.latency);

    // In a ramp the first client waits for those that each further step adds.
    (plan.messages, plan.ramp) = (None, Some(Ramp { first: 1, add: 1 }));
    plan.duration = Some(Duration::from_millis(200));
    let report = run(&plan, &Stop::default(), |progress| {
        let is_adding = progress.step == 2 && progress.phase == Phase::Connecting;
        is_slow.store(is_adding, Ordering::SeqCst);
    });
    let steps = report.unwrap().steps;
    let connects = &steps[1].connects;
    assert!(connects.seconds >= SLOW.as_secs_f64() && steps[1].messages > 0, "{connects:?}");
    assert!(steps[1].latency.max_us < 0.9 * SLOW.as_micros() as f64, "{:?}", steps[1].latency);
}

/// Longer than any answer takes on a busy machine.
const SLOW: Duration = Duration::from_secs(3);

#[test]
fn client_that_was_refused_pauses_whether_or_not_the_close_was_announced() {
    let announced = sessions(|_, mut requests| requests.answer(&[BUSY_LAST]));
    let silent = sessions(|_, mut requests| {
        requests.answer(&[BUSY])?;
        requests.skip()
    });
    for server in [announced, silent] {
        let mut plan = plan(&server, http_mode());
        plan.duration = Some(Duration::from_millis(500));
        let began = Instant::now();
        let step = measure(&plan);
        let refused = step.errors.count(Fault::BadStatus);
        // Each of four clients at once, and then once in 100 ms.
        let most = 4 * (1 + began.elapsed().as_millis() as u64 / 100);
        assert!((1..=most).contains(&refused) && step.pauses > 0, "{refused}: {}", step.pauses);
    }
}

#[test]
fn pause_of_a_client_that_was_refused_is_in_no_latency() {
    let server = sessions(|life, mut requests| {
        requests.answer(&[if life % 2 == 0 { LAST } else { BUSY_LAST }])
    });
    let mut plan = plan(&server, http_mode());
    (plan.connections, plan.messages) = (1, Some(10));
    let step = measure(&plan);
    assert_eq!((step.messages, step.pauses > 0), (5, true), "{}", step.errors);
    // Before each right answer there was a wrong one, and a pause.
    assert!(step.latency.min_us < 90_000.0, "{:?}", step.latency);
}

#[test]
fn refusal_that_right_answers_followed_is_no_reason_to_pause() {
    let server = sessions(|_, mut requests| {
        requests.answer(&[BUSY, OK])?;
        requests.skip()
    });
    let mut plan = plan(&server, http_mode());
    plan.messages = Some(40);
    let step = measure(&plan);
    assert!(step.closes.idle > 0, "{:?}", step.closes);
    assert_eq!(step.pauses, 0);
}

#[test]
fn idle_close_is_no_error_but_where_connections_are_to_be_held() {
    let answers: [(Mode, Answer); 4] = [
        (http_mode(), |_| OK.into()),
        (Mode::Echo, |bytes| bytes.to_vec()),
        (Mode::Lines { prefix: String::new() }, |bytes| bytes.to_vec()),
        (Mode::Redis(RedisCommand::Ping), |_| b"+PONG\r\n".to_vec()),
    ];
    for (mode, answer) in answers {
        let server = impatient(answer);
        let mut plan = plan(&server, mode);
        // Each connection is asked every half second, and closed long before that.
        (plan.connections, plan.rate, plan.messages) = (2, Some(4.0), Some(6));
        let step = measure(&plan);
        assert!(step.all_errors().is_none(), "{:?}: {}", plan.mode, step.all_errors());
        assert_eq!((step.messages, step.latency.count), (6, 6), "{:?}", plan.mode);
        assert!(step.closes.idle > 0, "{:?}", plan.mode);
    }
    let server = impatient(|bytes| bytes.to_vec());
    let mut plan = plan(&server, Mode::Idle);
    (plan.size, plan.duration) = (10, Some(Duration::from_secs(1)));
    let step = measure(&plan);
    assert!(step.all_errors().count(Fault::Closed) > 0, "{}", step.all_errors());
}

/// What is answered to the bytes of one read.
type Answer = fn(&[u8]) -> Vec<u8>;

/// Answers what comes, and closes a connection that was answered and from which nothing more comes for
/// a tenth of a second. For the first bytes, which are late on a busy machine, it waits.
fn impatient(answer: Answer) -> Address {
    serve(move |mut stream| {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                len => stream.write_all(&answer(&buffer[..len]))?,
            }
            stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        }
    })
}

// Every address of a name.

#[test]
fn second_address_is_measured_in_every_mode_where_nobody_listens_at_the_first() {
    let nowhere = Nowhere::new();
    let dead: Address = nowhere.address.into();
    let echo = serve(|mut stream| io::copy(&mut stream.try_clone()?, &mut stream).map(drop));
    let http = http(|_, _| OK);
    let pong = serve(|mut stream| {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer)? > 0 {
            stream.write_all(b"+PONG\r\n")?;
        }
        Ok(())
    });
    let lines = Mode::Lines { prefix: String::new() };
    let modes = [Mode::Echo, lines, Mode::Stream, Mode::Churn, Mode::Idle];
    let redis = Mode::Redis(RedisCommand::Ping);
    let others = [(http_mode(), &http), (redis, &pong)];
    for (mode, server) in modes.map(|mode| (mode, &echo)).into_iter().chain(others) {
        for threads in [1, 3] {
            let mut plan = plan(&dead, mode.clone());
            plan.alternatives = vec![server.clone()];
            plan.threads = threads;
            match mode {
                Mode::Idle => plan.duration = Some(Duration::from_millis(50)),
                _ => plan.messages = Some(50),
            }
            let report = run(&plan, &Stop::default(), |_| ()).unwrap();
            assert_eq!(report.plan.target, server.to_string(), "{mode:?}");
            let step = only_step(report);
            assert!(step.all_errors().is_none(), "{mode:?}: {}", step.all_errors());
            assert_eq!((step.connections, step.connects.established >= 4), (4, true));
            assert!(step.server.is_some_and(|it| it.pids == [std::process::id()]), "{mode:?}");
        }
    }
}

#[test]
fn nobody_at_any_address_is_one_error_that_names_them_all() {
    let nowhere = [Nowhere::new(), Nowhere::new()];
    let [first, second] = nowhere.each_ref().map(|it| it.address);
    for mode in [Mode::Echo, Mode::Broadcast { publishers: 1 }] {
        let mut plan = plan(&first.into(), mode);
        plan.alternatives = vec![second.into()];
        let error = run(&plan, &Stop::default(), |_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("to {first}, {second} was")), "{error}");
        assert!(error.ends_with("4 refused"), "{error}");
    }
}

#[test]
fn localhost_is_found_at_whichever_of_its_addresses_the_server_listens() {
    for listens in ["127.0.0.1:0", "[::1]:0"] {
        // Not every machine has IPv6.
        let Ok(listener) = TcpListener::bind(listens) else { continue };
        let address = listener.local_addr().unwrap();
        serve_at(listener, |mut stream| io::copy(&mut stream.try_clone()?, &mut stream).map(drop));
        let names = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", address.port()));
        if !names.unwrap().any(|it| it == address) {
            continue;
        }
        let output = load(&[&format!("localhost:{}", address.port()), "-n", "20"]);
        assert_eq!(output.status.code(), Some(0), "{listens}: {}", text(&output.stderr));
        assert!(text(&output.stdout).starts_with(&format!("echo {address}, ")));
    }
}

// Framing.

#[test]
fn all_fields_frame_an_answer_and_there_may_be_many() {
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(300));
    let equal = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok";
    for answer in [many.as_str(), equal] {
        let answer: &'static str = answer.to_owned().leak();
        let mut plan = plan(&http(move |_, _| answer), http_mode());
        plan.messages = Some(40);
        let step = measure(&plan);
        assert!(step.all_errors().is_none() && step.messages == 40, "{}", step.all_errors());
    }
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(300 << 10));
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok";
    for (answer, kind) in [(huge.as_str(), "client_limit"), (twice, "bad_reply")] {
        let answer: &'static str = answer.to_owned().leak();
        let plan = plan(&http(move |_, _| answer), http_mode());
        let error = run(&plan, &Stop::default(), |_| ()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("4 {kind}")), "{error}");
    }
}

// The end.

#[test]
fn run_ends_at_its_time_whatever_the_server_sends() {
    let head = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = [
        (http_mode(), OK, String::new(), "HTTP/1.1 100 Continue\r\n\r\n", "client_limit"),
        (http_mode(), OK, format!("{chunked}0\r\n"), "X: y\r\n", "client_limit"),
        (http_mode(), OK, format!("{chunked}5;"), "x", "client_limit"),
        (http_mode(), OK, head.into(), "X: y\r\n", "client_limit"),
        (http_mode(), OK, chunked.into(), "1\r\nx\r\n", "timeout"),
        (http_mode(), OK, format!("{head}Content-Length: 9999999999999\r\n\r\n"), "x", "timeout"),
        (http_mode(), OK, format!("{head}\r\n"), "x", "timeout"),
        (http_mode(), OK, String::new(), "", "timeout"),
        (Mode::Redis(RedisCommand::Ping), "+PONG\r\n", "-".into(), "E", "client_limit"),
        (Mode::Redis(RedisCommand::Ping), "+PONG\r\n", "+PON".into(), "", "timeout"),
    ];
    for (mode, right, begin, again, kind) in endless {
        // What takes no time is not given up for want of it, however busy the machine is.
        let timeout_ms = if kind == "timeout" { 300 } else { 10_000 };
        for answers in [0, 1, 5] {
            let (begin, what) = (begin.clone(), format!("{begin:.60} {again:?} after {answers}"));
            let server = serve(move |mut stream| {
                let mut buffer = [0; 4096];
                for _ in 0..answers {
                    let _ = stream.read(&mut buffer)?;
                    stream.write_all(right.as_bytes())?;
                }
                let _ = stream.read(&mut buffer)?;
                stream.write_all(begin.as_bytes())?;
                match again {
                    "" => stream.read_to_end(&mut Vec::new()).map(drop),
                    again => loop {
                        stream.write_all(again.repeat(500).as_bytes())?;
                    },
                }
            });
            let began = Instant::now();
            assert!(told(&server, mode.clone(), timeout_ms).contains(kind), "{what}");
            assert!(began.elapsed() < PATIENCE, "{what}");
        }
    }
}

#[test]
fn client_that_pauses_when_the_time_is_over_holds_nothing_up() {
    // Busy, and it closes over the next request: that is asked again, after a pause.
    let server = sessions(|_, mut requests| {
        requests.answer(&[BUSY])?;
        requests.skip()
    });
    for rate in [None, Some(200.0)] {
        let mut plan = plan(&server, http_mode());
        (plan.connections, plan.rate) = (10, rate);
        plan.duration = Some(Duration::from_millis(300));
        let began = Instant::now();
        let errors = measure(&plan).all_errors();
        assert!(began.elapsed() < plan.reply_timeout, "at {rate:?}: {:?}", began.elapsed());
        assert_eq!(errors.total(), errors.count(Fault::BadStatus), "at {rate:?}: {errors}");
    }
}

#[test]
fn run_ends_at_its_time_when_the_server_falls_silent_and_counts_what_it_owes() {
    let silent_after = |answers: usize, text: &'static [u8]| {
        serve(move |mut stream| {
            let mut buffer = [0; 4096];
            for _ in 0..answers {
                let _ = stream.read(&mut buffer)?;
                stream.write_all(text)?;
            }
            stream.read_to_end(&mut Vec::new()).map(drop)
        })
    };
    let redis = Mode::Redis(RedisCommand::Ping);
    let web = silent_after(5, OK.as_bytes());
    let pong = silent_after(5, b"+PONG\r\n");
    for (server, mode) in [(&web, http_mode()), (&pong, redis)] {
        for rate in [None, Some(1000.0)] {
            let mut plan = plan(server, mode.clone());
            (plan.rate, plan.duration) = (rate, Some(Duration::from_millis(600)));
            let began = Instant::now();
            let step = measure(&plan);
            assert!(began.elapsed() < plan.reply_timeout, "{mode:?}: {:?}", began.elapsed());
            assert!(step.all_errors().is_none(), "{mode:?}: {}", step.all_errors());
            assert_eq!((step.messages, step.unanswered), (4 * 4, 4), "{mode:?} at {rate:?}");
            if rate.is_some() {
                assert_eq!(step.latency.count, step.messages + step.unanswered + step.unsent);
            }
        }
    }
    let arguments = [&format!("http://{web}/"), "-c", "3", "-d", "1s", "--warmup", "0s"];
    let output = load(&arguments);
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("note: 3 messages had been sent and were not answered"), "{stdout}");
    let output = load(&[&arguments[..], &["--fail-if", "unanswered>2"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn broadcast_ends_at_its_time_when_the_server_falls_silent() {
    // To each of two members it delivers what the other one sends, until the clock has started.
    let is_silent = Arc::new(AtomicBool::new(false));
    let (silent, members) = (Arc::clone(&is_silent), Arc::new(Mutex::new(Vec::new())));
    let server = serve(move |mut stream| {
        let number = {
            let mut members = members.lock().unwrap();
            members.push(stream.try_clone()?);
            members.len() - 1
        };
        let mut buffer = [0; 4096];
        loop {
            let len = stream.read(&mut buffer)?;
            if len == 0 || silent.load(Ordering::SeqCst) {
                return stream.read_to_end(&mut Vec::new()).map(drop);
            }
            let mut members = members.lock().unwrap();
            for (_, member) in members.iter_mut().enumerate().filter(|(it, _)| *it != number) {
                member.write_all(&buffer[..len])?;
            }
        }
    });
    let mut plan = plan(&server, Mode::Broadcast { publishers: 1 });
    (plan.connections, plan.duration) = (3, Some(Duration::from_millis(500)));
    let began = Instant::now();
    let report = run(&plan, &Stop::default(), |progress| {
        is_silent.fetch_or(progress.phase == Phase::Measuring, Ordering::SeqCst);
    });
    assert!(began.elapsed() < plan.reply_timeout, "{:?}", began.elapsed());
    let step = only_step(report.unwrap());
    assert!(step.all_errors().is_none(), "{}", step.all_errors());
    assert_eq!(step.unanswered, 2, "one message, which neither of two members received");
}

#[test]
fn answer_that_grows_by_a_byte_now_and_then_has_no_longer_time_than_any_other() {
    let drip = |text: &'static str| {
        serve(move |mut stream| {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer)?;
            for byte in text.bytes().cycle() {
                stream.write_all(&[byte])?;
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        })
    };
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n";
    for (mode, text) in [(http_mode(), body), (Mode::Redis(RedisCommand::Set), "-ERR")] {
        let error = told(&drip(text), mode, 300);
        assert!(error.ends_with("4 timeout"), "{error}");
    }
    // An echo has to be right, byte by byte.
    let echo = serve(|mut stream| {
        let mut buffer = [0; 64];
        stream.read_exact(&mut buffer)?;
        for byte in buffer {
            stream.write_all(&[byte])?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let error = told(&echo, Mode::Echo, 300);
    assert!(error.ends_with("4 timeout"), "{error}");
}

#[test]
fn thousands_of_connections_do_not_wait_for_a_silent_server_one_after_another() {
    let server = serve(|mut stream| stream.read_to_end(&mut Vec::new()).map(drop));
    let mut plan = plan(&server, Mode::Echo);
    (plan.connections, plan.connects_in_flight) = (200, 2);
    plan.reply_timeout = Duration::from_millis(400);
    let began = Instant::now();
    let error = run(&plan, &Stop::default(), |_| ()).unwrap_err().to_string();
    assert!(error.contains("timeout"), "{error}");
    // One after another they would take 40 s.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// What a short run says of its errors, whether it comes to a report or not.
fn told(server: &Address, mode: Mode, timeout_ms: u64) -> String {
    let mut plan = plan(server, mode);
    plan.warmup = Duration::from_millis(50);
    plan.duration = Some(Duration::from_millis(300));
    plan.reply_timeout = Duration::from_millis(timeout_ms);
    match run(&plan, &Stop::default(), |_| ()) {
        Ok(report) => only_step(report).all_errors().to_string(),
        Err(error) => error.to_string(),
    }
}

// What was not the server's.

#[test]
fn cpu_that_others_had_is_a_note() {
    if std::fs::read_to_string("/proc/thread-self/schedstat").is_err() {
        println!("skipped: this kernel does not count who waits for a CPU");
        return;
    }
    let server = serve(|mut stream| io::copy(&mut stream.try_clone()?, &mut stream).map(drop));
    processor::stay_on_this_processor();
    let is_over = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
        })
        .collect();
    let output = load(&[&server.to_string(), "-c", "4", "-d", "1s", "--warmup", "0s"]);
    is_over.store(true, Ordering::Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().unwrap());
    let stdout = text(&output.stdout);
    assert!(stdout.contains("note: others had the CPU for "), "{stdout}");
}

#[test]
fn server_that_speaks_another_protocol_is_told_by_its_name() {
    let speakers: [(&str, &'static [u8]); 5] = [
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        ("RESP", b"-ERR unknown command\r\n"),
        ("TLS", b"\x15\x03\x01\0\x02\x02\x0a"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        ("SMTP", b"220 mx.example ESMTP\r\n"),
    ];
    let lines = Mode::Lines { prefix: String::new() };
    let broadcast = Mode::Broadcast { publishers: 1 };
    let redis = Mode::Redis(RedisCommand::Get);
    for (name, words) in speakers {
        let server = serve(move |mut stream| {
            stream.write_all(words)?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
        for mode in
            [Mode::Echo, lines.clone(), broadcast.clone(), Mode::Churn, redis.clone(), http_mode()]
        {
            let is_own =
                matches!((&mode, name), (Mode::Http { .. }, "HTTP") | (Mode::Redis(_), "RESP"));
            let error = told(&server, mode.clone(), 1500);
            let hint = format!(
                "the server {} {name}",
                if name == "SMTP" { "greets as one of" } else { "speaks" }
            );
            assert_eq!(error.contains(&hint), !is_own, "{mode:?}: {error}");
        }
        let mut plan = plan(&server, Mode::Idle);
        plan.duration = Some(Duration::from_millis(600));
        assert_eq!(measure(&plan).server_speaks.as_deref(), Some(name));
    }
}

// What the tests above are made of.

const PATIENCE: Duration = Duration::from_secs(30);

fn serve(f: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Address {
    serve_at(TcpListener::bind("127.0.0.1:0").unwrap(), f)
}

/// Serves each connection on a thread of its own, for as long as the test runs.
fn serve_at(
    listener: TcpListener,
    f: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> Address {
    let address = listener.local_addr().unwrap();
    let f = Arc::new(f);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let f = Arc::clone(&f);
            stream.set_nodelay(true).unwrap();
            // What goes wrong is seen from the other side.
            thread::spawn(move || drop(f(stream)));
        }
    });
    address.into()
}

/// Answers each request as it is told, by the numbers of the connection and of the request on it.
fn http(answer: impl Fn(usize, usize) -> &'static str + Send + Sync + 'static) -> Address {
    let lives = AtomicUsize::new(0);
    serve(move |stream| {
        let life = lives.fetch_add(1, Ordering::SeqCst);
        let mut writer = stream.try_clone()?;
        let mut number = 0;
        for line in BufReader::new(stream).lines() {
            if line?.is_empty() {
                writer.write_all(answer(life, number).as_bytes())?;
                number += 1;
            }
        }
        Ok(())
    })
}

/// Serves each connection as it is told, by its number.
fn sessions(f: impl Fn(usize, Requests) -> io::Result<()> + Send + Sync + 'static) -> Address {
    let lives = AtomicUsize::new(0);
    serve(move |stream| {
        let writer = stream.try_clone()?;
        let requests = Requests { lines: BufReader::new(stream).lines(), writer };
        f(lives.fetch_add(1, Ordering::SeqCst), requests)
    })
}

/// The requests of one connection.
struct Requests {
    lines: io::Lines<BufReader<TcpStream>>,
    writer: TcpStream,
}

impl Requests {
    /// Takes in a request.
    fn skip(&mut self) -> io::Result<()> {
        while !self.lines.next().ok_or(io::ErrorKind::UnexpectedEof)??.is_empty() {}
        Ok(())
    }

    /// Takes in a request for each of these, and answers with it.
    fn answer(&mut self, answers: &[&str]) -> io::Result<()> {
        answers.iter().try_for_each(|answer| {
            self.skip()?;
            self.writer.write_all(answer.as_bytes())
        })
    }
}

fn http_mode() -> Mode {
    Mode::Http { host: "test".into(), path: "/".into() }
}

/// A short run over four connections, without a warm-up.
fn plan(server: &Address, mode: Mode) -> Plan {
    let mut plan = Plan::new(server.clone(), mode);
    plan.connections = 4;
    plan.warmup = Duration::ZERO;
    plan.duration = Some(Duration::from_secs(20));
    plan
}

fn measure(plan: &Plan) -> Step {
    only_step(run(plan, &Stop::default(), |_| ()).unwrap())
}

fn only_step(report: Report) -> Step {
    assert_eq!(report.steps.len(), 1);
    report.steps.into_iter().next().unwrap()
}

fn load(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
    command.arg("load").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
