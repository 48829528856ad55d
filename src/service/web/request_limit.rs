//! A limit on the requests of one address.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::middleware::{Admission, Middleware};
use super::request::Request;
use crate::codec::http::Status;
use crate::service::addresses::network;
use crate::service::rate::Refill;

/// Lets each address make so many requests a second, and some more at once: a token bucket. What is
/// over is answered with 429 and `Retry-After`, before its body is read.
///
/// An IPv6 client is its network of 64 bits, since it may use any address of that. Requests on Unix
/// sockets are not limited.
///
/// The table of addresses has a fixed size: groups of [`WAYS`] places, an address belongs to one group
/// by a keyed hash. Where a group is full the place that comes nearest to a full bucket is taken, whose
/// owner loses the least by being forgotten; so a flood from very many addresses costs no memory, and
/// those who ask the most are remembered the longest.
#[derive(Debug)]
pub struct RequestLimit {
    /// Between two requests of a steady stream.
    interval: Duration,
    /// How far an address may run ahead of that.
    ahead: Duration,
    started: Option<Instant>,
    hasher: RandomState,
    places: Box<[Place]>,
}

/// An address, and when its bucket is full again, in microseconds since the start. A bucket that has
/// been full for long is as good as none.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    key: u64,
    full_at: u64,
}

/// Places of a group.
const WAYS: usize = 8;

impl RequestLimit {
    /// At most `rate` requests a second on the average, and `burst` at once, each at least 1;
    /// `addresses` are remembered, 16 bytes for each.
    pub fn new(rate: u32, burst: u32, addresses: usize) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        let groups = addresses.div_ceil(WAYS).max(1).next_power_of_two();
        RequestLimit {
            interval,
            ahead: interval * (burst.max(1) - 1),
            started: None,
            hasher: RandomState::new(),
            places: vec![Place::default(); groups * WAYS].into(),
        }
    }

    /// Takes a token, or says how long it takes until there is one.
    fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let started = *self.started.get_or_insert(now);
        let now = now.saturating_duration_since(started).as_micros() as u64;
        let (interval, ahead) = (self.interval.as_micros() as u64, self.ahead.as_micros() as u64);
        let full_at = &mut self.place(address, now).full_at;
        Refill { interval, ahead }.take(full_at, now).map_err(Duration::from_micros)
    }

    fn place(&mut self, address: IpAddr, now: u64) -> &mut Place {
        let key = network(address);
        let groups = self.places.len() / WAYS;
        let group = self.hasher.hash_one(key) as usize & (groups - 1);
        let places = &mut self.places[group * WAYS..][..WAYS];
        let own = places.iter().position(|place| place.key == key && place.full_at > now);
        let nearest = || (0..WAYS).min_by_key(|index| places[*index].full_at).unwrap_or(0);
        let index = own.unwrap_or_else(nearest);
        if own.is_none() {
            places[index] = Place { key, full_at: now };
        }
        &mut places[index]
    }
}

impl Middleware for RequestLimit {
    fn admit(&mut self, request: &Request<'_>, admission: &mut Admission<'_>) {
        let Some(address) = request.peer else { return };
        if let Err(wait) = self.take(address, request.now) {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let response = admission.refuse(Status::TOO_MANY_REQUESTS);
            response.header("Retry-After", &seconds.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn burst_at_once_and_then_the_rate() {
        let (mut limit, start) = (RequestLimit::new(10, 3, 100), Instant::now());
        let mut take = |ms| {
            limit.take(v4(1), start + Duration::from_millis(ms)).map_err(|wait| wait.as_millis())
        };
        assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
        assert_eq!(take(0), Err(100));
        assert_eq!(take(60), Err(40));
        assert_eq!([take(100), take(100)], [Ok(()), Err(100)]);
        assert_eq!(
            [take(900), take(900), take(900), take(900)],
            [Ok(()), Ok(()), Ok(()), Err(100)]
        );
    }

    #[test]
    fn addresses_do_not_share_a_bucket_but_networks_of_64_bits_are_one() {
        let (mut limit, now) = (RequestLimit::new(1, 1, 1000), Instant::now());
        for number in 1..100 {
            assert!(limit.take(v4(number), now).is_ok(), "{number}");
        }
        assert!(limit.take(v4(50), now).is_err());
        let v6 = |number: u128| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + number));
        assert!(limit.take(v6(1), now).is_ok());
        assert!(limit.take(v6(2), now).is_err(), "the same network");
        assert!(limit.take(v6(1 << 64), now).is_ok(), "another one");
    }

    #[test]
    fn flood_of_addresses_costs_no_memory_and_does_not_free_who_asked_most() {
        let (mut limit, now) = (RequestLimit::new(1, 5, 1), Instant::now());
        let size = limit.places.len();
        for _ in 0..5 {
            assert!(limit.take(v4(1), now).is_ok());
        }
        for number in 2..100_000 {
            let _ = limit.take(v4(number), now);
        }
        assert_eq!(limit.places.len(), size);
        assert!(limit.take(v4(1), now).is_err(), "it was forgotten");
    }
}
