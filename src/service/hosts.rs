//! Under which names a server answers: what stops DNS rebinding.
//!
//! A page that somebody visits may point its own name at an address that only the visitor reaches, such
//! as 127.0.0.1. To the browser the server there is of the page's own origin, `Origin` and `Host`
//! agree, and the page may read what it is answered. What the page cannot do is send another `Host`
//! than its own name.

use std::net::IpAddr;

use crate::codec::http::Head;

/// Under which names a server answers.
///
/// ```
/// use edgeloop::service::Hosts;
/// let any = Hosts::any();
/// let public = Hosts::named(["chat.example.org"]);
/// let private = Hosts::on_loopback(["my-alias"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    rule: Rule,
    /// As [`bare`] gives them.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Rule {
    #[default]
    Any,
    /// Pages may reach a listener on a loopback address only by a name of this machine, or one of
    /// the names.
    OnLoopback,
    /// Every request must have one of the names.
    Named,
}

impl Hosts {
    /// Answers whatever the request calls the server.
    pub const fn any() -> Self {
        Hosts { rule: Rule::Any, names: Vec::new() }
    }

    /// Answers requests that come from a page, which tell so by an `Origin`, and by a loopback address,
    /// only if they call the server `localhost`, a name below it, a loopback address or one of these
    /// names. For a server whose listeners are each on an address of their own: where one is on all
    /// addresses, a client that comes by a loopback address may use any right name.
    pub fn on_loopback<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        Hosts { rule: Rule::OnLoopback, ..Hosts::named(names) }
    }

    /// Answers only requests that call the server by one of these names, with any port.
    pub fn named<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(|name| bare(name.as_ref()).to_ascii_lowercase());
        Hosts { rule: Rule::Named, names: names.collect() }
    }

    /// Whether a request is answered; if not, the status is 421. `peer` is the client's address, none
    /// on a Unix socket.
    pub(super) fn answer(&self, head: &Head<'_>, peer: Option<IpAddr>) -> bool {
        let is_checked = match self.rule {
            Rule::Any => false,
            Rule::OnLoopback => {
                let is_on_loopback = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
                is_on_loopback && head.has_origin
            }
            Rule::Named => true,
        };
        !is_checked || head.host().is_some_and(|host| self.have(bare(host)))
    }

    fn have(&self, host: &str) -> bool {
        let is_local = || {
            let address = host.parse().is_ok_and(|it: IpAddr| it.to_canonical().is_loopback());
            // Of a name, the part behind the last dot. Browsers take all names below `localhost` for
            // this machine without asking anybody, so that no page can point one elsewhere.
            let domain = host.rsplit_once('.').map_or(host, |(_, domain)| domain);
            address || domain.eq_ignore_ascii_case("localhost")
        };
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
            || (matches!(self.rule, Rule::OnLoopback) && is_local())
    }
}

/// A host without its port, the brackets of an IPv6 address and the dot that ends a full name.
fn bare(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    let name = match host.split_once(':') {
        // An IPv6 address without brackets.
        Some((_, rest)) if rest.contains(':') => host,
        Some((name, _)) => name,
        None => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// What a request is told that is not answered.
pub(super) const MISDIRECTED: &str = "This server does not go by the name that was asked for; \
    its --host or --origin can add one.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::codec::http::{HeadDecoder, HeadLimits};

    const LOOPBACK: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn admit(hosts: &Hosts, host: &str, headers: &str, peer: Option<IpAddr>) -> bool {
        let mut request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").into_bytes();
        let mut decoder = HeadDecoder::new(HeadLimits::default());
        let head = decoder.decode(&mut request).unwrap().unwrap().message;
        hosts.answer(&head, peer)
    }

    #[test]
    fn page_reaches_a_loopback_address_only_by_a_name_of_this_machine() {
        let hosts = Hosts::on_loopback(["Alias", "chat.example.org"]);
        let from_page = |host| admit(&hosts, host, "Origin: http://whatever\r\n", LOOPBACK);
        for host in [
            "localhost",
            "LOCALHOST:7000",
            "localhost.",
            "localhost.:7000",
            "app.localhost",
            "a.b.LocalHost.:7000",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]",
            "[::1]:7000",
            "[::ffff:127.0.0.1]:1",
            "alias:7000",
            "chat.example.org",
            "Chat.Example.Org.:1",
        ] {
            assert!(from_page(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7000",
            "localhost.evil.example",
            "evillocalhost",
            "app.evillocalhost",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[::2]:7000",
            "0.0.0.0",
            "alias.evil",
            "",
        ] {
            assert!(!from_page(host), "{host}");
        }
        // What is no page, or comes from elsewhere, is asked nothing.
        assert!(admit(&hosts, "evil.example", "", LOOPBACK));
        let origin = "Origin: http://evil.example\r\n";
        assert!(admit(&hosts, "evil.example", origin, "192.0.2.1".parse().ok()));
        assert!(admit(&hosts, "evil.example", origin, None));
        assert!(!admit(&hosts, "evil.example", origin, "::1".parse().ok()));
        assert!(!admit(&hosts, "evil.example", origin, "::ffff:127.0.0.1".parse().ok()));
    }

    #[test]
    fn server_with_names_answers_to_these_and_no_other() {
        let hosts = Hosts::named(["chat.example.org", "[2001:db8::1]", "2001:DB8::2"]);
        for peer in [LOOPBACK, None, "192.0.2.1".parse().ok()] {
            for host in
                ["chat.example.org", "CHAT.example.org.:80", "[2001:db8::1]:7", "[2001:db8::2]"]
            {
                assert!(admit(&hosts, host, "", peer), "{host}");
            }
            for host in ["localhost", "127.0.0.1", "example.org", "x.chat.example.org"] {
                assert!(!admit(&hosts, host, "", peer), "{host}");
            }
        }
        assert!(admit(&Hosts::any(), "evil.example", "Origin: http://evil.example\r\n", LOOPBACK));
    }

    /// Which the header must not contradict, RFC 9112, 3.2.2.
    #[test]
    fn host_of_the_target_counts_before_the_header() {
        let mut request = b"GET http://evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec();
        let mut decoder = HeadDecoder::new(HeadLimits::default());
        let head = decoder.decode(&mut request).unwrap().unwrap().message;
        assert!(!Hosts::named(["a.example"]).answer(&head, None));
        assert!(Hosts::named(["evil.example"]).answer(&head, None));
        let mut request = b"GET / HTTP/1.0\r\n\r\n".to_vec();
        let mut decoder = HeadDecoder::new(HeadLimits::default());
        let head = decoder.decode(&mut request).unwrap().unwrap().message;
        assert!(!Hosts::named(["a.example"]).answer(&head, None), "without any");
    }
}
