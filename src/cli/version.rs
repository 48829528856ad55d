//! What is running: the version, and how the program was built.

use std::env::consts;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use super::descriptors::Descriptors;
use super::failure::Failure;
use super::stdout;

/// Whether the arguments are `--version` and `-v`, in any order and spelling.
pub(crate) fn is_asked_for_at_length(arguments: &[OsString]) -> bool {
    let words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    let letters: Option<String> = words
        .map(|word| match word {
            "--version" => Some("V"),
            "--verbose" => Some("v"),
            _ => word.strip_prefix('-').filter(|it| it.chars().all(|c| "Vv".contains(c))),
        })
        .collect();
    letters.is_some_and(|letters| letters.contains('V') && letters.contains('v'))
}

/// Prints what a report of a fault should have.
pub(crate) fn print_long() -> Result<ExitCode, Failure> {
    stdout::print(long().as_bytes())
}

/// The day of the commit, or nothing where that is unknown.
pub(crate) fn date() -> &'static str {
    COMMIT.and_then(|commit| commit.split_once(' ')).map_or("", |(_, date)| date)
}

fn long() -> String {
    let mut text = format!("edgeloop {}\n", env!("CARGO_PKG_VERSION"));
    for (what, value) in [
        ("commit", COMMIT.unwrap_or("unknown").to_owned()),
        ("rustc", compiler()),
        ("target", target()),
        ("features", FEATURES.concat().trim_end().to_owned()),
        ("poller", POLLER.to_owned()),
        ("descriptors", Descriptors::shown()),
        ("allocator", ALLOCATOR.to_owned()),
    ] {
        let _ = writeln!(text, "{what}: {value}");
    }
    text
}

fn compiler() -> String {
    let line = rustc_version_runtime::version_meta().short_version_string;
    line.strip_prefix("rustc ").unwrap_or(&line).to_owned()
}

/// The target, of the words for it that a program can ask for.
fn target() -> String {
    let vendor = match () {
        () if cfg!(target_vendor = "apple") => "apple",
        () => "unknown",
    };
    let environment = match () {
        () if cfg!(target_env = "gnu") => "-gnu",
        () if cfg!(target_env = "musl") => "-musl",
        () => "",
    };
    format!("{}-{vendor}-{}{environment}", consts::ARCH, consts::OS)
}

/// The commit and its day, as `git log -1 --format='%h %cs'` has them: set while compiling, if at all.
const COMMIT: Option<&str> = option_env!("EDGELOOP_COMMIT");

/// The features that the program was built with; `cli` brings the others but one.
const FEATURES: [&str; 7] = [
    if cfg!(feature = "cli") { "cli " } else { "" },
    if cfg!(feature = "http") { "http " } else { "" },
    if cfg!(feature = "identity") { "identity " } else { "" },
    if cfg!(feature = "load") { "load " } else { "" },
    if cfg!(feature = "testing") { "testing " } else { "" },
    if cfg!(feature = "tls") { "tls " } else { "" },
    if cfg!(feature = "websocket") { "websocket " } else { "" },
];

/// What the loop waits with, as mio chooses it.
const POLLER: &str = match () {
    () if cfg!(mio_unsupported_force_poll_poll) => "poll",
    () if cfg!(any(target_os = "linux", target_os = "android", target_os = "illumos")) => "epoll",
    () if cfg!(any(target_vendor = "apple", target_os = "freebsd", target_os = "openbsd")) => {
        "kqueue"
    }
    () if cfg!(any(target_os = "netbsd", target_os = "dragonfly")) => "kqueue",
    () => "that of mio",
};

/// Rust's default, which is the C library's.
const ALLOCATOR: &str = match () {
    () if cfg!(target_env = "gnu") => "system (glibc malloc)",
    () if cfg!(target_env = "musl") => "system (musl malloc)",
    () => "system",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_ask_for_it_in_any_order() {
        let is_asked = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            is_asked_for_at_length(&words)
        };
        for line in ["e --version -v", "e -v --version", "e -Vv", "e -V -vv", "e --verbose -V"] {
            assert!(is_asked(line), "{line}");
        }
        for line in ["e --version", "e -V", "e -v", "e echo -v", "e --version -v echo", "e -Vx"] {
            assert!(!is_asked(line), "{line}");
        }
    }

    #[test]
    fn every_feature_of_the_package_is_named() {
        let manifest = include_str!("../../Cargo.toml");
        let (_, features) = manifest.split_once("[features]\n").unwrap();
        let (features, _) = features.split_once("\n[").unwrap();
        let names = features.lines().filter_map(|line| Some(line.split_once(" = [")?.0));
        let missing = |name: &&str| {
            let source = include_str!("version.rs");
            *name != "default" && !source.contains(&format!("feature = \"{name}\""))
        };
        assert_eq!(names.filter(missing).collect::<Vec<_>>(), [""; 0]);
    }
}
