//! Who may connect to a server, and how much of it one address may take: connections at once, new ones a
//! second, rooms of a chat.
//!
//! ```text
//!   admit                        release of the last one
//!  ------->  has connections  ------------------------->  its bucket is full: forgotten
//!            or holds rooms                               else: idle, until it is full, or
//!                 ^                                             there are too many of these
//!                 +-------------------- admit -----------------------+
//! ```
//!
//! The table has one entry for each address that has a connection or holds a room, and at most
//! [`IDLE_MAX`] idle entries. So the table is never larger than connections, rooms and idle entries
//! together. The idle entry whose bucket is full first goes first: addresses that connect the most are
//! remembered the longest.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::networks::Network;
use super::rate::Refill;
use crate::reactor::{Address, CloseReason, Gate};
#[cfg(feature = "http")]
use crate::reactor::{Context, Token};

/// Which addresses may connect, and what one address may have. An IPv4 address in the form of IPv6 is that
/// IPv4 address. What one address has is counted for the network of 64 bits of an IPv6 address, any address
/// of which its owner may use, and for no peer on a Unix socket, which has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressLimits {
    /// The most connections at once; 0 for any number, which is the default: behind a proxy all clients
    /// have the address of the proxy. One more is closed as it comes (`address_limit`).
    pub connections: usize,
    /// New connections a second, on the average; 0 for any number, which is the default. At most a
    /// million. What comes faster is closed (`address_rate`), and does not count.
    pub rate: u32,
    /// So many new connections at once before the rate counts. Default 100: a browser opens six for
    /// each tab, and many people may share an address.
    pub burst: u32,
    /// Which clients may connect; an empty list, the default, is for all of them. A client in none of these
    /// networks is closed as it comes (`denied`), and does not count. Peers on Unix sockets are on the list
    /// if [`unix`](Network) is.
    pub allow: Vec<Network>,
    /// Which clients may not connect, whatever `allow` says. They are closed in the same way. Default: none.
    pub deny: Vec<Network>,
}

impl Default for AddressLimits {
    fn default() -> Self {
        AddressLimits { connections: 0, rate: 0, burst: 100, allow: Vec::new(), deny: Vec::new() }
    }
}

impl AddressLimits {
    /// Checks that the limits make sense.
    ///
    /// # Errors
    /// `InvalidInput`, with a sentence that begins with the option's name.
    pub fn check(&self) -> io::Result<()> {
        let text = match self {
            AddressLimits { rate, .. } if *rate > RATE_MAX => {
                format!("connect-rate is {rate}; it must be between 0 and {RATE_MAX}")
            }
            AddressLimits { burst: 0, .. } => "connect-burst is 0; it must be at least 1".into(),
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// Whether a client of this address may connect at all.
    fn allow(&self, peer: &Address) -> bool {
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(peer));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

/// The addresses whose clients are here. A clone is the same table: one for the reactor, as its
/// [`Gate`], and one for a service that counts by address, too.
///
/// ```
/// use edgeloop::service::{AddressLimits, Addresses, Echo};
/// use edgeloop::{Config, Reactor};
/// let limits = AddressLimits { connections: 100, ..AddressLimits::default() };
/// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
/// reactor.set_gate(Addresses::new(limits));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    // One thread has all of them; the lock only says so to the compiler, which lets a handler be made on
    // one thread and run on another.
    table: Arc<Mutex<Table>>,
}

impl Addresses {
    /// A table with these limits.
    pub fn new(limits: AddressLimits) -> Self {
        Addresses { table: Arc::new(Mutex::new(Table::new(limits))) }
    }

    /// Whether any limit is set, so that there is something to ask at the gate.
    pub fn are_limited(&self) -> bool {
        let AddressLimits { connections, rate, burst: _, allow, deny } = &self.table().limits;
        *connections > 0 || *rate > 0 || !allow.is_empty() || !deny.is_empty()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic with this lock held has ended the loop.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "websocket")]
impl Addresses {
    /// Whether an address may hold one room more, of at most `most`.
    pub(super) fn may_hold_room(&self, address: IpAddr, most: usize) -> bool {
        self.table().rooms(network(address)) < most
    }

    /// An address holds one room more.
    pub(super) fn hold_room(&self, address: IpAddr) {
        self.table().hold_room(network(address));
    }

    /// One room less.
    pub(super) fn release_room(&self, address: IpAddr) {
        self.table().release_room(network(address));
    }
}

impl Gate for Addresses {
    fn admit(&mut self, peer: &Address, now: Instant) -> Result<(), CloseReason> {
        let mut table = self.table();
        match peer {
            _ if !table.limits.allow(peer) => Err(CloseReason::Denied),
            Address::Tcp(peer) => table.admit(network(peer.ip()), now),
            Address::Unix(_) => Ok(()),
        }
    }

    fn release(&mut self, peer: &Address, now: Instant) {
        if let Address::Tcp(peer) = peer {
            self.table().release(network(peer.ip()), now);
        }
    }
}

/// The address of a client; none on a Unix socket.
#[cfg(feature = "http")]
pub(super) fn address_of(cx: &Context<'_>, token: Token) -> Option<IpAddr> {
    ip_of(&cx.peer_address(token)?)
}

#[cfg(feature = "http")]
pub(super) fn ip_of(address: &Address) -> Option<IpAddr> {
    match address {
        Address::Tcp(address) => Some(address.ip()),
        Address::Unix(_) => None,
    }
}

/// Whose address it is, as a number.
pub(super) fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        // No IPv4 address has a bit set up there, and no network in use lacks one.
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[derive(Debug, Default)]
struct Table {
    limits: AddressLimits,
    started: Option<Instant>,
    entries: HashMap<u64, Entry>,
    /// The entries that are there for their buckets alone, by when these are full.
    idle: BTreeSet<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    connections: usize,
    rooms: usize,
    /// When its bucket of new connections is full again, in nanoseconds since the start.
    full_at: u64,
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.connections == 0 && self.rooms == 0
    }
}

impl Table {
    fn new(limits: AddressLimits) -> Self {
        Table { limits, ..Table::default() }
    }

    fn admit(&mut self, network: u64, now: Instant) -> Result<(), CloseReason> {
        let now = self.nanoseconds(now);
        self.forget_full(now);
        let former = self.entries.get(&network).copied();
        let mut entry = former.unwrap_or_default();
        if self.limits.connections > 0 && entry.connections >= self.limits.connections {
            return Err(CloseReason::AddressLimit);
        }
        if let Some(interval) = self.interval() {
            let ahead = interval.saturating_mul(u64::from(self.limits.burst) - 1);
            let refill = Refill { interval, ahead };
            refill.take(&mut entry.full_at, now).map_err(|_| CloseReason::AddressRate)?;
            if let Some(former) = former.filter(Entry::is_idle) {
                self.idle.remove(&(former.full_at, network));
            }
        }
        entry.connections += 1;
        self.entries.insert(network, entry);
        Ok(())
    }

    fn release(&mut self, network: u64, now: Instant) {
        let now = self.nanoseconds(now);
        self.change(network, |entry| entry.connections = entry.connections.saturating_sub(1));
        self.settle(network, now);
    }

    /// Changes an entry that has something, or is about to.
    fn change(&mut self, network: u64, change: impl FnOnce(&mut Entry)) {
        let entry = self.entries.entry(network).or_default();
        if entry.is_idle() {
            self.idle.remove(&(entry.full_at, network));
        }
        change(entry);
    }

    /// Puts an entry that has nothing any more where it is forgotten.
    fn settle(&mut self, network: u64, now: u64) {
        let Some(entry) = self.entries.get(&network).filter(|entry| entry.is_idle()) else {
            return;
        };
        if entry.full_at <= now {
            self.entries.remove(&network);
            return;
        }
        self.idle.insert((entry.full_at, network));
        if self.idle.len() > IDLE_MAX {
            self.forget_first();
        }
    }

    /// Forgets two idle entries, for each entry that may be added. So entries are forgotten as fast as they
    /// come, and no turn has to do with all of them.
    fn forget_full(&mut self, now: u64) {
        for _ in 0..2 {
            if self.idle.first().is_some_and(|(full_at, _)| *full_at <= now) {
                self.forget_first();
            }
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, network)) = self.idle.pop_first() {
            self.entries.remove(&network);
        }
    }

    /// Between two connections of a steady stream, in nanoseconds.
    fn interval(&self) -> Option<u64> {
        let second = Duration::from_secs(1).as_nanos() as u64;
        second.checked_div(self.limits.rate.into())
    }

    fn nanoseconds(&mut self, now: Instant) -> u64 {
        let started = *self.started.get_or_insert(now);
        now.saturating_duration_since(started).as_nanos() as u64
    }
}

/// A room keeps the entry of the address that opened it.
#[cfg(feature = "websocket")]
impl Table {
    fn rooms(&self, network: u64) -> usize {
        self.entries.get(&network).map_or(0, |entry| entry.rooms)
    }

    fn hold_room(&mut self, network: u64) {
        self.change(network, |entry| entry.rooms += 1);
    }

    fn release_room(&mut self, network: u64) {
        self.change(network, |entry| entry.rooms = entry.rooms.saturating_sub(1));
        // What is full by now is forgotten when the next connection comes.
        self.settle(network, 0);
    }
}

/// Addresses without a connection whose rate is remembered: 1 MiB.
const IDLE_MAX: usize = 16 << 10;

/// Beyond it the time between two connections is less than the clock tells.
const RATE_MAX: u32 = 1_000_000;

#[cfg(all(test, feature = "websocket"))]
mod tests {
    use super::*;

    const LIMITED: CloseReason = CloseReason::AddressLimit;
    const TOO_FAST: CloseReason = CloseReason::AddressRate;

    fn table(connections: usize, rate: u32, burst: u32) -> Table {
        Table::new(AddressLimits { connections, rate, burst, ..AddressLimits::default() })
    }

    #[test]
    fn address_has_so_many_places_and_gets_one_back_with_each_release() {
        let (mut table, now) = (table(2, 0, 1), Instant::now());
        assert_eq!(
            [1, 1, 1, 2].map(|of| table.admit(of, now)),
            [Ok(()), Ok(()), Err(LIMITED), Ok(())]
        );
        table.release(1, now);
        assert_eq!([1, 1, 2].map(|of| table.admit(of, now)), [Ok(()), Err(LIMITED), Ok(())]);
        [1, 1, 2, 2].into_iter().for_each(|of| table.release(of, now));
        assert!(table.entries.is_empty() && table.idle.is_empty(), "{table:?}");
    }

    #[test]
    fn burst_comes_at_once_and_then_the_rate_also_of_an_address_that_was_gone() {
        let (mut table, start) = (table(0, 10, 3), Instant::now());
        let mut come = |ms| {
            let now = start + Duration::from_millis(ms);
            table.admit(7, now).inspect(|()| table.release(7, now))
        };
        assert_eq!(
            [0, 0, 0, 0, 99].map(&mut come),
            [Ok(()), Ok(()), Ok(()), Err(TOO_FAST), Err(TOO_FAST)]
        );
        assert_eq!(
            [100, 100, 199, 200].map(&mut come),
            [Ok(()), Err(TOO_FAST), Err(TOO_FAST), Ok(())]
        );
        let later = [900, 900, 900, 900].map(&mut come);
        assert_eq!(later, [Ok(()), Ok(()), Ok(()), Err(TOO_FAST)], "what is saved is a burst");
        table.admit(8, start + Duration::from_secs(60)).unwrap();
        assert_eq!((table.entries.len(), table.idle.len()), (1, 0), "7 is forgotten");
    }

    #[test]
    fn table_stays_small_and_forgets_first_who_came_least() {
        let (mut table, now) = (table(0, 1, 5), Instant::now());
        let come = |table: &mut Table, of| {
            let came = table.admit(of, now);
            came.inspect(|()| table.release(of, now))
        };
        (0..5).for_each(|_| come(&mut table, 1).unwrap());
        table.admit(2, now).unwrap();
        for of in 3..100_000 {
            come(&mut table, of).unwrap();
            assert!(table.entries.len() <= IDLE_MAX + 1 && table.idle.len() <= IDLE_MAX);
        }
        assert_eq!(come(&mut table, 1), Err(TOO_FAST), "it was forgotten");
        assert_eq!(table.entries[&2].connections, 1, "it is here");
        assert_eq!(table.entries.len(), table.idle.len() + 1);
    }

    #[test]
    fn rooms_are_held_when_the_last_connection_is_gone() {
        let (mut table, now) = (table(1, 1, 1), Instant::now());
        table.admit(1, now).unwrap();
        table.hold_room(1);
        table.release(1, now);
        assert_eq!((table.rooms(1), table.rooms(2), table.idle.len()), (1, 0, 0));
        table.release_room(1);
        assert_eq!((table.rooms(1), table.idle.len()), (0, 1));
        assert_eq!(table.admit(1, now), Err(TOO_FAST));
    }

    /// Against the plainest bookkeeping that there is.
    #[test]
    fn whatever_comes_and_goes_the_table_knows_who_is_here() {
        use proptest::prelude::*;
        proptest!(|(steps in prop::collection::vec((0..4_u64, 0..4_u8, 0..400_u64), 0..200))| {
            let (mut table, mut now) = (table(3, 5, 2), Instant::now());
            let (mut here, mut rooms) = ([0; 4], [0; 4]);
            for (of, what, ms) in steps {
                now += Duration::from_millis(ms);
                let at = of as usize;
                match what {
                    0 => match table.admit(of, now) {
                        Ok(()) => here[at] += 1,
                        Err(reason) => prop_assert_eq!(reason == LIMITED, here[at] == 3),
                    },
                    1 if here[at] > 0 => { here[at] -= 1; table.release(of, now); }
                    2 => { rooms[at] += 1; table.hold_room(of); }
                    3 if rooms[at] > 0 => { rooms[at] -= 1; table.release_room(of); }
                    _ => {}
                }
                for of in 0..4 {
                    let entry = table.entries.get(&of).copied().unwrap_or_default();
                    prop_assert_eq!((entry.connections, entry.rooms), (here[of as usize], rooms[of as usize]));
                    let is_listed = table.idle.contains(&(entry.full_at, of));
                    prop_assert_eq!(is_listed, table.entries.contains_key(&of) && entry.is_idle());
                }
                prop_assert!(table.idle.len() <= table.entries.len());
            }
        });
    }

    #[test]
    fn ipv6_counts_by_network_and_ipv4_in_its_form_as_ipv4() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
    }

    #[test]
    fn peer_on_a_unix_socket_is_not_counted() {
        let mut addresses = Addresses::new(AddressLimits {
            connections: 1,
            rate: 1,
            burst: 1,
            ..Default::default()
        });
        let (peer, now) = (Address::Unix("".into()), Instant::now());
        assert!((0..10).all(|_| addresses.admit(&peer, now).is_ok()));
        addresses.release(&peer, now);
        assert!(addresses.table().entries.is_empty());
    }

    #[test]
    fn limit_that_makes_no_sense_is_named() {
        let check = |rate, burst| {
            AddressLimits { rate, burst, ..AddressLimits::default() }
                .check()
                .map_err(|e| e.to_string())
        };
        assert_eq!(check(RATE_MAX, 1), Ok(()));
        assert!(check(RATE_MAX + 1, 1).unwrap_err().starts_with("connect-rate is 1000001;"));
        assert!(check(1, 0).unwrap_err().starts_with("connect-burst is 0;"));
    }
}
