//! Many honest readers in one busy process: they are late together, and none of them is cut off.

use std::process::Command;

use crate::report::{Table, scenario};
use crate::server::{Server, program};

#[test]
fn crowd_of_honest_readers_in_one_busy_process_is_not_cut_off() {
    let short = || {
        let server = Server::start("broadcast");
        let report = load(&server, "-c 200 --publishers 8 -p 16 --size 1000 -n 2000");
        assert_eq!(errors(&report), 0, "{}", report["steps"][0]["errors"]);
        assert_eq!(server.counters()("slow_consumer"), 0);
    };
    scenario("crowd", short, attack);
}

fn load(server: &Server, arguments: &str) -> serde_json::Value {
    let mut command = Command::new(program());
    command.args(["load", &server.address.to_string(), "-m", "broadcast", "-q", "--json", "-"]);
    let output = command.args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {error}"))
}

fn errors(report: &serde_json::Value) -> u64 {
    let kinds = report["steps"][0]["errors"].as_object();
    kinds.map_or(0, |kinds| kinds.values().filter_map(serde_json::Value::as_u64).sum())
}

fn attack(table: &mut Table) {
    let server = Server::start("broadcast");
    let report = load(&server, "-c 1000 --publishers 32 -p 64 --size 1000 -d 6s");
    let cut = server.counters()("slow_consumer");
    let row = table
        .row("1,000 readers in one process, 32 of them publish, 64 in flight each", server.name);
    let step = &report["steps"][0];
    row.say(format!("{:.0} deliveries/s", step["rate"].as_f64().unwrap_or(0.0)));
    row.say(format!("{cut} readers cut off, {} errors", errors(&report)));
    row.bound("nobody cut off", cut == 0 && errors(&report) == 0);
    row.settle(&server, 257 << 20);
}
