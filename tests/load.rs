//! The load generator against servers that do right and servers that do wrong in every way it
//! claims to notice; and the program around it.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/nowhere.rs"]
mod nowhere;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::Address;
use edgeloop::load::{Fault, Mode, Phase, Plan, Pulse, Ramp, Report, Sample, Step, Stop, run};
use nowhere::Nowhere;
use rustix::process::{Pid, Signal, kill_process};

// What is right is counted.

#[test]
fn every_mode_of_an_echo_server_counts_only_verified_messages() {
    let server = serve(echo);
    for mode in [Mode::Echo, Mode::Lines { prefix: String::new() }, Mode::Stream, Mode::Churn] {
        let mut plan = plan(&server, mode);
        plan.messages = Some(500);
        plan.connections = 7;
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        assert!(step.errors.is_none(), "{:?}: {}", plan.mode, step.errors);
        assert_eq!(step.messages, 500, "{:?}", plan.mode);
        assert_eq!(step.latency.count, 500);
        assert_eq!(step.bytes, 500 * plan.size as u64);
        assert!(step.latency.min_us > 0.0 && step.latency.p50_us <= step.latency.max_us);
    }
}

#[test]
fn any_size_pipeline_and_number_of_threads_comes_back_whole() {
    let server = serve(echo);
    for (size, pipeline, threads) in [(1, 1, 1), (1, 33, 2), (65_521, 3, 1), (200_000, 2, 3)] {
        let mut plan = plan(&server, Mode::Echo);
        (plan.size, plan.pipeline, plan.threads) = (size, pipeline, threads);
        plan.connections = 3;
        plan.messages = Some(100);
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        assert!(step.errors.is_none(), "{size} x {pipeline}: {}", step.errors);
        assert_eq!(step.messages, 100, "{size} x {pipeline} in {threads} threads");
    }
}

#[test]
fn threads_without_a_message_hold_nothing_up() {
    let server = serve(echo);
    for (mode, rate) in [(Mode::Echo, None), (Mode::Churn, None), (Mode::Echo, Some(100.0))] {
        let mut plan = plan(&server, mode);
        (plan.messages, plan.threads, plan.rate) = (Some(3), 4, rate);
        // A run that hangs is given up, for want of answers, only after these.
        plan.connect_timeout = PATIENCE;
        plan.duration = None;
        let begin = Instant::now();
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        assert_eq!((step.messages, step.errors.total()), (3, 0), "{:?}", plan.mode);
        assert!(begin.elapsed() < PATIENCE, "{:?}", plan.mode);
    }
}

#[test]
fn server_sees_a_reset_at_the_end_of_a_run_and_an_orderly_close_after_each_churn() {
    let (tell, ends) = mpsc::channel();
    let server = serve(move |mut stream| {
        let mut buffer = [0; 64];
        let end = loop {
            match stream.read_exact(&mut buffer) {
                Ok(()) => stream.write_all(&buffer)?,
                Err(error) => break error.kind(),
            }
        };
        let _ = tell.send(end);
        Ok(())
    });
    for (mode, expected) in
        [(Mode::Echo, io::ErrorKind::ConnectionReset), (Mode::Churn, io::ErrorKind::UnexpectedEof)]
    {
        let mut plan = plan(&server, mode);
        (plan.connections, plan.messages) = (1, Some(5));
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        assert!(step.errors.is_none(), "{}", step.errors);
        assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), expected, "{:?}", plan.mode);
    }
}

#[test]
fn lines_come_back_with_their_prefix() {
    let server = serve(|stream| {
        let mut writer = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            writer.write_all(format!("re: {line}\n").as_bytes())?;
        }
        Ok(())
    });
    let mut plan = plan(&server, Mode::Lines { prefix: "re: ".into() });
    plan.messages = Some(200);
    let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
    assert!(step.errors.is_none() && step.messages == 200, "{}", step.errors);
    plan.mode = Mode::Lines { prefix: "er: ".into() };
    let error = run(&plan, &Stop::default(), |_| ()).unwrap_err().to_string();
    assert!(error.contains("wrong_byte"), "{error}");
}

#[test]
fn idle_connections_are_held_and_none_of_them_is_lost() {
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, peak) = (Arc::clone(&open), Arc::clone(&most));
    let server = serve(move |stream| {
        peak.fetch_max(seen.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let outcome = echo(stream);
        seen.fetch_sub(1, Ordering::SeqCst);
        outcome
    });
    let mut plan = plan(&server, Mode::Idle);
    plan.connections = 40;
    plan.size = 10;
    plan.duration = Some(Duration::from_millis(100));
    let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
    assert_eq!((step.connections, step.messages, step.errors.total()), (40, 0, 0));
    assert_eq!(most.load(Ordering::SeqCst), 40);
}

#[test]
fn ramp_has_a_row_for_each_step() {
    let server = serve(echo);
    let mut plan = plan(&server, Mode::Echo);
    plan.connections = 10;
    plan.ramp = Some(Ramp { first: 4, add: 4 });
    plan.duration = Some(Duration::from_millis(100));
    let report = run(&plan, &Stop::default(), |_| ()).unwrap();
    let connections: Vec<usize> = report.steps.iter().map(|step| step.connections).collect();
    assert_eq!(connections, [4, 8, 10]);
    assert!(report.steps.iter().all(|step| step.messages > 0 && step.errors.is_none()));
}

#[test]
fn connections_come_from_the_source_addresses_in_turns() {
    let sources: Arc<Mutex<BTreeSet<IpAddr>>> = Arc::default();
    let seen = Arc::clone(&sources);
    let server = serve(move |stream| {
        seen.lock().unwrap().insert(stream.peer_addr().unwrap().ip());
        echo(stream)
    });
    let mut plan = plan(&server, Mode::Echo);
    plan.sources = vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    plan.messages = Some(50);
    run(&plan, &Stop::default(), |_| ()).unwrap();
    assert_eq!(*sources.lock().unwrap(), plan.sources.iter().copied().collect());
}

// The truth about time.

#[test]
fn stall_shows_in_an_open_loop_and_hides_in_a_closed_one() {
    // Much longer than an answer takes on a busy machine.
    let stall = Duration::from_secs(1);
    let percentile = move |rate: Option<f64>| {
        let server = serve_from_now(move |begin, mut stream| {
            let mut buffer = [0; 4096];
            loop {
                let len = stream.read(&mut buffer)?;
                if len == 0 {
                    return Ok(());
                }
                // A third of the time, in the middle of the run.
                let at = begin.elapsed();
                if at > Duration::from_millis(1500) {
                    thread::sleep((Duration::from_millis(1500) + stall).saturating_sub(at));
                }
                stream.write_all(&buffer[..len])?;
            }
        });
        let mut plan = plan(&server, Mode::Echo);
        // Two answers of a closed loop are late, which has to be less than one in a hundred.
        plan.connections = 2;
        plan.rate = rate;
        plan.duration = Some(Duration::from_secs(3));
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        assert!(step.errors.is_none(), "{}", step.errors);
        step.latency
    };
    let open = thread::spawn(move || percentile(Some(400.0)));
    let closed = percentile(None);
    let open = open.join().unwrap();
    // 1200 messages were due; the 400 of the stall waited for up to its whole length.
    assert!(open.p99_us >= 0.85 * stall.as_micros() as f64, "{open:?}");
    assert!(open.p50_us < 0.5 * stall.as_micros() as f64, "{open:?}");
    assert!(closed.p99_us < 0.5 * stall.as_micros() as f64, "{closed:?}");
    assert!(closed.max_us >= 0.9 * stall.as_micros() as f64, "{closed:?}");
}

#[test]
fn two_runs_agree_and_obey_littles_law() {
    // As slow as the clock of the system makes it, not as the machine is today.
    let server = serve(|mut stream| {
        let mut buffer = [0; 4096];
        loop {
            let len = stream.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
            stream.write_all(&buffer[..len])?;
        }
    });
    let mut plan = plan(&server, Mode::Echo);
    plan.connections = 4;
    plan.duration = Some(Duration::from_secs(2));
    // At the same time, so that the machine is as busy for one as for the other.
    let steps: Vec<Step> = thread::scope(|scope| {
        let measure = || only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        let runs = [(); 2].map(|()| scope.spawn(measure));
        runs.map(|run| run.join().unwrap()).into()
    });
    for step in &steps {
        // It is told of fifty rounds and more, which a busy machine may not come to.
        let is_told = step.latency.mean_us * 50.0 <= 1e6 * step.seconds;
        assert_eq!(step.little.is_some(), is_told, "{:?}", step.latency);
        assert!(step.little.is_none_or(|little| little.holds), "{:?}", step.little);
        assert!(step.rate <= 400.0 && step.latency.min_us >= 10_000.0, "{}", step.rate);
        assert_eq!(step.client_bound, Some(false));
    }
    let (slow, fast) = (steps[0].rate.min(steps[1].rate), steps[0].rate.max(steps[1].rate));
    // Which of the two had more of a busy machine shows in the rate.
    assert!(slow > 0.3 * fast, "{slow} and {fast} messages a second");
}

#[test]
fn schedule_is_kept_and_its_lateness_reported() {
    let server = serve(echo);
    for spin in [false, true] {
        let mut plan = plan(&server, Mode::Echo);
        plan.rate = Some(200.0);
        // On a busy machine an answer may take longer than the next message lets wait.
        plan.pipeline = 64;
        plan.spin = spin;
        plan.duration = Some(Duration::from_millis(500));
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        // What is due in the time counts, whenever it is answered.
        assert_eq!((step.latency.count, step.unsent), (100, 0));
        assert!(step.lateness.unwrap().count > 0);
    }
}

#[test]
fn schedule_of_so_many_messages_ends_with_them() {
    // The last answer is so late that many more would be due.
    let slow = serve(|mut stream| {
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).is_ok() {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let broadcast = broadcast(|_, _| {
        thread::sleep(Duration::from_millis(20));
        Delivery::Once
    });
    for (server, mode, answers) in
        [(slow, Mode::Echo, 1), (broadcast, Mode::Broadcast { publishers: 2 }, 3)]
    {
        let mut plan = plan(&server, mode);
        (plan.rate, plan.messages) = (Some(500.0), Some(4));
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        let counts = (step.messages, step.latency.count, step.unsent, step.errors.total());
        assert_eq!(counts, (4 * answers, 4 * answers, 0, 0), "{:?}", plan.mode);
    }
}

#[test]
fn overload_of_an_open_loop_is_not_hidden() {
    let server = serve(|mut stream| {
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).is_ok() {
            thread::sleep(Duration::from_millis(20));
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut plan = plan(&server, Mode::Echo);
    plan.connections = 2;
    plan.rate = Some(1000.0);
    plan.duration = Some(Duration::from_millis(500));
    let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
    assert!(step.rate <= 100.0 && step.unsent > 300, "{} {}", step.rate, step.unsent);
    // Also those that were never sent have waited.
    assert_eq!(step.latency.count, 500);
    assert!(step.latency.p90_us > 300_000.0, "{:?}", step.latency);
}

#[test]
fn bursts_are_told_apart_and_recovery_is_the_time_to_work_off_what_they_left() {
    // It takes at least 2 ms for each message: 500 a second, of which the bursts ask four times as many.
    let server = serve(|mut stream| {
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).is_ok() {
            thread::sleep(Duration::from_millis(2));
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut plan = plan(&server, Mode::Echo);
    (plan.connections, plan.pipeline) = (1, 1024);
    plan.rate = Some(100.0);
    let pulse = Pulse {
        rate: 2000.0,
        duration: Duration::from_millis(200),
        every: Duration::from_millis(1500),
    };
    (plan.pulse, plan.duration) = (Some(pulse), Some(Duration::from_millis(3000)));
    let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
    let pulses = step.pulses.unwrap();
    // What is due counts once, wherever and whenever it is answered, or if it is not.
    assert!(pulses.within.count.abs_diff(400) <= 1, "{}", pulses.within.count);
    assert!(pulses.outside.count.abs_diff(100 * 14 / 5) <= 1, "{}", pulses.outside.count);
    assert_eq!(pulses.within.count + pulses.outside.count, step.latency.count);
    // The last of a burst waits for 400 messages, of which a second of work is left at its end.
    assert!(pulses.within.p50_us > 250_000.0 && pulses.within.max_us > 550_000.0);
    let [first] = &pulses.each[..] else { panic!("{:?}", pulses.each) };
    assert_eq!(first.at_s, 1.5);
    // On a busy machine a slow answer may be usual, or the server not be back in time.
    let usual_us = pulses.usual_us.unwrap();
    let late = first.recovery_s.map_or(f64::MAX, |recovery| recovery + usual_us / 1e6);
    assert!(late > 0.5, "{first:?} {usual_us}");
}

#[test]
fn server_that_is_as_fast_in_bursts_is_back_at_their_end_in_every_mode_with_a_rate() {
    let server = serve(echo);
    let lines = broadcast(|_, _| Delivery::Once);
    for (server, mode, each) in
        [(server, Mode::Echo, 1), (lines, Mode::Broadcast { publishers: 2 }, 3)]
    {
        let mut plan = plan(&server, mode);
        (plan.rate, plan.pipeline) = (Some(500.0), 64);
        let ms = Duration::from_millis;
        plan.pulse = Some(Pulse { rate: 1000.0, duration: ms(50), every: ms(250) });
        plan.duration = Some(ms(1000));
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        let pulses = step.pulses.unwrap();
        assert_eq!(pulses.each.len(), 3, "{:?}", plan.mode);
        // In each of three bursts 50 messages, and 500 a second in all the other time.
        let (within, outside) = (pulses.within.count / each, pulses.outside.count / each);
        assert!(within.abs_diff(150) <= 3 && outside.abs_diff(425) <= 3, "{within} {outside}");
        assert!(pulses.usual_us > Some(0.0) && step.errors.is_none(), "{}", step.errors);
    }
}

// What is wrong is noticed.

#[test]
fn one_corrupted_byte_is_an_error() {
    let server =
        serve(|stream| twist(stream, |count, byte| if count == 5000 { !byte } else { byte }));
    let step = fault_of(&server, |_| ());
    assert!(step.errors.count(Fault::WrongByte) > 0, "{}", step.errors);
    assert!(step.messages > 0);
}

#[test]
fn swallowed_message_is_an_error() {
    let server = serve(|mut stream| {
        let mut buffer = [0; 64];
        for count in 1u64.. {
            if stream.read_exact(&mut buffer).is_err() {
                break;
            }
            if count != 20 {
                stream.write_all(&buffer)?;
            }
        }
        Ok(())
    });
    let step = fault_of(&server, |plan| plan.reply_timeout = Duration::from_millis(200));
    assert!(step.errors.count(Fault::Timeout) > 0, "{}", step.errors);
    // With more in flight the next answer comes in its place.
    let step = fault_of(&server, |plan| plan.pipeline = 4);
    assert!(step.errors.count(Fault::WrongByte) > 0, "{}", step.errors);
}

#[test]
fn doubled_message_is_an_error() {
    let server = serve(|mut stream| {
        let mut buffer = [0; 64];
        for count in 1u64.. {
            if stream.read_exact(&mut buffer).is_err() {
                break;
            }
            stream.write_all(&buffer)?;
            if count == 20 {
                stream.write_all(&buffer)?;
            }
        }
        Ok(())
    });
    let step = fault_of(&server, |_| ());
    let noticed = step.errors.count(Fault::WrongByte) + step.errors.count(Fault::SurplusByte);
    assert!(noticed > 0, "{}", step.errors);
}

#[test]
fn byte_behind_the_last_answer_is_an_error() {
    let server = serve(|mut stream| {
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
            // One message proves each connection; then comes the only one that counts.
            if stream.read_exact(&mut buffer).is_ok() {
                stream.write_all(&[&buffer[..], b"x"].concat())?;
            }
        }
        Ok(())
    });
    let step = fault_of(&server, |plan| (plan.connections, plan.messages) = (1, Some(1)));
    assert_eq!(step.errors.count(Fault::SurplusByte), 1, "{}", step.errors);
}

#[test]
fn server_that_closes_in_the_middle_is_counted_and_dialled_again() {
    let lives = AtomicUsize::new(0);
    let server = serve(move |mut stream| {
        let life = lives.fetch_add(1, Ordering::SeqCst);
        let mut buffer = [0; 64];
        for _ in 0..5 + life % 40 {
            stream.read_exact(&mut buffer)?;
            stream.write_all(&buffer)?;
        }
        // Some of them with half an answer.
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer[..32 * (life % 2)])
    });
    let step = fault_of(&server, |plan| {
        (plan.messages, plan.duration) = (Some(300), Some(PATIENCE));
    });
    assert!(step.little.is_none(), "who waits to come back has nothing in flight");
    assert!(step.errors.count(Fault::ClosedEarly) > 4, "{}", step.errors);
    assert_eq!(step.errors.total(), step.errors.count(Fault::ClosedEarly), "{}", step.errors);
    assert!(step.connects.attempted > 4 && step.messages > 0);
}

#[test]
fn server_that_never_answers_is_given_up() {
    let server = serve(|mut stream| stream.read_to_end(&mut Vec::new()).map(drop));
    let mut plan = plan(&server, Mode::Echo);
    plan.reply_timeout = Duration::from_millis(200);
    let begin = Instant::now();
    let error = run(&plan, &Stop::default(), |_| ()).unwrap_err().to_string();
    assert!(error.ends_with("got a right first answer: 4 timeout"), "{error}");
    assert!(begin.elapsed() < PATIENCE);
}

#[test]
fn nobody_there_is_one_error_that_says_so() {
    let nowhere = Nowhere::new();
    let to = nowhere.address.into();
    let error = run(&plan(&to, Mode::Echo), &Stop::default(), |_| ()).unwrap_err();
    assert!(error.to_string().ends_with("was established: 4 refused"), "{error}");
    let to = Address::Unix(temporary("sock"));
    let error = run(&plan(&to, Mode::Echo), &Stop::default(), |_| ()).unwrap_err();
    assert!(error.to_string().ends_with("was established: 4 refused"), "{error}");
}

#[test]
fn run_that_only_messages_end_ends_when_the_server_goes_away() {
    let (gone, done) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 64];
        for _ in 0..10 {
            stream.read_exact(&mut buffer).unwrap();
            stream.write_all(&buffer).unwrap();
        }
        gone.send(()).unwrap();
    });
    let mut plan = plan(&server.into(), Mode::Echo);
    (plan.connections, plan.messages, plan.duration) = (1, Some(1_000_000), None);
    plan.reply_timeout = Duration::from_secs(2);
    plan.connect_timeout = Duration::from_secs(2);
    let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
    done.recv_timeout(PATIENCE).unwrap();
    assert_eq!(step.messages, 9);
    assert!(step.errors.count(Fault::Refused) > 0, "{}", step.errors);
}

// Broadcast.

#[test]
fn broadcast_counts_every_delivery() {
    let server = broadcast(|_, _| Delivery::Once);
    for publishers in [1, 5] {
        let mut plan = plan(&server, Mode::Broadcast { publishers });
        plan.connections = 6;
        plan.messages = Some(300);
        plan.pipeline = 3;
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        assert!(step.errors.is_none(), "{publishers}: {}", step.errors);
        assert_eq!(step.messages, 300 * 5);
    }
}

#[test]
fn broadcast_that_leaves_somebody_out_is_noticed() {
    let server = broadcast(|to, number| match (to, number) {
        (3, 3) => Delivery::Never,
        _ => Delivery::Once,
    });
    let step = broadcast_fault(&server, Duration::from_millis(500));
    assert!(step.errors.count(Fault::Missed) > 0, "{}", step.errors);
}

#[test]
fn broadcast_that_delivers_twice_is_noticed() {
    let server = broadcast(|to, number| match (to, number) {
        (3, 3) => Delivery::Twice,
        _ => Delivery::Once,
    });
    let step = broadcast_fault(&server, Duration::from_secs(20));
    assert_eq!(step.errors.count(Fault::Duplicate), 1, "{}", step.errors);
}

#[test]
fn broadcast_whose_last_receiver_is_gone_is_over() {
    // The publisher receives a few lines as well, before the clock starts, and no more.
    let server = broadcast(|_, number| match number {
        400.. => Delivery::HangUp,
        _ => Delivery::Once,
    });
    let mut plan = plan(&server, Mode::Broadcast { publishers: 1 });
    plan.connections = 2;
    let stop = Stop::default();
    let report = run(&plan, &stop, |progress| {
        if progress.errors > 0 {
            stop.stop();
        }
    });
    let step = only_step(report.unwrap());
    assert!(step.messages > 0 && step.errors.total() == 1, "{}", step.errors);
}

#[test]
fn broadcast_in_another_order_for_one_receiver_is_noticed() {
    let server = broadcast(|to, number| match (to, number) {
        (4, 3) => Delivery::Later,
        _ => Delivery::Once,
    });
    let step = broadcast_fault(&server, Duration::from_secs(20));
    assert_eq!(step.errors.count(Fault::OutOfOrder), 1, "{}", step.errors);
    assert_eq!(step.errors.total(), 1, "{}", step.errors);
    assert_eq!(step.messages, 200 * 5 - 1, "a message that comes too late is not delivered");
}

// HTTP.

#[test]
fn http_answers_are_read_whole_in_every_form() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    let endless = "HTTP/1.0 200 OK\r\n\r\nabc";
    for answer in [chunked, sized, closing, endless] {
        let server = http(answer);
        let mut plan = plan(&server, http_mode());
        plan.messages = Some(60);
        let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
        assert!(step.errors.is_none(), "{answer:?}: {}", step.errors);
        assert_eq!((step.messages, step.bytes), (60, 60 * answer.len() as u64), "{answer:?}");
    }
}

#[test]
fn http_status_other_than_2xx_is_an_error_and_no_answer() {
    let server = http("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let mut plan = plan(&server, http_mode());
    plan.messages = Some(60);
    let step = only_step(run(&plan, &Stop::default(), |_| ()).unwrap());
    assert_eq!((step.messages, step.errors.count(Fault::BadStatus)), (0, 60));
}

#[test]
fn answer_that_is_no_http_is_an_error() {
    let server = http("220 smtp.example ESMTP\r\n");
    let error = run(&plan(&server, http_mode()), &Stop::default(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("bad_reply"), "{error}");
}

// The program.

#[test]
fn program_measures_its_own_server_and_sees_its_process() {
    let server = Server::start();
    let json = temporary("json");
    let output = load(&[&server.address, "-d", "300ms", "--json", json.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    for word in ["messages/s", "p99.9", "errors     none", "us CPU for each message", "connection"]
    {
        assert!(stdout.contains(word), "{stdout}");
    }
    // No terminal, no progress.
    assert_eq!(text(&output.stderr), "");
    let report: Report = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let found = only_step(report).server.unwrap();
    assert_eq!((found.pids, found.name.as_str()), (vec![server.process.id()], "edgeloop"));
    fs::remove_file(json).unwrap();
}

#[test]
fn bursts_that_are_not_answered_are_missed_in_the_rate_and_named_in_the_page() {
    let server = Server::start();
    let html = temporary("html");
    // In bursts 200,000 messages in all: by far more than one at a time.
    let pulse = ["-r", "200", "--pulse", "2000k:50ms:400ms", "-d", "1s", "-c", "1"];
    let output =
        load(&[&[&*server.address, "--html", html.to_str().unwrap()], &pulse[..]].concat());
    let stdout = text(&output.stdout);
    let what = "at 200 messages/s with bursts of 2,000,000 messages/s for 0.05 s, every 0.4 s";
    assert!(stdout.contains(what), "{stdout}");
    assert!(stdout.contains("fewer messages were answered rightly than were due"), "{stdout}");
    // In 400 ms 80 messages are due.
    assert!(stdout.contains("not measured: no thread had 100 messages"), "{stdout}");
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains(&format!("<h1>echo {}, open loop {what}", server.address)), "{page}");
    fs::remove_file(html).unwrap();
}

#[test]
fn json_has_the_documented_fields_and_no_other() {
    let server = Server::start();
    let output = load(&[
        &server.address,
        "-r",
        "4k",
        "-d",
        "300ms",
        "--pulse",
        "5k:10ms:100ms",
        "--json",
        "-",
    ]);
    let open: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let output = load(&[&server.address, "-n", "5000", "-c", "2", "--json", "-"]);
    let closed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut fields = BTreeSet::new();
    paths("", &open, &mut fields);
    paths("", &closed, &mut fields);
    let page = fs::read_to_string(root("docs/reference/load-json.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<String> = rows.map(str::to_owned).collect();
    let kinds: BTreeSet<String> = Fault::ALL.map(|fault| fault.name().to_owned()).into();
    let (kinds_documented, fields_documented): (BTreeSet<String>, BTreeSet<String>) =
        documented.into_iter().partition(|name| kinds.contains(name));
    assert_eq!(kinds_documented, kinds);
    assert_eq!(fields_documented, fields);
}

#[test]
fn missed_bound_is_exit_code_3_and_a_line_that_names_it() {
    let server = Server::start();
    let common = [server.address.as_str(), "-n", "200", "-c", "4"];
    let with = |bounds: &[&str]| {
        let bounds = bounds.iter().flat_map(|bound| ["--fail-if", bound]);
        load(&common.into_iter().chain(bounds).collect::<Vec<_>>())
    };
    let output = with(&["p99>1us", "errors>0", "rate<1"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("edgeloop: missed: p99>1us: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(with(&["p99>1h", "x"]).status.code(), Some(2));
    assert_eq!(with(&["max>100s", "errors>0", "messages<200"]).status.code(), Some(0));
}

#[test]
fn errors_are_exit_code_1_and_usage_is_2() {
    let server = http("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    let output = load(&[&format!("http://{server}/"), "-n", "5", "-c", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("5 bad_status"), "{}", text(&output.stdout));
    let nowhere = Nowhere::new();
    let free = nowhere.address.to_string();
    for (arguments, code, culprit) in [
        (vec![free.as_str(), "-c", "3"], 1, "3 refused"),
        (vec!["nowhere"], 2, "`nowhere` is no address"),
        (vec![&free, "--source", "192.0.2.1"], 1, "cannot connect from 192.0.2.1"),
        (vec!["wss://h:7443/ws"], 2, "write tls:h:7443"),
        (vec![&free, "--insecure"], 2, "a target with TLS"),
        (vec![&free, "-c", "0"], 2, "connections is 0"),
        (vec![&free, "--ramp", "5"], 2, "`5` is no ramp"),
        (vec![&free, "--spin"], 2, "--rate"),
        (vec![&free, "--prefix", "x"], 2, "--prefix"),
        (vec![&free, "-m", "broadcast", "-t", "2"], 2, "one thread"),
        (vec!["no-such-host.invalid:1"], 1, "no-such-host.invalid"),
        (vec!["--compare", "/absent/a.json", "/absent/b.json"], 1, "/absent/a.json"),
    ] {
        let output = load(&arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(culprit) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn run_without_an_answer_is_exit_code_1_and_has_no_percentiles() {
    let server = serve(|mut stream| {
        let mut buffer = [0; 64];
        for count in 0.. {
            stream.read_exact(&mut buffer)?;
            // The one that proves the connection, and no other in time.
            thread::sleep(Duration::from_secs(20 * count));
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let output = load(&[&server.to_string(), "-c", "2", "-d", "100ms", "--warmup", "0s"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    assert!(
        stdout.contains("latency    unknown") && stdout.contains("errors     none"),
        "{stdout}"
    );
}

#[test]
fn too_few_descriptors_are_one_line_before_anything_is_opened() {
    let script = "ulimit -n 64; exec \"$0\" load 127.0.0.1:9 -c 100";
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", script, env!("CARGO_BIN_EXE_edgeloop")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("100 connections are too many") && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn interrupt_shows_what_was_measured_up_to_then() {
    let server = Server::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
    command.args(["load", &server.address, "-d", "10m", "--warmup", "0s", "--json", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It is under way once the server has been asked a number of times.
    let busy = || fs::read_to_string(format!("/proc/{}/schedstat", server.process.id())).unwrap();
    let before = busy();
    let deadline = Instant::now() + PATIENCE;
    let cpu_ns = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    while cpu_ns(&busy()) < cpu_ns(&before) + 50_000_000 {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let report: Report = serde_json::from_str(&stdout).unwrap();
    assert!(report.interrupted);
    let step = only_step(report);
    assert!(step.messages > 0 && step.seconds > 0.0 && step.errors.is_none(), "{}", step.errors);
}

#[test]
fn answers_that_an_interrupt_does_not_wait_for_are_no_errors() {
    let slow = serve(|mut stream| {
        let mut buffer = [0; 64];
        for count in 0.. {
            stream.read_exact(&mut buffer)?;
            thread::sleep(Duration::from_secs(5 * count));
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    // Three connections have two lines each to receive at most before the clock starts.
    let broadcast = broadcast(|_, number| match number {
        1 | 2 => Delivery::Once,
        _ => Delivery::Never,
    });
    for (server, mode) in [(slow, Mode::Echo), (broadcast, Mode::Broadcast { publishers: 1 })] {
        let mut plan = plan(&server, mode);
        plan.connections = 3;
        let stop = Stop::default();
        let report = run(&plan, &stop, |progress| {
            if progress.phase == Phase::Measuring && !progress.elapsed.is_zero() {
                stop.stop();
            }
        });
        let report = report.unwrap();
        assert!(report.interrupted);
        let step = only_step(report);
        assert!(step.errors.is_none(), "{:?}: {}", plan.mode, step.errors);
    }
}

#[test]
fn second_interrupt_ends_at_once() {
    let server = serve(|mut stream| {
        let mut buffer = [0; 64];
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer)?;
        // From here on it takes nothing and closes nothing.
        thread::sleep(Duration::from_secs(600));
        Ok(())
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
    command.args(["load", &server.to_string(), "-c", "1", "--warmup", "0s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let pid = Pid::from_child(&child);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        // Before its handler is there the first one ends it, which is no less at once.
        let _ = kill_process(pid, Signal::INT);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn runs_are_compared_in_a_table_and_on_a_page_that_needs_nothing_else() {
    let server = Server::start();
    let files = ["json", "json", "html"].map(temporary);
    for (file, seconds) in files[..2].iter().zip([3, 1]) {
        load(&[&server.address, "-n", "500", "-c", "2", "--json", file.to_str().unwrap()]);
        stretch(file, seconds);
    }
    let names = files.each_ref().map(|file| file.to_str().unwrap());
    let output = load(&["--compare", names[0], names[1], "--html", names[2]]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    // How fast, at what price, and a key to names that are long.
    assert_eq!(stdout.lines().count(), 3 + 1 + 3 + 1 + 2, "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    let page = fs::read_to_string(&files[2]).unwrap();
    assert!(page.contains("<svg") && page.contains("99 %") && page.contains("var(--b)"));
    // What lasted a second is a point beside the lines of the other.
    assert_eq!(page.matches("<circle").count(), 2 * 2, "in two pictures of two shapes");
    for outside in ["http://", "https://", "<script", "url("] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(outside), "the page refers to {outside}");
    }
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
}

/// Lets a report say that its run lasted so many seconds.
fn stretch(file: &Path, seconds: u64) {
    let mut report: Report = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let step = &mut report.steps[0];
    let sample = step.series[0].clone();
    step.seconds = seconds as f64;
    step.series = (0..seconds).map(|second| Sample { second, ..sample.clone() }).collect();
    fs::write(file, serde_json::to_string(&report).unwrap()).unwrap();
}

// Servers that nobody here wrote.

#[test]
fn cat_behind_ncat_echoes() {
    let Some(other) = Other::start("ncat", |port| {
        ["-lk", "-e", "/bin/cat", "127.0.0.1", port].map(str::to_owned).into()
    }) else {
        return;
    };
    let output = load(&[&other.address, "-n", "300", "-c", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn redis_answers_every_command() {
    let Some(other) = Other::start("redis-server", |port| {
        ["--port", port, "--save", "", "--bind", "127.0.0.1"].map(str::to_owned).into()
    }) else {
        return;
    };
    for command in ["ping", "set", "get", "incr", "mset", "publish"] {
        let arguments =
            [&other.address, "-m", "redis", "--command", command, "-n", "500", "-p", "5"];
        let output = load(&arguments);
        assert_eq!(output.status.code(), Some(0), "{command}: {}", text(&output.stdout));
    }
    // An error of the protocol is an answer, and an error.
    let step = redis_refusal(&other.address);
    assert!(step.errors.count(Fault::ErrorReply) > 0, "{}", step.errors);
}

fn redis_refusal(address: &str) -> Step {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"CONFIG SET maxmemory 1\r\n").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    let mut plan = plan(&address.parse().unwrap(), Mode::Redis(edgeloop::load::RedisCommand::Set));
    plan.messages = Some(50);
    only_step(run(&plan, &Stop::default(), |_| ()).unwrap())
}

#[test]
fn python_serves_files_by_http() {
    let directory = temporary("www");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), [b'x'; 3000]).unwrap();
    let name = directory.to_str().unwrap().to_owned();
    if let Some(other) = Other::start("python3", |port| {
        ["-m", "http.server", port, "--bind", "127.0.0.1", "-d", &name].map(str::to_owned).into()
    }) {
        let output = load(&[&format!("http://{}/file", other.address), "-n", "100", "-c", "4"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    }
    fs::remove_dir_all(directory).unwrap();
}

// What the tests above are made of.

const PATIENCE: Duration = Duration::from_secs(30);

/// Serves each connection on a thread of its own, for as long as the test runs.
fn serve(f: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Address {
    serve_from_now(move |_, stream| f(stream))
}

/// As `serve`, with the moment of the first connection.
fn serve_from_now(
    f: impl Fn(Instant, TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let f = Arc::new(f);
    thread::spawn(move || {
        let mut begin = None;
        for stream in listener.incoming().map_while(Result::ok) {
            let begin = *begin.get_or_insert_with(Instant::now);
            let f = Arc::clone(&f);
            stream.set_nodelay(true).unwrap();
            // What goes wrong is seen from the other side.
            thread::spawn(move || drop(f(begin, stream)));
        }
    });
    address.into()
}

fn echo(stream: TcpStream) -> io::Result<()> {
    twist(stream, |_, byte| byte)
}

/// Echoes, with each byte changed by its position.
fn twist(mut stream: TcpStream, change: impl Fn(u64, u8) -> u8) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut count = 0;
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        for byte in &mut buffer[..len] {
            *byte = change(count, *byte);
            count += 1;
        }
        stream.write_all(&buffer[..len])?;
    }
}

/// How a faulty broadcast server treats one message for one receiver.
enum Delivery {
    Once,
    Never,
    Twice,
    /// After the next one.
    Later,
    /// Never again, and here is the end of the connection.
    HangUp,
}

/// How a line begins with which `load` finds out who is there: as many as that takes.
const PROBE: &str = "ffffff";

/// Passes each line to all others; `treat` is told the receiver, in the order in which they came,
/// and the number of the message that it would get next. Probes are none.
fn broadcast(treat: impl Fn(usize, usize) -> Delivery + Send + Sync + 'static) -> Address {
    struct Receiver {
        stream: TcpStream,
        count: usize,
        kept: Option<String>,
    }
    let receivers: Arc<Mutex<Vec<Receiver>>> = Arc::default();
    serve(move |stream| {
        let mut all = receivers.lock().unwrap();
        let own = all.len();
        all.push(Receiver { stream: stream.try_clone().unwrap(), count: 0, kept: None });
        drop(all);
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut all = receivers.lock().unwrap();
            for (index, receiver) in all.iter_mut().enumerate().filter(|(index, _)| *index != own) {
                let is_probe = line.starts_with(PROBE);
                let line = format!("{line}\n");
                if is_probe {
                    let _ = receiver.stream.write_all(line.as_bytes());
                    continue;
                }
                receiver.count += 1;
                let kept = receiver.kept.take().unwrap_or_default();
                let now = match treat(index, receiver.count) {
                    Delivery::Once => line,
                    Delivery::Never => String::new(),
                    Delivery::HangUp => {
                        let _ = receiver.stream.shutdown(std::net::Shutdown::Both);
                        String::new()
                    }
                    Delivery::Twice => format!("{line}{line}"),
                    Delivery::Later => {
                        receiver.kept = Some(line);
                        String::new()
                    }
                };
                // Who has left is no concern of the others.
                let _ = receiver.stream.write_all((now + &kept).as_bytes());
            }
        }
        Ok(())
    })
}

/// Both publishers send four messages at once, so that each member certainly gets as many.
fn broadcast_fault(server: &Address, reply_timeout: Duration) -> Step {
    let mut plan = plan(server, Mode::Broadcast { publishers: 2 });
    plan.connections = 6;
    plan.pipeline = 4;
    plan.messages = Some(200);
    plan.reply_timeout = reply_timeout;
    only_step(run(&plan, &Stop::default(), |_| ()).unwrap())
}

/// Answers each request with the same bytes, and closes where they say so.
fn http(answer: &'static str) -> Address {
    serve(move |stream| {
        let mut writer = stream.try_clone()?;
        for line in BufReader::new(stream).lines() {
            if line?.is_empty() {
                // In two pieces, wherever the cut falls.
                let (first, second) = answer.split_at(answer.len() / 2);
                writer.write_all(first.as_bytes())?;
                writer.write_all(second.as_bytes())?;
                if answer.contains("close") || answer.contains("HTTP/1.0") {
                    break;
                }
            }
        }
        Ok(())
    })
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

/// A short run against a server that does wrong.
fn fault_of(server: &Address, change: impl FnOnce(&mut Plan)) -> Step {
    let mut plan = plan(server, Mode::Echo);
    plan.duration = Some(Duration::from_millis(400));
    change(&mut plan);
    only_step(run(&plan, &Stop::default(), |_| ()).unwrap())
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

/// `edgeloop echo` on a free port.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Server {
        let file = temporary("port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
        command.args(["echo", "-q", "-l", "127.0.0.1:0", "--port-file"]).arg(&file);
        let process = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            if let Ok(address) = fs::read_to_string(&file) {
                break address.trim().to_owned();
            }
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        };
        fs::remove_file(file).unwrap();
        Server { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that came with the system, on a port that was free a moment ago.
struct Other {
    process: Child,
    address: String,
}

impl Other {
    /// `None` where there is no such program.
    fn start(program: &str, arguments: impl FnOnce(&str) -> Vec<String>) -> Option<Other> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command.args(arguments(&free.port().to_string()));
        let spawned = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(process) = spawned else {
            println!("skipped: {program} is missing");
            return None;
        };
        let other = Other { process, address: free.to_string() };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(free).is_err() {
            assert!(Instant::now() < deadline, "{program} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Some(other)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The names of all members, with dots between the levels and `[]` for the members of a list.
fn paths(prefix: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) if !COUNTS.iter().any(|it| prefix.ends_with(it)) => {
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                paths(&format!("{prefix}{dot}{name}"), value, found);
            }
        }
        serde_json::Value::Array(items) if items.first().is_some_and(|item| item.is_object()) => {
            items.iter().for_each(|item| paths(&format!("{prefix}[]"), item, found));
        }
        // What is unknown in one run is known in the other.
        serde_json::Value::Null if !LEAVES.contains(&prefix) => {}
        _ => drop(found.insert(prefix.to_owned())),
    }
}

/// Members that are a plain value or none.
const LEAVES: [&str; 5] = [
    "plan.duration_s",
    "plan.messages",
    "plan.rate",
    "steps[].server_speaks",
    "steps[].pulses.each[].recovery_s",
];
/// Members that have a number for each name that occurred.
const COUNTS: [&str; 4] = ["errors", "errors_before", "errors_after", "wrong_answers"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path that no other test and no other run uses.
fn temporary(extension: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("edgeloop-load-{}-{count}.{extension}", std::process::id());
    std::env::temp_dir().join(name)
}
