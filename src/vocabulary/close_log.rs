//! Which ends of connections are logged, and how often.

use std::net::IpAddr;

use log::Level;

use super::close_reason::{CloseReason, CloseReasons};
use super::log_peer::log_peer;
use crate::sockets::address::{Address, Peer};
use crate::structures::clock::Clock;
use crate::structures::rate_limit::RateLimit;
use crate::structures::token::Token;
use crate::structures::traffic::Traffic;

/// Logs how connections ended. A line for each reason is written once a second and group of addresses: a
/// client that comes again and again neither fills a disk nor hides what becomes of the others.
#[derive(Debug)]
pub(crate) struct CloseLog {
    chosen: CloseReasons,
    pub(crate) traffic: Traffic,
    limits: Vec<RateLimit>,
}

/// Groups of addresses. So many lines a second are the most for one reason.
const GROUPS: usize = 8;

impl CloseLog {
    pub(crate) fn new(chosen: CloseReasons) -> Self {
        let is_kept = !chosen.is_empty() || log::log_enabled!(target: TARGET, Level::Debug);
        let traffic = Traffic::new(is_kept);
        CloseLog { chosen, traffic, limits: Vec::new() }
    }

    /// A connection ends, with so many bytes queued for its peer.
    pub(crate) fn note(
        &mut self,
        token: Token,
        reason: CloseReason,
        queued: usize,
        peer: &Peer,
        clock: &Clock,
    ) {
        let via = peer.via();
        let Some(account) = self.traffic.end(token.key(), clock.now_ms()) else {
            if log::log_enabled!(target: TARGET, Level::Debug) {
                let peer = Address::from(peer);
                log_peer!(
                    debug, [target: TARGET, connection:% = token, peer:%], via, event = "closed", reason:%;
                    "closed"
                );
            }
            return;
        };
        // Balancers look so whether the server is there, every few seconds.
        let has_only_looked = reason == CloseReason::Reset && account.moved_nothing();
        let is_chosen = self.chosen.contains(reason) && !has_only_looked;
        let level = if is_chosen { Level::Info } else { Level::Debug };
        if !log::log_enabled!(target: TARGET, level) {
            return;
        }
        // Whoever asks for each connection is told of each.
        let is_verbose = log::log_enabled!(target: TARGET, Level::Debug);
        let limit = (!is_verbose).then(|| self.limit(reason, peer));
        let Some(suppressed) = limit.map_or(Some(0), |limit| limit.pass(clock.now())) else {
            return;
        };
        let (age_ms, queued) = (account.age_ms, account.dropped + queued as u64);
        let peer = Address::from(peer);
        log_peer!(
            log, [target: TARGET, level, connection:% = token, peer:%], via, event = "closed", reason:%,
            age_ms, "in" = account.received, out = account.sent, queued, suppressed; "closed"
        );
    }

    fn limit(&mut self, reason: CloseReason, peer: &Peer) -> &mut RateLimit {
        if self.limits.is_empty() {
            self.limits.resize_with(CloseReason::ALL.len() * GROUPS, RateLimit::default);
        }
        &mut self.limits[reason as usize * GROUPS + group(peer)]
    }
}

/// The group of an address; all addresses of an IPv6 network of 64 bits are in one.
fn group(peer: &Peer) -> usize {
    let bits = match Address::from(peer) {
        Address::Tcp(peer) => match peer.ip().to_canonical() {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
        },
        Address::Unix(_) => 0,
    };
    // Neighbours come into different groups.
    (bits ^ bits >> 8 ^ bits >> 16 ^ bits >> 24) as usize % GROUPS
}

const TARGET: &str = "edgeloop::reactor";

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn group_of(address: &str) -> usize {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 1);
        group(&Peer::from(Some(address)))
    }

    #[test]
    fn neighbours_do_not_hide_each_other_and_a_network_of_ipv6_is_one_client() {
        assert_ne!(group_of("192.0.2.1"), group_of("192.0.2.2"));
        assert_eq!(group_of("192.0.2.1"), group_of("::ffff:192.0.2.1"));
        assert_eq!(group_of("2001:db8:0:1::5"), group_of("2001:db8:0:1:ffff::9"));
        assert_ne!(group_of("2001:db8:0:1::5"), group_of("2001:db8:0:2::5"));
    }

    #[test]
    fn flood_of_one_address_leaves_the_line_of_another_one() {
        let chosen = [CloseReason::Reset].into_iter().collect();
        let (mut log, clock) = (CloseLog::new(chosen), Clock::new());
        let peer = |address: &str| Peer::from(Some(SocketAddr::new(address.parse().unwrap(), 1)));
        let mut pass = |reason, address| log.limit(reason, &peer(address)).pass(clock.now());
        assert_eq!(pass(CloseReason::Reset, "192.0.2.1"), Some(0));
        assert_eq!(pass(CloseReason::Reset, "192.0.2.1"), None);
        assert_eq!(pass(CloseReason::Reset, "192.0.2.2"), Some(0));
        assert_eq!(pass(CloseReason::Memory, "192.0.2.1"), Some(0));
    }
}
