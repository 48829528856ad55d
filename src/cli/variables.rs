//! The `EDGELOOP_*` variables: what an option has there, and what stands there that no option reads.
//!
//! An empty variable counts as unset, since a compose file passes a variable that is not set as an empty
//! one. Kubernetes gives every container the addresses of its services: a service called `edgeloop`
//! becomes `EDGELOOP_PORT=tcp://10.0.0.1:7000` and some more, which were not meant for the program.

use std::env;
use std::ffi::OsString;

use super::nearest::nearest;

/// The variable of an option with this long name.
pub(crate) fn name_of(option: &str) -> String {
    format!("{PREFIX}{}", option.replace('-', "_").to_uppercase())
}

/// What the variable holds, unless that is nothing.
pub(crate) fn read(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty() && !is_of_kubernetes(name, value))
}

/// A warning for each variable that looks like ours and is that of no option.
pub(crate) fn strays(known: &[String]) -> Vec<String> {
    let set = env::vars_os().filter(|(_, value)| !value.is_empty());
    let mut strays: Vec<String> = set
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_of_kubernetes(name, value))
        .filter(|(name, _)| name != BUILD)
        .filter(|(name, _)| !known.contains(name))
        .map(|(name, value)| remark(&name, &value.to_string_lossy(), known))
        .collect();
    strays.sort();
    strays
}

fn remark(name: &str, value: &str, known: &[String]) -> String {
    if name == PORT {
        return format!(
            "{PORT} is read by no option, since Kubernetes sets one of that name; set EDGELOOP_LISTEN={value}"
        );
    }
    // What all names begin with says nothing.
    let known = known.iter().map(|known| &known[PREFIX.len()..]);
    match nearest(&name[PREFIX.len()..], known) {
        Some(nearest) => {
            format!("{name} is the variable of no option; did you mean {PREFIX}{nearest}?")
        }
        None => format!("{name} is the variable of no option"),
    }
}

/// The environment of a pod, for this service and for those whose names begin with `edgeloop-`.
fn is_of_kubernetes(name: &str, value: &OsString) -> bool {
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    let Some(rest) = name.strip_prefix("EDGELOOP") else { return false };
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|end| rest.ends_with(end));
    ends || rest.contains("_SERVICE_PORT_")
        || (rest.ends_with("_PORT") && is_url)
        || is_of_port(rest)
}

/// `_PORT_7000_TCP`, with `_ADDR`, `_PORT`, `_PROTO` or nothing behind it.
fn is_of_port(rest: &str) -> bool {
    let ends = ["_ADDR", "_PORT", "_PROTO"];
    let rest = ends.iter().find_map(|end| rest.strip_suffix(end)).unwrap_or(rest);
    let protocols = ["_TCP", "_UDP", "_SCTP"];
    let number = protocols
        .iter()
        .find_map(|end| rest.strip_suffix(end))
        .and_then(|rest| rest.rsplit_once("_PORT_"));
    number.is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// It is read while the program is compiled, and may be left over in a shell.
const BUILD: &str = "EDGELOOP_COMMIT";
const PREFIX: &str = "EDGELOOP_";
const PORT: &str = "EDGELOOP_PORT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_is_passed_over() {
        for (name, value) in [
            ("EDGELOOP_PORT", "tcp://10.96.0.17:7000"),
            ("EDGELOOP_SERVICE_HOST", "10.96.0.17"),
            ("EDGELOOP_SERVICE_PORT", "7000"),
            ("EDGELOOP_SERVICE_PORT_LINES", "7000"),
            ("EDGELOOP_PORT_7000_TCP", "tcp://10.96.0.17:7000"),
            ("EDGELOOP_PORT_7000_TCP_ADDR", "10.96.0.17"),
            ("EDGELOOP_PORT_7000_TCP_PORT", "7000"),
            ("EDGELOOP_PORT_53_UDP_PROTO", "udp"),
            ("EDGELOOP_PORT_99_SCTP", "sctp://10.96.0.17:99"),
            ("EDGELOOP_CHAT_SERVICE_HOST", "10.96.0.18"),
            ("EDGELOOP_REUSE_PORT", "tcp://10.96.0.19:7000"),
        ] {
            assert!(is_of_kubernetes(name, &value.into()), "{name}={value}");
        }
        for (name, value) in [
            ("EDGELOOP_PORT", "7000"),
            ("EDGELOOP_REUSE_PORT", "true"),
            ("EDGELOOP_PORT_FILE", "/run/port_1_TCP"),
            ("EDGELOOP_PORT_x_TCP", "1"),
            ("EDGELOOP_LISTEN", "tcp://127.0.0.1:7000"),
        ] {
            assert!(!is_of_kubernetes(name, &value.into()), "{name}={value}");
        }
    }

    #[test]
    fn slip_is_answered_with_the_nearest_name() {
        let known = ["EDGELOOP_IDLE_TIMEOUT".to_owned(), "EDGELOOP_LISTEN".to_owned()];
        let text = remark("EDGELOOP_IDEL_TIMEOUT", "5s", &known);
        assert!(text.ends_with("did you mean EDGELOOP_IDLE_TIMEOUT?"), "{text}");
        assert!(!remark("EDGELOOP_ZZZ", "5s", &known).contains("mean"));
        assert!(remark("EDGELOOP_PORT", "7000", &known).ends_with("EDGELOOP_LISTEN=7000"));
    }
}
