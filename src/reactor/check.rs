//! What must hold between two turns; checked in debug builds after each of them, so that every test
//! over a loopback socket is a test of these rules as well.

use super::connection::{Connection, State};
use super::loop_state::LoopState;

/// So many connections are all looked at after every turn; of more, those of one turn in
/// [`SAMPLED`].
const SMALL_TABLE: usize = 64;
const SAMPLED: u64 = 1024;

impl LoopState {
    /// In debug builds: panics where a rule does not hold, and names the connection.
    pub(super) fn check(&self) {
        debug_assert_eq!(self.stats.open(), self.connections.len() as u64, "{:?}", self.stats);
        let (is_small, turns) = (self.connections.len() <= SMALL_TABLE, self.stats.turns);
        if cfg!(debug_assertions) && (is_small || turns.is_multiple_of(SAMPLED)) {
            self.check_all();
        }
    }

    /// As [`check`](Self::check), in every build and for all connections.
    pub(super) fn check_all(&self) {
        let (stats, connections) = (&self.stats, &self.connections);
        assert_eq!(stats.open(), connections.len() as u64, "connections: {stats:?}");
        self.check_books();
        self.check_lists();
    }

    /// Every byte is accounted for.
    fn check_books(&self) {
        let (stats, connections) = (&self.stats, &self.connections);
        let sum = |len: fn(&Connection) -> usize| {
            connections.iter().map(|(_, connection)| len(connection) as u64).sum::<u64>()
        };
        assert_eq!(stats.bytes_unconsumed(), sum(|it| it.input.len()), "input: {stats:?}");
        assert_eq!(stats.bytes_waiting(), sum(|it| it.output.len()), "output: {stats:?}");
        let greeting = connections.iter().filter(|(_, it)| it.state == State::Greeting).count();
        assert_eq!(self.greetings.count, greeting, "greetings under way: {stats:?}");
        let held = connections.iter().map(|(_, it)| it.stream.held()).sum::<usize>();
        assert_eq!(self.layers.get(), held, "bytes in layers");
        let timers_left = connections.is_empty() && !self.wheel.is_empty();
        assert!(!timers_left, "a timer outlived its connection");
    }

    /// Whatever has something to do is listed: no event will come for it.
    fn check_lists(&self) {
        let (mut ready, mut dirty) = (0, 0);
        for (slot, connection) in &self.connections {
            ready += usize::from(connection.on_ready_list);
            dirty += usize::from(connection.on_dirty_list);
            for (rule, holds) in rules(connection) {
                let token = self.token_at(slot as u32);
                assert!(holds, "{rule}: connection {token:?} is {connection:?}");
            }
        }
        let [prompt_len, others_len] = self.lists.ready.lens();
        // Those whose greeting goes on have a list of their own.
        let ready_len = prompt_len + others_len + self.lists.greeting.len();
        let dirty_len = self.lists.dirty.len();
        assert!(ready <= ready_len, "{ready} say that they are ready, {ready_len} are listed");
        assert!(dirty <= dirty_len, "{dirty} say that they are dirty, {dirty_len} are listed");
    }
}

/// What holds for each connection, whatever its state.
fn rules(connection: &Connection) -> [(&'static str, bool); 6] {
    let implies = |condition: bool, consequence: bool| !condition || consequence;
    let is_closed = connection.state == State::Closed;
    [
        (
            "what wants a visit is ready",
            implies(connection.wants_visit(), connection.on_ready_list),
        ),
        (
            "what wants a flush is dirty",
            implies(connection.wants_flush(), connection.on_dirty_list),
        ),
        (
            "nothing is readable behind the end",
            implies(connection.input_has_ended(), !connection.readable),
        ),
        (
            "only who owes something is stalled",
            implies(connection.stalled && !is_closed, connection.owes_anything()),
        ),
        (
            "input is kept only for who is served",
            connection.is_served() || is_closed || connection.input.is_empty(),
        ),
        ("input is left only of who is served", connection.is_served() || !connection.input_left),
    ]
}
