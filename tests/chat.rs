//! The chat: rooms, over lines and over WebSocket.

#![cfg(feature = "websocket")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::websocket::{WebSocket, frame, request, text};
use common::{
    ByHand, Server, closed, connect, connect_narrow, end_sending, expect_eof, expect_gone,
    expect_on_time, expect_silence, send, start, start_by,
};
use edgeloop::service::chat::{Chat, ChatOptions, Role};
use edgeloop::{Address, CloseReason, Config, ListenOptions};

// ---- rooms on two wires ----

#[test]
fn lines_and_websockets_share_a_room_and_its_numbers() {
    let server = chat(ChatOptions::default());
    let mut anna = Lines::enter(&server, "anna");
    anna.say("/join den");
    let room = anna.next();
    assert!(room.starts_with("* you are in den as operator; number 0, id "), "{room}");
    assert_eq!(anna.next(), "[den 1] * anna joins as operator");
    let mut bob = browser(&server, "bob");
    bob.say("/join den");
    let room = bob.next_text();
    assert!(room.starts_with(r#"{"type":"room","room":"den","id":""#), "{room}");
    assert!(room.ends_with(r#""role":"speaker","number":1,"count":1,"members":[{"name":"anna","role":"operator"}]}"#), "{room}");
    let joined = bob.next_text();
    assert!(joined.starts_with(r#"{"type":"joined","room":"den","number":1,"time":"#), "{joined}");
    assert!(joined.ends_with(r#","name":"anna","role":"operator"}"#), "{joined}");
    assert!(bob.next_text().contains(r#""number":2,"#));
    assert_eq!(anna.next(), "[den 2] * bob joins as speaker");
    bob.say("is this \"it\"?");
    anna.say("yes \\o/\r");
    assert_eq!(anna.next(), "[den 3] bob: is this \"it\"?");
    assert_eq!(anna.next(), "[den 4] anna: yes \\o/");
    assert!(bob.next_text().ends_with(r#""name":"bob","text":"is this \"it\"?"}"#));
    assert!(bob.next_text().ends_with(r#""name":"anna","text":"yes \\o/"}"#));
    anna.say("/nick ann");
    assert_eq!(anna.next(), "* you are now called ann");
    assert_eq!(anna.next(), "[den 5] * anna is now called ann");
    assert!(bob.next_text().ends_with(r#""name":"anna","new":"ann"}"#));
    anna.say("/leave");
    assert_eq!(anna.next(), "* you left den");
    assert!(bob.next_text().contains(r#""type":"left""#));
    // Somebody has to be operator.
    assert!(bob.next_text().ends_with(r#""name":"bob","role":"operator"}"#));
    anna.say("hello?");
    assert_eq!(anna.next(), "! you are in no room; /join ROOM");
    anna.say("/quit");
    assert_eq!(anna.next(), "* goodbye");
    expect_eof(&anna.stream);
    server.finish();
}

#[test]
fn all_members_see_one_order_and_every_message_once() {
    let (members, senders, messages) =
        if cfg!(debug_assertions) { (100, 20, 10) } else { (1000, 100, 10) };
    let options =
        ChatOptions { rate: 100_000, room_memory: 64 << 20, history: 0, ..ChatOptions::default() };
    let server = start(Config { output_limit: 8 << 20, ..Config::default() }, Chat::new(options));
    let address = &server.address;
    let mut lines: Vec<Lines> = (0..members / 2).map(|_| Lines::open(address)).collect();
    let mut browsers: Vec<WebSocket> = (0..members / 2).map(|_| WebSocket::open(address)).collect();
    // In portions: nobody is to be behind by all joins of all others.
    lines.iter_mut().for_each(|it| it.say("/join den"));
    browsers.iter_mut().for_each(|it| it.say("/join den"));
    let last_join = members as u64;
    thread::scope(|scope| {
        for part in lines.chunks_mut(50) {
            scope.spawn(|| part.iter_mut().for_each(|it| it.until_number(last_join)));
        }
        for part in browsers.chunks_mut(50) {
            scope.spawn(|| part.iter_mut().for_each(|it| until_number(it, last_join)));
        }
    });
    // Half of the senders on each wire, all at once.
    for count in 0..messages {
        for sender in 0..senders / 2 {
            lines[sender].say(&format!("line {sender} {count}"));
            browsers[sender].say(&format!("frame {sender} {count}"));
        }
    }
    let all = (senders * messages) as u64;
    let order: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let agree = |number: u64, text: String| {
        let mut order = order.lock().unwrap();
        let known = order.entry(number).or_insert_with(|| text.clone());
        assert_eq!(*known, text, "number {number} is not the same for all");
    };
    thread::scope(|scope| {
        for part in lines.chunks_mut(50) {
            scope.spawn(|| {
                for it in part {
                    for number in last_join + 1..=last_join + all {
                        let line = it.next();
                        let text = line.strip_prefix(&format!("[den {number}] ")).expect(&line);
                        agree(number, text.split_once(": ").expect(&line).1.into());
                    }
                }
            });
        }
        for part in browsers.chunks_mut(50) {
            scope.spawn(|| {
                for it in part {
                    for number in last_join + 1..=last_join + all {
                        let json = it.next_text();
                        assert!(json.contains(&format!("\"number\":{number},")), "{json}");
                        agree(number, json.split("\"text\":\"").nth(1).unwrap().replace("\"}", ""));
                    }
                }
            });
        }
    });
    // At each sender's own pace, and none is lost.
    let order = order.into_inner().unwrap();
    for sender in 0..senders / 2 {
        for kind in ["line", "frame"] {
            let said: Vec<&str> = order
                .values()
                .filter_map(|text| text.strip_prefix(&format!("{kind} {sender} ")))
                .collect();
            let expected: Vec<String> = (0..messages).map(|count| count.to_string()).collect();
            assert_eq!(said, expected, "{kind} {sender}");
        }
    }
    drop((lines, browsers));
    server.stop();
}

/// As with `printf … | nc`: all commands at once, and no end of the input.
#[test]
fn line_client_that_quits_still_gets_what_was_said_before() {
    let server = chat(ChatOptions::default());
    let mut bob = Lines::enter(&server, "bob");
    bob.join("den");
    let mut anna = Lines::open(&server.address);
    anna.say("/nick anna\n/join den\nhello\n/quit");
    anna.until("[den 2] * anna joins as speaker");
    assert_eq!(anna.next(), "[den 3] anna: hello");
    expect_eof(&anna.stream);
    bob.until("[den 4] * anna leaves");
    server.stop();
}

#[test]
fn name_is_free_once_its_owner_is_not_served_any_more() {
    let server = chat(ChatOptions::default());
    let mut bob = browser(&server, "bob");
    send(&bob.stream, &frame(0x82, b"x"));
    assert_eq!(bob.expect_close(), 1003);
    // Its connection is still there.
    let mut anna = Lines::enter(&server, "anna");
    anna.say("/nick bob");
    assert_eq!(anna.next(), "* you are now called bob");
    drop(bob);
    server.wait_until("it has gone", |stats| stats.open() == 1);
    // The name belongs to its new owner from now on.
    let mut carl = Lines::enter(&server, "carl");
    carl.say("/nick bob");
    assert_eq!(carl.next(), "! bob is somebody else's name");
    server.stop();
}

#[test]
fn nothing_leaks_between_rooms() {
    let server = chat(ChatOptions::default());
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), Lines::enter(&server, "bob"));
    anna.join("den");
    bob.join("attic");
    anna.say("for the den");
    assert_eq!(anna.next(), "[den 2] anna: for the den");
    bob.say("/say den let me in");
    assert_eq!(bob.next(), "! you are not in den");
    bob.say("/who den");
    assert_eq!(bob.next(), "! you are not in den");
    bob.say("/join den");
    assert!(bob.next().starts_with("* you are in den"));
    bob.until("[den 3] * bob joins as speaker");
    anna.until("[den 3] * bob joins as speaker");
    // Text goes to the room joined last, unless it names one.
    bob.say("/say attic dust");
    assert_eq!(bob.next(), "[attic 2] bob: dust");
    bob.say("hi");
    assert_eq!(bob.next(), "[den 4] bob: hi");
    assert_eq!(anna.next(), "[den 4] bob: hi");
    bob.say("/leave den");
    assert_eq!(bob.next(), "* you left den");
    assert_eq!(anna.next(), "[den 5] * bob leaves");
    anna.say("gone?");
    assert_eq!(anna.next(), "[den 6] anna: gone?");
    bob.say("/rooms");
    assert_eq!([bob.next(), bob.next(), bob.next()], ["* 2 rooms", "*   attic (1)", "*   den (1)"]);
    server.stop();
}

#[test]
fn names_are_one_persons_and_cannot_imitate_an_event() {
    let server = chat(ChatOptions { rate: 1000, ..ChatOptions::default() });
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), Lines::enter(&server, "bob"));
    bob.say("/nick ANNA");
    assert_eq!(bob.next(), "! ANNA is somebody else's name");
    for bad in ["[den", "a:b", "*", "\u{202e}x", "a\u{1b}[0m", "a_name_that_is_far_too_long"] {
        bob.say(&format!("/nick {bad}"));
        assert!(bob.next().starts_with("! a name has letters"), "{bad}");
    }
    anna.join("den");
    bob.join("den");
    anna.until("* bob joins");
    // What a terminal obeys does not reach it, and bytes that are no text become some.
    bob.say_bytes(b"\x1b]0;evil\x07 \xfe\xff a\tb\x9b\x7f\xc2\x9b31m\n");
    assert_eq!(anna.next(), "[den 3] bob: ]0;evil  \u{fffd}\u{fffd} a b\u{fffd}  31m");
    // What shows nothing is nothing, be it no letter to the eye only.
    bob.say("\u{1b}\u{7f}\u{202e}");
    bob.say("\u{200b}\u{3164}\u{2800}\u{e0041}\u{fe0f}");
    bob.say("/say den \u{200d}");
    bob.say("[den 9] anna: I owe you");
    assert_eq!(anna.next(), "[den 4] bob: [den 9] anna: I owe you");
    bob.say("/nick Bob");
    assert_eq!(anna.next(), "[den 5] * bob is now called Bob");
    // A name is free as soon as its owner has gone.
    drop(bob);
    assert_eq!(anna.next(), "[den 6] * Bob leaves");
    anna.say("/nick bob");
    assert_eq!(anna.next(), "* you are now called bob");
    server.stop();
}

#[test]
fn people_of_any_script_have_names_and_nobody_has_the_look_of_anothers() {
    let server = chat(ChatOptions { rate: 1000, ..ChatOptions::default() });
    for (name, alike) in [
        ("अनीता", "अनीता\u{200d}"),
        ("สมชาย", "สมชาย"),
        ("Ωμέγας", "ΩΜΈΓΑΣ"),
        ("Straße", "STRASSE"),
        ("Amélie", "ame\u{301}lie"),
        ("anna", "аnnа"),
        ("Ilya", "llya"),
        ("Bob", "ｂ0b"),
    ] {
        let mut owner = Lines::enter(&server, name);
        let mut other = Lines::open(&server.address);
        other.say(&format!("/nick {alike}"));
        other.until("! ");
        // It is the owner's in any case, and for others to see.
        owner.say(&format!("/nick {alike}"));
        owner.say("/join den");
        owner.until("* you are in den");
        owner.say("/quit");
        expect_gone(&owner.stream);
        other.say(&format!("/nick {name}"));
        assert_eq!(other.next(), format!("* you are now called {name}"));
        other.say("/quit");
        expect_gone(&other.stream);
    }
    // Rooms are called as people are.
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), Lines::enter(&server, "bob"));
    anna.say("/join кино");
    anna.until("* you are in кино");
    // With the Latin O.
    bob.say("/join КИНO");
    bob.until("* you are in кино as speaker");
    bob.until("bob joins");
    anna.say("/kick BOB Кино");
    bob.until("* anna put you out of кино");
    server.stop();
}

// ---- roles ----

/// Each of a crowd that leaves may be the next operator, so they are gathered once; whose role has
/// changed since keeps the place that it came with.
#[test]
fn operators_who_leave_are_followed_by_whoever_may_speak_and_came_first() {
    let server = chat(ChatOptions::default());
    let mut crowd: Vec<Lines> = ["anna", "bob", "carl", "dora", "emil"]
        .into_iter()
        .map(|name| {
            let mut lines = Lines::enter(&server, name);
            lines.join("den");
            lines
        })
        .collect();
    let mut emil = crowd.pop().unwrap();
    let [mut anna, mut bob, mut carl, dora] = <[Lines; 4]>::try_from(crowd).ok().unwrap();
    anna.say("/role bob viewer");
    emil.until("anna makes bob viewer");
    drop(anna);
    emil.until("* carl is now operator");
    carl.say("/role bob speaker");
    emil.until("carl makes bob speaker");
    drop(carl);
    emil.until("* bob is now operator");
    // One that comes back is the last of them.
    let mut anna = Lines::enter(&server, "anna");
    anna.join("den");
    bob.say("/role emil viewer");
    emil.until("bob makes emil viewer");
    drop((bob, dora));
    emil.until("* anna is now operator");
    drop(anna);
    emil.until("* emil is now operator");
    server.stop();
}

#[test]
fn viewers_cannot_speak_until_an_operator_lets_them() {
    let server = chat(ChatOptions { newcomers: Role::Viewer, ..ChatOptions::default() });
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), browser(&server, "bob"));
    anna.join("den");
    bob.say("/join den");
    bob.until(r#""name":"bob","role":"viewer"}"#);
    bob.say("psst");
    assert!(bob.next_text().contains(r#""code":"viewer""#));
    bob.say("/role bob speaker");
    assert!(bob.next_text().contains(r#""code":"not_operator""#));
    bob.say("/kick anna");
    assert!(bob.next_text().contains(r#""code":"not_operator""#));
    anna.until("[den 2] * bob joins as viewer");
    anna.say("/role bob speaker");
    assert_eq!(anna.next(), "[den 3] * anna makes bob speaker");
    bob.until(r#""name":"bob","role":"speaker","by":"anna"}"#);
    bob.say("thanks");
    assert_eq!(anna.next(), "[den 4] bob: thanks");
    anna.say("/role anna viewer");
    assert_eq!(anna.next(), "! a room needs an operator; make somebody else one first");
    anna.say("/role bob operator");
    anna.until("[den 5] * anna makes bob operator");
    anna.say("/role anna viewer");
    anna.until("[den 6] * anna makes anna viewer");
    anna.say("oh");
    assert_eq!(anna.next(), "! viewers cannot speak in this room");
    server.stop();
}

#[test]
fn whoever_is_kicked_is_out_at_once() {
    let server = chat(ChatOptions::default());
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), browser(&server, "bob"));
    let mut carl = Lines::enter(&server, "carl");
    anna.join("den");
    bob.say("/join den");
    bob.until(r#""name":"bob","role":"speaker"}"#);
    carl.join("den");
    anna.until("[den 3] * carl joins as speaker");
    anna.say("/kick nobody");
    assert_eq!(anna.next(), "! there is no nobody in the room");
    // In one write: what follows the kick is not for the kicked any more.
    anna.say("/kick bob\nbob is out");
    assert_eq!(anna.next(), "[den 4] * anna puts bob out");
    assert_eq!(anna.next(), "[den 5] anna: bob is out");
    assert_eq!(carl.next(), "[den 4] * anna puts bob out");
    assert!(bob.until("put_out").ends_with(r#""room":"den","by":"anna"}"#));
    bob.say("/say den but");
    assert!(bob.next_text().contains(r#""code":"not_there""#));
    bob.say("/ping still connected");
    assert_eq!(bob.next_text(), r#"{"type":"pong","text":"still connected"}"#);
    // When the operator goes, the one who is there longest takes over.
    drop(anna);
    carl.until("[den 6] * anna leaves");
    assert_eq!(carl.next(), "[den 7] * carl is now operator");
    server.stop();
}

// ---- history and resuming ----

#[test]
fn newcomers_get_the_history_and_those_who_come_back_what_they_missed() {
    let server = chat(ChatOptions { history: 5, ..ChatOptions::default() });
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), browser(&server, "bob"));
    anna.join("den");
    let id = bob_joins(&mut bob, "/join den");
    drop(bob);
    anna.until("* bob leaves");
    for count in 4..8 {
        anna.say(&format!("message {count}"));
        anna.until(&format!("[den {count}] anna: message {count}"));
    }
    // He has seen number 3, as he had two; here he pretends to have seen more, and gets the rest.
    let mut bob = browser(&server, "bob");
    let room = bob_joins(&mut bob, &format!("/join den 4 {id}"));
    assert_eq!(room, id);
    drop(bob);
    anna.until("[den 9] * bob leaves");
    // Over lines it is the same.
    let mut carl = Lines::enter(&server, "carl");
    carl.say("/join den 7");
    assert!(carl.next().contains("number 9, id "));
    for number in [8, 9, 10] {
        assert!(carl.next().starts_with(&format!("[den {number}] * ")));
    }
    server.stop();
}

/// Joins as a browser does, and reads up to his own coming; numbers must follow each other. Returns
/// the room's id.
#[track_caller]
fn bob_joins(bob: &mut WebSocket, command: &str) -> String {
    bob.say(command);
    let room = bob.next_text();
    let after: Option<u64> = command.split(' ').nth(2).map(|number| number.parse().unwrap());
    let mut next = after.map(|after| after + 1);
    loop {
        let event = bob.next_text();
        let number = number_of(&event);
        assert!(next.is_none_or(|next| next == number), "{next:?}: {event}");
        next = Some(number + 1);
        if event.contains(r#""type":"joined""#)
            && event.contains(r#""name":"bob""#)
            && number > number_of(&room)
        {
            return room.split(r#""id":""#).nth(1).unwrap().split('"').next().unwrap().into();
        }
    }
}

/// However many come and go, a newcomer is given the last messages, and who comes back all that is
/// held: at least what fits half of the memory.
#[test]
fn comings_and_goings_push_no_message_out() {
    let options = ChatOptions { history: 3, rate: 100_000, ..ChatOptions::default() };
    let server = chat(options);
    let mut anna = Lines::enter(&server, "anna");
    let id = anna.join("den");
    for count in 2..=6 {
        anna.say(&format!("message {count}"));
    }
    let mut visitor = Lines::enter(&server, "visitor");
    for _ in 0..100 {
        visitor.join("den");
        visitor.say("/leave");
        visitor.until("* you left den");
    }
    let mut carl = Lines::enter(&server, "carl");
    carl.say("/join den");
    carl.until("* you are in den");
    for count in 4..=6 {
        assert_eq!(carl.next(), format!("[den {count}] anna: message {count}"));
    }
    assert_eq!(carl.next(), "[den 7] * visitor joins as speaker");
    let mut dora = browser(&server, "dora");
    dora.say("/join den");
    dora.until(r#""type":"room""#);
    assert!(dora.next_text().ends_with(r#""text":"message 4"}"#));
    let mut bob = Lines::enter(&server, "bob");
    bob.say(&format!("/join den 1 {id}"));
    bob.until("* you are in den");
    let last = 6 + 200 + 3;
    for number in 2..=last {
        assert!(bob.next().starts_with(&format!("[den {number}] ")), "{number}");
    }
    server.stop();
}

#[test]
fn newcomer_gets_what_is_held_after_all_messages_were_pushed_out() {
    let options = ChatOptions {
        history: 5,
        message_max: 256,
        room_memory: 4 << 10,
        rate: 100_000,
        ..ChatOptions::default()
    };
    let server = chat(options);
    let mut anna = Lines::enter(&server, "anna");
    anna.join("den");
    anna.say("long ago");
    let mut visitor = Lines::enter(&server, "visitor");
    for _ in 0..100 {
        visitor.join("den");
        visitor.say("/leave");
        visitor.until("* you left den");
    }
    for name in ["bob", "carl"] {
        let mut newcomer = Lines::enter(&server, name);
        newcomer.say("/join den");
        let room = newcomer.next();
        let last: u64 =
            room.split("number ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        let first = newcomer.next();
        let first: u64 = first.split([' ', ']']).nth(1).unwrap().parse().unwrap();
        // The second does not look for the messages again.
        assert!(name == "bob" && first < last - 5 || first == last - 4, "{first} of {last}");
    }
    server.stop();
}

#[test]
fn what_is_not_held_any_more_is_told() {
    let server = chat(ChatOptions {
        message_max: 400,
        room_memory: 3 << 10,
        rate: 100_000,
        room_linger: Duration::from_millis(300),
        ..ChatOptions::default()
    });
    let mut anna = Lines::enter(&server, "anna");
    let id = anna.join("den");
    let filler = "x".repeat(400);
    for count in 2..=19 {
        anna.say(&filler);
        anna.until(&format!("[den {count}] anna: {filler}"));
    }
    let mut bob = browser(&server, "bob");
    bob.say(&format!("/join den 2 {id}"));
    bob.until(r#""type":"room""#);
    let gap = bob.next_text();
    assert!(gap.starts_with(r#"{"type":"gap","room":"den","from":3,"to":"#), "{gap}");
    let to: u64 = gap.split("\"to\":").nth(1).unwrap().replace('}', "").parse().unwrap();
    assert!((10..19).contains(&to), "{gap}");
    for number in to + 1..=20 {
        assert_eq!(number_of(&bob.next_text()), number);
    }
    let mut carl = Lines::enter(&server, "carl");
    carl.say("/join den 99");
    carl.next();
    assert_eq!(carl.next(), "* den: its numbers began anew");
    drop((anna, bob, carl));
    // The room stays for a while, then it is gone, and another of its name is another.
    let mut dora = Lines::enter(&server, "dora");
    let deadline = Instant::now() + common::PATIENCE;
    loop {
        dora.say(&format!("/join den 5 {id}"));
        let room = dora.next();
        let mut told = dora.next();
        if room.contains("number 0, ") {
            assert_eq!(told, "* den: its numbers began anew");
            break;
        }
        while !told.contains("* dora joins") {
            told = dora.next();
        }
        dora.say("/leave");
        dora.until("* you left den");
        assert!(Instant::now() < deadline, "the room never goes");
        thread::sleep(Duration::from_millis(500));
    }
    server.stop();
}

#[test]
fn rooms_and_places_are_limited_and_empty_rooms_make_way() {
    let server = chat(ChatOptions {
        rooms_max: 2,
        members_max: 2,
        rooms_per_client: 2,
        ..ChatOptions::default()
    });
    let mut anna = Lines::enter(&server, "anna");
    anna.join("one");
    anna.join("two");
    anna.say("/join three");
    assert_eq!(anna.next(), "! at most 2 rooms at once; /leave one");
    let mut bob = Lines::enter(&server, "bob");
    bob.say("/join three");
    assert_eq!(bob.next(), "! there are as many rooms as there can be");
    anna.say("/leave one");
    anna.until("* you left one");
    bob.join("three");
    bob.say("/join TWO");
    bob.until("[two 2] * bob joins as speaker");
    let mut carl = Lines::enter(&server, "carl");
    carl.say("/join two");
    assert_eq!(carl.next(), "! two is full");
    server.stop();
}

// ---- slow members and full rooms ----

/// A member that stops reading costs the room its memory and its patience, and nobody a message;
/// senders are held meanwhile, on either wire, and what they said is neither lost nor doubled.
#[test]
fn slow_member_is_disconnected_and_nobody_else_misses_anything() {
    let options = ChatOptions {
        rate: 1_000_000,
        message_max: 1024,
        // More than the window of the readers, and a twelfth of what is said.
        room_memory: 128 << 10,
        ..ChatOptions::default()
    };
    let server = start_by(Config::default(), Chat::new(options), |reactor| {
        // What a client is behind by lies in the room, and not in megabytes of the kernel's.
        let options = ListenOptions { notsent_lowat: Some(16 << 10), ..ListenOptions::default() };
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &options).unwrap()
    });
    let mut slow = Lines::on(connect_narrow(&server.address, 4096));
    slow.say("/join den");
    slow.until("joins as");
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), browser(&server, "bob"));
    anna.join("den");
    bob.say("/join den");
    bob.until(r#""name":"bob""#);
    anna.until("bob joins");
    let count = 3000;
    let filler = "x".repeat(200);
    let mut writers = [anna.stream.try_clone().unwrap(), bob.stream.try_clone().unwrap()];
    // Nobody says more than a window beyond what both have read: a busy machine that does not run a
    // reader for a moment makes nobody but the slow member fall behind.
    let window = 100;
    let (read_by, has_read) = (Mutex::new([0; 2]), Condvar::new());
    let wait_to_say = |number: u32| {
        let is_ahead = |read: &mut [u32; 2]| read.iter().any(|read| number >= read + window);
        let read = has_read.wait_timeout_while(read_by.lock().unwrap(), common::PATIENCE, is_ahead);
        assert!(!read.unwrap().1.timed_out(), "a reader gets nothing more");
    };
    let note_read = |reader: usize, next: [u32; 2]| {
        read_by.lock().unwrap()[reader] = next[0].min(next[1]);
        has_read.notify_all();
    };
    thread::scope(|scope| {
        let [anna_writes, bob_writes] = &mut writers;
        scope.spawn(|| {
            for number in 0..count {
                wait_to_say(number);
                send(&mut *anna_writes, format!("{number} {filler}\n").as_bytes());
            }
        });
        scope.spawn(|| {
            for number in 0..count {
                wait_to_say(number);
                // In two fragments, so that what is held back was joined.
                let message = format!("{number} {filler}");
                let (begin, end) = message.as_bytes().split_at(100);
                send(&mut *bob_writes, &[frame(0x01, begin), frame(0x80, end)].concat());
            }
        });
        scope.spawn(|| {
            let mut next = [0; 2];
            while next != [count; 2] {
                let line = anna.next();
                let (name, text) =
                    line.split_once("] ").unwrap().1.split_once(": ").unwrap_or_default();
                if let Some(number) = said(text) {
                    let next = &mut next[usize::from(name == "bob")];
                    assert_eq!(number, *next, "{name}");
                    *next += 1;
                }
                note_read(0, next);
            }
        });
        scope.spawn(|| {
            let mut next = [0; 2];
            let mut last = None;
            while next != [count; 2] {
                let json = bob.next_text();
                let number = number_of(&json);
                assert!(last.is_none_or(|last| number == last + 1), "{last:?}, then {number}");
                last = Some(number);
                let text = json.split("\"text\":\"").nth(1).unwrap_or_default();
                if let Some(number) = said(text) {
                    let next = &mut next[usize::from(json.contains("\"name\":\"bob\""))];
                    assert_eq!(number, *next);
                    *next += 1;
                }
                note_read(1, next);
            }
        });
    });
    let stats = server
        .wait_until("the slow one is gone", |stats| stats.closed(CloseReason::SlowConsumer) == 1);
    assert_eq!(stats.closed(CloseReason::ProtocolError), 0);
    drop(slow);
    server.stop();
}

// ---- limits of one client ----

/// Forty lines are pasted, on each wire, with pings between them: those over the rate come later,
/// and all of them come.
#[test]
fn paste_is_slowed_down_and_nothing_of_it_is_lost() {
    let server = chat(ChatOptions { rate: 20, ..ChatOptions::default() });
    let mut anna = Lines::enter(&server, "anna");
    anna.join("den");
    let mut bob = browser(&server, "bob");
    bob.say("/join den");
    bob.until("\"joined\",\"room\":\"den\",\"number\":2,");
    anna.until("bob joins");
    let begin = Instant::now();
    let lines: Vec<String> = (0..40).map(|count| format!("line {count}")).collect();
    anna.say(&lines.join("\n"));
    send(&bob.stream, &lines.iter().flat_map(|line| text(line)).collect::<Vec<_>>());
    send(&bob.stream, &frame(0x89, b"last"));
    for wire in ["anna", "bob"] {
        let mut listener = Lines::enter(&server, &format!("listens.{wire}"));
        listener.join("den");
    }
    let mut heard = [0; 2];
    while heard != [40; 2] {
        let line = anna.next();
        let Some((name, count)) = line.split_once("] ").unwrap().1.split_once(": line ") else {
            continue;
        };
        let heard = &mut heard[usize::from(name == "bob")];
        assert_eq!(count.parse(), Ok(*heard), "{line}");
        *heard += 1;
    }
    let least = Duration::from_millis(900);
    assert!(begin.elapsed() >= least, "it took {:?}", begin.elapsed());
    // The ping waited behind them.
    while bob.next_frame().unwrap() != (0x8a, b"last".to_vec()) {}
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::ProtocolError), 0);
}

/// Piped into a client that ends its side behind it, as in `cat text | nc -N`.
#[test]
fn paste_is_taken_to_its_end_behind_which_the_client_has_gone() {
    let server = chat(ChatOptions { rate: 20, ..ChatOptions::default() });
    let mut anna = Lines::enter(&server, "anna");
    anna.join("den");
    let bob = connect(&server.address);
    let lines: String = (0..40).map(|count| format!("line {count}\n")).collect();
    send(&bob, format!("/join den\n{lines}the end").as_bytes());
    end_sending(&bob);
    for count in 0..40 {
        anna.until(&format!(": line {count}"));
    }
    anna.until(": the end");
    drop(bob);
    anna.until("leaves");
    server.stop();
}

#[test]
fn client_that_fills_its_input_again_and_again_is_closed() {
    let server = chat(ChatOptions { rate: 100, ..ChatOptions::default() });
    let message = "/ping".to_owned() + &"x".repeat(3000);
    let lines = format!("{message}\n").repeat(1000);
    let mut anna = Lines::open(&server.address);
    let mut writer = anna.stream.try_clone().unwrap();
    let mut bob = WebSocket::open(&server.address);
    let frames = bob.stream.try_clone().unwrap();
    thread::scope(|scope| {
        // Until they are cut off.
        scope.spawn(move || writer.write_all(lines.as_bytes()));
        scope.spawn(|| (&frames).write_all(&text(&message).repeat(1000)));
        anna.until("* too many messages");
        assert_eq!(bob.expect_close(), 1008);
        drop((anna, bob));
    });
    let stats = server.finish();
    assert_eq!(stats.closed(CloseReason::ProtocolError), 2);
}

#[test]
fn client_that_rests_between_two_large_pastes_stays() {
    let server = chat(ChatOptions { rate: 1000, ..ChatOptions::default() });
    let mut anna = Lines::open(&server.address);
    let mut bob = WebSocket::open(&server.address);
    // More than pass at once, and than 32 KiB, but not twice as much.
    let command = format!("/ping {:x<30}", "");
    for _ in 0..2 {
        anna.say(&vec![&*command; 1300].join("\n"));
        send(&bob.stream, &text(&command).repeat(1300));
        (0..1300).for_each(|_| drop(anna.until("xxx")));
        (0..1300).for_each(|_| drop(bob.until("\"pong\"")));
        // Nothing tells that a client has rested but time.
        thread::sleep(Duration::from_millis(700));
    }
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::ProtocolError), 0);
}

#[test]
fn long_message_is_no_full_input() {
    let options = ChatOptions { message_max: 48 << 10, rate: 2, ..ChatOptions::default() };
    let server = chat(options);
    let mut anna = Lines::open(&server.address);
    let mut bob = WebSocket::open(&server.address);
    let short = "/ping".to_owned();
    let long = format!("/ping {:x<1$}", "", 40 << 10);
    // The tokens are used up, and each long message comes too soon.
    for command in std::iter::repeat_n(short, 16).chain(vec![long; 3]) {
        anna.say(&command);
        bob.say(&command);
        anna.until("* pong");
        bob.until("\"pong\"");
    }
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::ProtocolError), 0);
}

/// A client that a full room kept waiting, or that spoke while the server stood still, has said no
/// more than it may.
#[test]
fn time_in_which_the_server_stood_still_is_the_clients() {
    let options = ChatOptions { rate: 10, ..ChatOptions::default() };
    let mut server = ByHand::new(Config::default(), Chat::new(options));
    let mut anna = Lines::on(server.connect());
    anna.say("/nick anna\n/join den");
    let published = |server: &ByHand<Chat>| server.reactor.stats().messages_published;
    server.turn_until("she has joined", |reactor| reactor.stats().messages_published == 2);
    // What she says in three seconds, while nobody turns the loop.
    thread::sleep(Duration::from_secs(3));
    anna.say(&"hello\n".repeat(40));
    let turns = server.reactor.stats().turns;
    server.turn_until("all is said", |reactor| reactor.stats().messages_published == 2 * 41);
    let turns = server.reactor.stats().turns - turns;
    // Those that had to wait for a token would wait for two seconds: thousands of turns.
    assert!(turns < 100, "it took {turns} turns");
    assert_eq!(published(&server), 2 * 41);
}

/// What it has sent waits for a token, for longer than it may be idle.
#[test]
fn client_that_waits_for_its_rate_is_not_idle() {
    let options = ChatOptions { rate: 4, ..ChatOptions::default() };
    let idle_timeout = Some(Duration::from_millis(100));
    let mut server = ByHand::new(Config { idle_timeout, ..Config::default() }, Chat::new(options));
    let mut anna = Lines::on(server.connect());
    anna.say(&format!("/join den\n{}", "hello\n".repeat(18)));
    server.turn_until("all is said", |reactor| reactor.stats().messages_published == 2 * 19);
}

#[test]
fn page_comes_back_to_all_its_rooms_at_the_lowest_rate() {
    let server = chat(ChatOptions { rate: 1, ..ChatOptions::default() });
    let mut bob = WebSocket::open(&server.address);
    let joins = (0..8).map(|room| text(&format!("/join room{room}")));
    let all = [text("/nick bob")].into_iter().chain(joins).chain([text("/rooms")]);
    send(&bob.stream, &all.collect::<Vec<_>>().concat());
    bob.until(r#"{"type":"rooms","count":8,"#);
    server.stop();
}

#[test]
fn welcome_says_which_limits_a_client_is_to_keep() {
    let server = chat(ChatOptions { message_max: 100, rate: 7, ..ChatOptions::default() });
    let mut bob = WebSocket::open(&server.address);
    let welcome = bob.next_text();
    assert!(welcome.contains(r#","message_max":100,"#) && welcome.ends_with(r#","rate":7}"#));
    let line_max = welcome.split(r#""line_max":"#).nth(1).unwrap().split(',').next().unwrap();
    // The longest line is taken, and one byte more ends the connection.
    let longest = format!("/ping {:x<1$}", "ä", line_max.parse::<usize>().unwrap() - 7);
    assert_eq!(longest.len().to_string(), line_max);
    bob.say(&longest);
    assert!(bob.next_text().starts_with(r#"{"type":"pong""#));
    bob.say(&format!("{longest}x"));
    assert_eq!(bob.expect_close(), 1009);
    server.finish();
}

#[test]
fn text_over_the_limit_is_refused_and_far_over_it_ends_the_connection() {
    let server = chat(ChatOptions { message_max: 100, ..ChatOptions::default() });
    let mut anna = Lines::enter(&server, "anna");
    anna.join("den");
    anna.say(&"x".repeat(100));
    assert_eq!(anna.next(), format!("[den 2] anna: {}", "x".repeat(100)));
    anna.say(&"x".repeat(101));
    assert_eq!(anna.next(), "! a message has at most 100 bytes");
    anna.say(&"x".repeat(1000));
    assert_eq!(anna.next(), "! the line is too long");
    expect_eof(&anna.stream);
    let mut bob = WebSocket::open(&server.address);
    send(&bob.stream, &[0x81, 0xfe, 0xff, 0xff]);
    assert_eq!(bob.expect_close(), 1009);
    let stats = server.finish();
    assert_eq!(stats.closed(CloseReason::LineTooLong), 1);
    assert_eq!(stats.closed(CloseReason::MessageTooLong), 1);
}

// ---- the first bytes, and HTTP ----

#[test]
fn line_client_is_welcomed_with_the_answer_to_its_first_line_and_never_earlier() {
    let server = chat(ChatOptions::default());
    let mut anna = Lines::open(&server.address);
    expect_silence(&anna.stream, Duration::from_millis(100));
    anna.say_bytes(b"/pi");
    expect_silence(&anna.stream, Duration::from_millis(100));
    anna.say("ng");
    assert!(anna.next().starts_with("* welcome, guest1; "));
    assert_eq!(anna.next(), "* pong ");
    // A last line without its end is said all the same, be it the first one.
    let mut carl = Lines::open(&server.address);
    carl.say_bytes(b"/ping the end");
    end_sending(&carl.stream);
    assert!(carl.next().starts_with("* welcome"));
    assert_eq!(carl.next(), "* pong the end");
    expect_eof(&carl.stream);
    server.finish();
}

#[test]
fn empty_line_before_a_request_and_a_length_of_zero_are_nothing() {
    let server = chat(ChatOptions::default());
    for (before, path, field, status) in [
        ("", "/", "Content-Length: 0\r\n", "200"),
        ("\r\n", "/", "", "200"),
        ("\n", "/", "Content-Length: 0\r\n", "200"),
        // A body is not asked for and does no harm, but where frames are to follow.
        ("", "/", "Content-Length: 5\r\n", "200"),
        ("", "/ws", "Content-Length: 0\r\n", "101"),
        ("\r\n", "/ws", "", "101"),
        ("\n", "/ws", "", "101"),
        ("", "/ws", "Content-Length: 5\r\n", "400"),
        ("", "/ws", "Transfer-Encoding: chunked\r\n", "400"),
    ] {
        let whole = format!("{before}{}", request(path, field));
        for cut in [0, 1, 2, before.len() + 3, whole.len()] {
            let client = connect(&server.address);
            let received = server.stats().bytes_received + cut as u64;
            send(&client, &whole.as_bytes()[..cut]);
            server.wait_until("the first part came", |stats| stats.bytes_received >= received);
            send(&client, &whole.as_bytes()[cut..]);
            let mut answer = String::new();
            BufReader::new(&client).read_line(&mut answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{whole:?}: {answer}");
        }
    }
    // One is passed over, and somebody who presses the key again is welcomed.
    let mut anna = Lines::open(&server.address);
    anna.say("\r");
    expect_silence(&anna.stream, Duration::from_millis(100));
    anna.say("\r");
    assert!(anna.next().starts_with("* welcome"));
    server.stop();
}

/// What stands before a line, within it and behind it in the bytes of terminals and libraries.
#[test]
fn bytes_of_telnet_and_marks_of_encodings_are_no_text() {
    let server = chat(ChatOptions { rate: 1000, ..ChatOptions::default() });
    let negotiation = b"\xff\xfb\x1f\xff\xfd\x0a\xff\xfa\x1f\x00\x50\x00\x0a\xff\xf0";
    for (number, parts) in [
        [&b"\xef\xbb\xbf"[..], b"/nick n#", b"\r\n"],
        [negotiation, b"/nick n#", b"\r\n"],
        [b"\xff\xfb\x18", b"/nick\xff\xf1 n#", b"\r\0\n"],
        [b"", b"/nick n#", b"\0\n"],
        [b"\r\n\xff\xfb\x18", b"/nick n#", b" \r\r\n"],
        [b"\xff\xfb\x18\n", b"/nick n#", b"\r\n"],
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = parts
            .concat()
            .iter()
            .map(|byte| if *byte == b'#' { b'0' + number as u8 } else { *byte })
            .collect::<Vec<u8>>();
        for cut in 0..bytes.len() {
            let mut anna = Lines::open(&server.address);
            let received = server.stats().bytes_received + cut as u64;
            anna.say_bytes(&bytes[..cut]);
            server.wait_until("the first part came", |stats| stats.bytes_received >= received);
            anna.say_bytes(&bytes[cut..]);
            anna.until(&format!("* you are now called n{number}"));
            anna.say_bytes(b"/ping hel\xff\xf4\xff\xfd\x06lo\n\xff\xf1");
            assert_eq!(anna.next(), "* pong hello", "{bytes:?}, cut at {cut}");
            anna.say("/quit");
            expect_gone(&anna.stream);
        }
    }
    server.finish();
}

/// Of TLS every greeting has a line feed in it, and a page may have lines put into its visitor's.
#[test]
fn greeting_of_tls_is_refused_and_no_line_in_it_obeyed() {
    let server = chat(ChatOptions::default());
    for greeting in [&b"\x16\x03\x01\x02\x00\x01"[..], b"\x16\x03\x03", b"\x80\x2e\x01\x03\x01"] {
        let whole = [greeting, b"\n/join den\nsaid by a page\n"].concat();
        for cut in 0..=greeting.len() {
            let mut stream = connect(&server.address);
            let received = server.stats().bytes_received + cut as u64;
            send(&stream, &whole[..cut]);
            server.wait_until("the first part came", |stats| stats.bytes_received >= received);
            let _ = stream.write_all(&whole[cut..]);
            let answer = read_all(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert!(answer.ends_with("\r\n\r\nthis port has no TLS.\n"), "{answer}");
        }
    }
    let mut anna = Lines::enter(&server, "anna");
    anna.say("/rooms");
    assert_eq!(anna.next(), "* 0 rooms");
    // Whoever begins with odd bytes is no client of TLS yet.
    let mut bob = Lines::open(&server.address);
    bob.say_bytes(b"\x16\x02/ping x\n/ping y\n");
    bob.until("* pong y");
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::ProtocolError), 7 + 4 + 6);
}

#[test]
fn connection_without_a_first_line_is_closed_at_its_deadline() {
    let span = Duration::from_secs(1);
    let config = Config { tick: Duration::from_millis(10), ..Config::default() };
    let options = ChatOptions { first_line_timeout: Some(span), ..ChatOptions::default() };
    let server = start(config, Chat::new(options));
    let mut anna = Lines::enter(&server, "anna");
    thread::scope(|scope| {
        for (bytes, answer) in [
            (&b""[..], ""),
            (b"hel", ""),
            (b"POST / HT", ""),
            (b"\x16", ""),
            (b"\xff\xfb\x1f\r\n", ""),
            (b"GET / HT", "HTTP/1.1 408 Request Timeout\r\n"),
            (b"GE", "HTTP/1.1 408 Request Timeout\r\n"),
        ] {
            let server = &server;
            scope.spawn(move || {
                let begin = Instant::now();
                let mut stream = connect(&server.address);
                // Each byte that comes puts nothing off.
                for part in bytes.chunks(1) {
                    // On a busy machine the time may be over already.
                    let _ = stream.write_all(part);
                    thread::sleep(Duration::from_millis(10));
                }
                let said = read_all(&mut stream);
                assert!(said.starts_with(answer) && said.is_empty() == answer.is_empty(), "{said}");
                assert!(begin.elapsed() >= span, "closed after {:?}", begin.elapsed());
            });
        }
    });
    // Whoever has said something may be silent.
    anna.say("/ping");
    assert_eq!(anna.next(), "* pong ");
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::RequestTimeout), 7);
}

// ---- half-closed ----

/// As with `printf '/join den\n' | ncat`: the member's input has ended, and it listens.
#[test]
fn member_that_ends_its_side_listens_on_until_it_is_gone() {
    let server = chat(ChatOptions::default());
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), Lines::enter(&server, "bob"));
    let mut carl = Lines::enter(&server, "carl");
    anna.join("den");
    for listener in [&mut bob, &mut carl] {
        listener.join("den");
        listener.say_bytes(b"my last words");
        end_sending(&listener.stream);
        // An answer may overtake events.
        listener.until("* you have ended your side, and listen on");
        listener.until("my last words");
    }
    anna.say("news");
    bob.until("anna: news");
    carl.until("anna: news");
    // One that is gone answers what it is told with a reset.
    drop(bob.reader);
    common::reset(bob.stream);
    anna.until("* bob leaves");
    // One that is put out of its last room has nothing to listen to.
    anna.say("/kick carl");
    carl.until("* anna put you out of den");
    expect_eof(&carl.stream);
    // And one that was in no room had nothing to wait for.
    let mut dora = Lines::enter(&server, "dora");
    dora.say("/ping");
    end_sending(&dora.stream);
    assert_eq!(dora.next(), "* pong ");
    expect_eof(&dora.stream);
    server.stop();
}

#[test]
fn member_that_closes_its_connection_is_gone_at_once() {
    let server = chat(ChatOptions::default());
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), Lines::enter(&server, "bob"));
    anna.join("den");
    bob.join("den");
    // All was read, so that the kernel sends an end and no reset.
    drop(bob);
    anna.until("* bob leaves");
    server.stop();
}

#[test]
fn page_cannot_make_its_visitors_browser_speak() {
    let server = chat(ChatOptions::default());
    for request in ["POST / HTTP/1.1", "PUT /x HTTP/1.0", "PRI * HTTP/1.1"] {
        let mut stream = connect(&server.address);
        let body = "/join den\nspam\n";
        send(
            &stream,
            format!("{request}\r\nHost: x\r\nContent-Length: 15\r\n\r\n{body}").as_bytes(),
        );
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 4"), "{request}: {answer}");
    }
    let mut anna = Lines::enter(&server, "anna");
    anna.say("/rooms");
    assert_eq!(anna.next(), "* 0 rooms");
    server.stop();
}

#[test]
fn request_may_come_late_and_slowly() {
    let server = chat(ChatOptions::default());
    let mut stream = connect(&server.address);
    // As when a browser opens a connection in advance.
    expect_silence(&stream, Duration::from_millis(1200));
    send(&stream, b"GE");
    expect_silence(&stream, Duration::from_millis(200));
    send(&stream, b"T / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 200 OK\r\n"));
    server.finish();
}

#[test]
fn browser_gets_the_page_and_nothing_else() {
    let server = chat(ChatOptions::default());
    let ask = |request: &str| {
        let mut stream = connect(&server.address);
        send(&stream, format!("{request}\r\nHost: chat.example\r\n\r\n").as_bytes());
        read_all(&mut stream)
    };
    let page = ask("GET /?from=bookmark HTTP/1.1");
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(head.contains("\r\nContent-Security-Policy: default-src 'none'; script-src 'sha256-"));
    // Beside the page's own script and style: its own server, and icons that it draws itself.
    for allowed in ["connect-src 'self'; ", "img-src data:; ", "form-action 'none'; "] {
        assert!(head.contains(allowed), "{allowed}");
    }
    assert!(!head.contains("unsafe-") && body.contains(r#"<link rel="icon""#));
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())));
    assert!(body.starts_with("<!doctype html>") && body.ends_with("</html>\n"));
    let of_head = ask("HEAD / HTTP/1.1");
    assert_eq!(of_head, format!("{head}\r\n\r\n"));
    // To HEAD there is no body, and it opens no WebSocket.
    let missing = ask("HEAD /favicon.ico HTTP/1.1");
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.ends_with("\r\n\r\n"), "{missing}");
    let mut stream = connect(&server.address);
    send(&stream, request("/ws", "").replacen("GET", "HEAD", 1).as_bytes());
    let refused = read_all(&mut stream);
    assert!(refused.starts_with("HTTP/1.1 426 ") && refused.ends_with("\r\n\r\n"), "{refused}");
    for (request, status) in [
        ("GET /favicon.ico HTTP/1.1", "404"),
        ("GET /ws HTTP/1.1", "426"),
        ("DELETE / HTTP/1.1", "405"),
        ("GET / HTTP/3.0", "505"),
        ("GET  / HTTP/1.1", "400"),
    ] {
        let answer = ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    assert!(ask("GET /ws HTTP/1.1").contains("\r\nSec-WebSocket-Version: 13\r\n"));
    let mut stream = connect(&server.address);
    send(&stream, format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(20_000)).as_bytes());
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 431 "));
    server.finish();
}

#[test]
fn pages_of_other_origins_are_refused() {
    let answer = |server: &Server, origin: &str| {
        let mut stream = connect(&server.address);
        send(&stream, request("/ws", &format!("Origin: {origin}\r\n")).as_bytes());
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).unwrap();
        line
    };
    let server = chat(ChatOptions::default());
    assert!(answer(&server, "http://127.0.0.1").contains("101"));
    assert!(answer(&server, "http://127.0.0.1:8080").contains("403"));
    assert!(answer(&server, "https://evil.example").contains("403"));
    server.stop();
    let origins = vec!["https://chat.example".to_owned()];
    let server = chat(ChatOptions { origins, ..ChatOptions::default() });
    assert!(answer(&server, "https://chat.example").contains("101"));
    assert!(answer(&server, "http://127.0.0.1").contains("403"));
    server.stop();
}

// ---- the WebSocket protocol ----

#[test]
fn every_cut_of_handshake_and_frames_gives_the_same_conversation() {
    let server = chat(ChatOptions { rate: 1000, ..ChatOptions::default() });
    let mut stream = request("/ws", "Origin: http://127.0.0.1\r\n").into_bytes();
    stream.extend(text("/ping ä€😀"));
    stream.extend([frame(0x01, b"/pi"), frame(0x89, b"?"), frame(0x80, b"ng two")].concat());
    stream.extend(frame(0x88, b"\x03\xe8"));
    let step = if cfg!(debug_assertions) { 3 } else { 1 };
    for cut in (1..stream.len()).step_by(step) {
        let received = server.stats().bytes_received;
        let client = connect(&server.address);
        send(&client, &stream[..cut]);
        server.wait_until("the first part came", |stats| {
            stats.bytes_received == received + cut as u64
        });
        send(&client, &stream[cut..]);
        let mut socket = WebSocket::accepted(client);
        assert!(socket.next_text().starts_with(r#"{"type":"welcome""#), "cut at {cut}");
        assert_eq!(socket.next_text(), r#"{"type":"pong","text":"ä€😀"}"#, "cut at {cut}");
        assert_eq!(socket.next_frame(), Some((0x8a, b"?".to_vec())), "cut at {cut}");
        assert_eq!(socket.next_text(), r#"{"type":"pong","text":"two"}"#, "cut at {cut}");
        assert_eq!(socket.expect_close(), 1000, "cut at {cut}");
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, stats.accepted)]);
}

#[test]
fn hostile_frames_are_answered_with_the_protocols_own_close_code() {
    let server = chat(ChatOptions { rate: 1000, ..ChatOptions::default() });
    let unmasked = b"\x81\x02hi".to_vec();
    let endless: Vec<u8> = [frame(0x01, b""), frame(0x00, b"").repeat(500)].concat();
    let long = [frame(0x01, &[b'x'; 3000]), frame(0x00, &[b'x'; 3000])].concat();
    for (what, bytes, code) in [
        ("unmasked", unmasked, 1002),
        ("reserved bit", frame(0xc1, b"x"), 1002),
        ("reserved opcode", frame(0x83, b"x"), 1002),
        ("long ping", [0x89, 0xfe, 0, 126].to_vec(), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("message within a message", [frame(0x01, b"x"), text("y")].concat(), 1002),
        ("bad UTF-8", frame(0x81, b"\xff"), 1007),
        ("bad close code", frame(0x88, b"\x03\xed"), 1002),
        ("oversized frame", [0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0].to_vec(), 1009),
        ("oversized message in fragments", long, 1009),
        ("empty fragments", endless, 1008),
        ("binary", frame(0x82, b"x"), 1003),
    ] {
        let mut socket = WebSocket::open(&server.address);
        socket.say("/join den");
        send(&socket.stream, &bytes);
        assert_eq!(socket.expect_close(), code, "{what}");
    }
    let mut socket = WebSocket::open(&server.address);
    let mut cut = frame(0x81, b"ok then \xed\xa0 and more");
    cut.truncate(18);
    send(&socket.stream, &cut);
    assert_eq!(socket.expect_close(), 1007, "before the frame is whole");
    server.finish();
}

#[test]
fn silent_peer_is_pinged_twice_then_closed_and_one_that_answers_stays() {
    let beat = Duration::from_millis(500);
    let config = Config { tick: Duration::from_millis(10), ..Config::default() };
    let server =
        start(config, Chat::new(ChatOptions { heartbeat: Some(beat), ..ChatOptions::default() }));
    let begin = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut dead = WebSocket::open(&server.address);
            dead.next_text();
            for count in 1..=2 {
                assert_eq!(dead.next_frame(), Some((0x89, vec![])));
                assert!(begin.elapsed() >= count * beat, "ping {count}: {:?}", begin.elapsed());
            }
            assert_eq!(dead.expect_close(), 1011);
            assert!(begin.elapsed() >= 3 * beat, "closed after {:?}", begin.elapsed());
        });
        scope.spawn(|| {
            let mut alive = WebSocket::open(&server.address);
            alive.next_text();
            for _ in 0..5 {
                assert_eq!(alive.next_frame(), Some((0x89, vec![])));
                send(&alive.stream, &frame(0x8a, b""));
            }
            // Who speaks is not asked, unless a busy machine kept us from it.
            let mut spoke = Instant::now();
            for _ in 0..10 {
                thread::sleep(beat / 4);
                let last = std::mem::replace(&mut spoke, Instant::now());
                alive.say("/ping");
                while alive.next_frame().expect("it is closed").0 == 0x89 {
                    assert!(last.elapsed() >= beat * 4 / 5, "asked after {:?}", last.elapsed());
                    send(&alive.stream, &frame(0x8a, b""));
                }
            }
        });
    });
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::IdleTimeout), 1);
}

#[test]
fn silent_peer_is_pinged_after_one_span_and_not_after_up_to_two() {
    let beat = Duration::from_millis(300);
    let config = Config { tick: Duration::from_millis(10), ..Config::default() };
    let options = ChatOptions { heartbeat: Some(beat), ..ChatOptions::default() };
    let mut server = ByHand::new(config, Chat::new(options));
    let stream = server.connect();
    send(&stream, request("/ws", "").as_bytes());
    let mut last = server.turn_across("it is open", |reactor| reactor.stats().bytes_sent > 0);
    let mut dead = WebSocket::accepted(stream);
    dead.next_text();
    for _ in 0..2 {
        let sent = server.reactor.stats().bytes_sent;
        let ping = server.turn_across("a ping", |reactor| reactor.stats().bytes_sent > sent);
        assert_eq!(dead.next_frame(), Some((0x89, vec![])));
        expect_on_time(last, ping, beat, beat * 4 / 5);
        last = ping;
    }
}

/// A room is full for the second that it waits for a member that has stopped; meanwhile its senders
/// are not read, so that they seem to be silent.
#[test]
fn client_that_is_held_is_not_taken_for_a_silent_one() {
    let options = ChatOptions {
        rate: 1_000_000,
        message_max: 1024,
        room_memory: 8 << 10,
        // Three of these are less than the second.
        heartbeat: Some(Duration::from_millis(250)),
        ..ChatOptions::default()
    };
    let config = Config { tick: Duration::from_millis(10), ..Config::default() };
    let server = start_by(config, Chat::new(options), |reactor| {
        let options = ListenOptions { notsent_lowat: Some(16 << 10), ..ListenOptions::default() };
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &options).unwrap()
    });
    let mut slow = Lines::on(connect_narrow(&server.address, 4096));
    slow.say("/join den");
    slow.until("joins as");
    let mut bob = WebSocket::open(&server.address);
    let writer = bob.stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            send(&writer, &[text("/join den"), text(&"x".repeat(200)).repeat(2000)].concat());
            send(&writer, &text("the end"));
        });
        loop {
            let (first, payload) = bob.next_frame().expect("bob is closed");
            let payload = String::from_utf8_lossy(&payload);
            assert_ne!(first, 0x88, "{payload}");
            if payload.contains("the end") {
                break;
            }
        }
    });
    server.wait_until("somebody was waited for", |stats| {
        stats.closed(CloseReason::SlowConsumer) == 1
    });
    drop((slow, bob));
    server.stop();
}

#[test]
fn shutdown_delivers_what_was_said_then_closes_with_1001() {
    let server = chat(ChatOptions::default());
    let (mut anna, mut bob) = (Lines::enter(&server, "anna"), browser(&server, "bob"));
    anna.join("den");
    bob.say("/join den");
    bob.until(r#""name":"bob""#);
    anna.until("bob joins");
    let stats = server.remote.clone();
    anna.say("last words");
    server.wait_until("they were published", |stats| stats.messages_published >= 6);
    stats.run(|cx| cx.drain()).unwrap();
    assert!(bob.until("last words").contains("\"number\":3,"));
    assert_eq!(bob.expect_close(), 1001);
    anna.until("[den 3] anna: last words");
    expect_eof(&anna.stream);
    drop((anna, bob));
    server.finish();
}

#[test]
fn a_client_that_we_did_not_write_talks() {
    let server = chat(ChatOptions::default());
    let stream = connect(&server.address);
    let url = format!("ws://{}/ws", server.socket_address());
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let mut ask = |text: &str| {
        socket.send(tungstenite::Message::text(text)).unwrap();
        socket.read().unwrap().into_text().unwrap().to_string()
    };
    assert!(ask("/ping").starts_with(r#"{"type":"welcome""#));
    assert_eq!(ask("/ping"), r#"{"type":"pong","text":""}"#);
    let long = format!("/ping {}", "ä".repeat(2000));
    ask(&long);
    assert!(ask("/ping").contains("ääää"));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    server.finish();
}

// ---- memory ----

#[cfg(feature = "cli")]
#[test]
fn memory_is_flat_over_many_joins_and_leaves() {
    let rounds = if cfg!(debug_assertions) { 1000 } else { 10_000 };
    let program = common::program::Program::start(
        // So many rooms are there at once, however fast they come and go.
        "chat --rate 1000000 --room-linger 1s --max-rooms 64",
    );
    let mut anna = Lines::open(&program.address);
    let mut visit = |count: usize| {
        for round in 0..count {
            anna.say(&format!("/join den\n/leave\n/join den{}\n/leave", round % 1000));
            for _ in 0..2 {
                anna.until("* you left den");
            }
        }
        let mut sockets: Vec<WebSocket> =
            (0..50).map(|_| WebSocket::open(&program.address)).collect();
        sockets.iter_mut().for_each(|socket| socket.say("/join lobby"));
        sockets.iter_mut().for_each(|socket| drop(socket.until("\"type\":\"joined\"")));
    };
    visit(rounds / 2);
    let before = program.memory();
    visit(rounds);
    let grown = program.memory().saturating_sub(before);
    assert!(grown <= 1 << 20, "{rounds} joins left {grown} bytes behind");
}

// ---- vocabulary ----

fn chat(options: ChatOptions) -> Server {
    start(Config::default(), Chat::new(options))
}

struct Lines {
    name: String,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Lines {
    fn open(address: &Address) -> Lines {
        Lines::on(connect(address))
    }

    fn on(stream: TcpStream) -> Lines {
        let reader = BufReader::new(stream.try_clone().unwrap());
        Lines { name: String::new(), reader, stream }
    }

    /// Comes, and is called so.
    fn enter(server: &Server, name: &str) -> Lines {
        let mut lines = Lines::open(&server.address);
        lines.say(&format!("/nick {name}"));
        lines.until(&format!("* you are now called {name}"));
        lines.name = name.into();
        lines
    }

    #[track_caller]
    fn say(&mut self, line: &str) {
        self.say_bytes(format!("{line}\n").as_bytes());
    }

    #[track_caller]
    fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("cannot send");
    }

    #[track_caller]
    fn next(&mut self) -> String {
        let mut line = String::new();
        assert!(
            self.reader.read_line(&mut line).expect("nothing comes") > 0,
            "the stream has ended"
        );
        line.strip_suffix('\n').expect("whole lines only").into()
    }

    #[track_caller]
    fn until(&mut self, part: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(part) {
                return line;
            }
        }
    }

    #[track_caller]
    fn until_number(&mut self, number: u64) {
        self.until(&format!("[den {number}] "));
    }

    /// Enters a room, and reads up to its own coming. Returns the room's id.
    #[track_caller]
    fn join(&mut self, room: &str) -> String {
        self.say(&format!("/join {room}"));
        let answer = self.next();
        self.until(&format!("* {} joins as ", self.name));
        let id = answer.split("id ").nth(1).expect(&answer);
        id.split([':', ' ']).next().unwrap().into()
    }
}

/// A WebSocket client of this name.
fn browser(server: &Server, name: &str) -> WebSocket {
    let mut socket = WebSocket::open(&server.address);
    socket.say(&format!("/nick {name}"));
    socket.until(&format!(r#"{{"type":"name","name":"{name}"}}"#));
    socket
}

#[track_caller]
fn until_number(socket: &mut WebSocket, number: u64) {
    while !socket.next_text().contains(&format!(r#""room":"den","number":{number},"#)) {}
}

#[track_caller]
fn number_of(json: &str) -> u64 {
    let rest = json.split(r#""number":"#).nth(1).expect(json);
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

/// The number that a message begins with.
fn said(text: &str) -> Option<u32> {
    text.split(' ').next()?.parse().ok()
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(stream, &mut bytes).expect("no end comes");
    String::from_utf8(bytes).unwrap()
}
