//! What subscribers that do not read, or little, are held against, in both forms: a flood, and a room.

use std::time::Duration;

use crate::common::PATIENCE;
use crate::engine::Engine;
use crate::feed::{Attack, Feed, Part, Wire, measure};
use crate::report::{Row, Table, millis};
use crate::server::Server;
use crate::speakers::{INTERVAL, Speakers};

const SECOND: Duration = Duration::from_secs(1);

/// The short form: everybody who reads is given every message in order, while the attackers have
/// nothing that would let them be waited for.
pub(crate) fn pass(server: &Server, wire: &Wire, attack: Attack, messages: u64) {
    let mut engine = Engine::new();
    let feed = Feed::start(&mut engine, server.address, wire, 2);
    // Half of what a topic holds: a busy machine that does not run the readers for a moment makes none of
    // them fall behind.
    feed.publish(&mut engine, messages, 50);
    // Honest readers have read before.
    engine.run_until(PATIENCE, || feed.delivered() >= messages / 4);
    let (returns, taken) = attack.begin(&mut engine, server.address, wire.subscribe);
    let all = engine.run_until(PATIENCE, || feed.is_done());
    let part = feed.take(SECOND);
    assert!(all, "{} of {} messages came through", part.messages, 2 * messages);
    let lines = &part.lines;
    assert_eq!((part.messages, lines.wrong, lines.cut), (2 * messages, 0, 0), "lost or cut off");
    assert_eq!((part.replies.wrong, part.replies.cut), (0, 0), "the publisher was refused");
    let bytes = messages * wire.size as u64;
    let taken = *taken.borrow();
    assert!(taken < bytes / 2, "the attackers took {taken} bytes of {bytes}: that is no attack");
    engine.run_until(PATIENCE, || *returns.borrow() > 0);
    assert!(*returns.borrow() > 0, "no attacker was ever cut off");
}

/// The short form for a room, on a server that lets each say a thousand lines a second: what is said
/// comes back, forty times what the room holds, and nobody is put out.
pub(crate) fn talk(server: &Server, attack: Attack) {
    const LINES: u64 = 3000;
    let mut engine = Engine::new();
    let interval = Duration::from_millis(2);
    // Half of what a room holds: a busy machine that does not run them for a moment makes none of them fall
    // behind.
    let speakers = Speakers::start(&mut engine, server.address, 4, 3900, interval, 30);
    speakers.speak(LINES);
    // They have read before the attack.
    engine.run_until(PATIENCE, || speakers.answered() >= LINES / 4);
    attack.begin(&mut engine, server.address, "/join lobby\n");
    let spoken = || speakers.answered() == LINES || speakers.cut() > 0;
    assert!(engine.run_until(2 * PATIENCE, spoken), "{} of {LINES} came back", speakers.answered());
    let waits = speakers.take();
    let reasons = server.counters();
    let reasons = ["slow_consumer", "protocol_error", "memory"].map(|name| (name, reasons(name)));
    assert_eq!((waits.answered, waits.wrong, waits.cut), (LINES, 0, 0), "closed: {reasons:?}");
}

/// The full form: a flood before and under the attack, on a server of its own.
pub(crate) fn attack_feed(
    table: &mut Table,
    server: &Server,
    wire: &Wire,
    attack: Attack,
    beside: &str,
) {
    let ([before, during], returns) =
        measure(server.address, wire, attack, [2 * SECOND, 5 * SECOND]);
    let service = match wire.subscribe {
        "SUBSCRIBE x\r\n" => "channel",
        _ => "broadcast",
    };
    let row = table.row(&format!("{service}, {}{beside}", name(attack)), server.name);
    describe(row, &before, &during);
    row.say(format!("the attackers came back {returns} times"));
    if !during.replies.spans.is_empty() {
        let longest = during.replies.longest();
        row.say(format!("longest wait for a reply {}", millis(longest)));
        row.bound("no reply later than 50 ms", longest <= Duration::from_millis(50));
    }
    let most = if service == "channel" { 512 << 20 } else { 257 << 20 };
    if let Attack::Returning(count) = attack
        && service == "channel"
    {
        say_what_connections_cost(row, server, wire, count, returns);
    }
    row.settle(server, most);
}

/// Of the loss, what the machine takes for connections: as many come and go, as often as the attackers
/// did, and never subscribe.
fn say_what_connections_cost(
    row: &mut Row,
    server: &Server,
    wire: &Wire,
    count: usize,
    returns: u64,
) {
    let each = (5 * SECOND).mul_f64(count as f64 / returns.max(1) as f64);
    // An engine lets a millisecond pass before it connects again.
    let stay = each.saturating_sub(Duration::from_millis(1));
    let passing = Attack::Passing(count, stay);
    let ([before, during], returns) = measure(server.address, wire, passing, [SECOND, 3 * SECOND]);
    let share = during.rate() / before.rate().max(1.0);
    row.say(format!(
        "{share:.2} × beside as many that never subscribe and come back {} times in five seconds",
        returns * 5 / 3
    ));
}

fn describe(row: &mut Row, before: &Part, during: &Part) {
    let share = during.rate() / before.rate().max(1.0);
    row.say(format!("{:.0} → {:.0} messages/s ({share:.2} ×)", before.rate(), during.rate()));
    let (calm, late) = (before.lines.quantile(0.99), during.lines.quantile(0.99));
    row.say(format!("p99 of a message {} → {}", millis(calm), millis(late)));
    let lines = &during.lines;
    if lines.wrong + lines.cut > 0 {
        row.say(format!("{} wrong or lost, {} readers cut off", lines.wrong, lines.cut));
    }
    row.bound("rate ≥ 0.85 × without", share >= 0.85);
    let is_in_time = during.messages > 0 && late <= calm + Duration::from_millis(50);
    row.bound("p99 ≤ without + 50 ms", is_in_time);
    row.bound("nothing lost, nobody cut off", lines.wrong + lines.cut == 0);
}

/// The full form for a room.
pub(crate) fn attack_room(table: &mut Table, server: &Server, attack: Attack) {
    let mut engine = Engine::new();
    let speakers = Speakers::start(&mut engine, server.address, 20, 3900, INTERVAL, u64::MAX);
    speakers.speak(u64::MAX);
    engine.run_for(SECOND);
    speakers.take();
    engine.run_for(2 * SECOND);
    let before = speakers.take();
    let (returns, _) = attack.begin(&mut engine, server.address, "/join lobby\n");
    engine.run_for(4 * SECOND);
    speakers.speak(0);
    engine.run_until(5 * SECOND, || speakers.is_silent());
    let mut during = speakers.take();
    let lost = during.asked - during.answered;
    during.spans.extend((0..lost).map(|_| 5 * SECOND));
    drop(engine);
    let row = table.row(&format!("room, {}", name(attack)), server.name);
    let (calm, late) = (before.quantile(0.99), during.quantile(0.99));
    row.waits(&during).say(format!("p99 without {}", millis(calm)));
    row.say(format!("the attackers came back {} times", returns.borrow()));
    row.bound("all lines come back in order, nobody is closed", during.all_answered());
    row.bound("p99 ≤ without + 50 ms", late <= calm + Duration::from_millis(50));
    row.settle(server, 257 << 20);
}

fn name(attack: Attack) -> String {
    match attack {
        Attack::Passing(count, _) => format!("{count} that never subscribe and return"),
        Attack::Returning(1) => "1 that never reads and returns".into(),
        Attack::Returning(count) => format!("{count} that never read and return"),
        Attack::Slow(1, rate) => format!("1 that reads {} KB/s", rate / 1000),
        Attack::Slow(count, rate) => format!("{count} that read {} KB/s each", rate / 1000),
    }
}
