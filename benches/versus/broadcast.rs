//! Many to many: publishers and subscribers in one thread, against `edgeloop broadcast` and
//! against the publish/subscribe of Redis.
//!
//! The loop is closed: a publisher has a window of messages, and one is complete when the
//! subscriber appointed to it has received it. Neither server can thus be flooded into dropping
//! anybody, and both work on as many messages at a time.
//!
//! Both deliver each message to the same number of receivers. Redis has a connection for each
//! subscriber and one more for each publisher, which receives nothing but the number of its
//! subscribers. In edgeloop's broadcast, everybody receives the lines of everybody else: the
//! publishers are receivers too, and there are fewer pure subscribers instead.

use std::time::Duration;

use crate::figures::{Plan, alternate};
use crate::hall::{Hall, Load, Protocol};
use crate::options::Options;
use crate::server::{Program, Server};
use crate::setting::Setting;
use crate::system;
use crate::{Result, extra_arguments, seconds};

/// Many rounds of the window, and short against the seconds in which a CPU's clock wanders.
const SLICE: Duration = Duration::from_secs(1);

/// `broadcast`: pairs of the program and Redis.
pub(crate) fn broadcast(mut options: Options) -> Result<()> {
    let load = Load {
        publishers: options.number("publishers", 32)?,
        subscribers: options.number("subscribers", 1000)?,
        line: options.number("size", 100)?,
        window: options.number("window", 16)?,
        verify_every: options.number("verify-every", 1)?,
        stopped: options.number("stopped", 0)?,
    };
    let plan = Plan {
        pairs: options.number("pairs", 3)?,
        warm_up: seconds(&mut options, "warm-up", 1.0)?,
        time: seconds(&mut options, "seconds", 5.0)?,
        slice: Some(SLICE),
    };
    let program = Program::named(options.text("program"))?;
    let extra = extra_arguments(&mut options);
    options.finish()?;
    if program == Program::Floor {
        return Err("the floor does not broadcast".into());
    }
    load.check()?;
    system::raise_descriptor_limit()?;
    describe(load);
    let _cubic = Setting::cubic();
    let programs = [program, Program::Redis];
    alternate([programs[0].name(), "redis"], plan, |side| {
        let extra = if side == 0 { &extra[..] } else { &[] };
        let server = Server::start(&programs[side], "broadcast", extra)?;
        let is_redis = programs[side] == Program::Redis;
        let protocol = if is_redis { Protocol::Redis } else { Protocol::Lines };
        Ok((Hall::open(server.address, load, protocol)?, server))
    })
}

fn describe(load: Load) {
    let Load { publishers, subscribers, line, window, stopped, .. } = load;
    println!(
        "broadcast: {publishers} publishers with {window} lines of {line} bytes each in flight, \
         every line to {subscribers} receivers"
    );
    println!("redis: {subscribers} subscribers, {publishers} connections that publish");
    println!(
        "edgeloop: {} subscribers, {publishers} publishers that receive the others' lines",
        subscribers + 1 - publishers,
    );
    println!("beside them: {stopped} subscribers that never read");
    println!("unit: a delivery; latency is from publishing to the appointed subscriber");
}
