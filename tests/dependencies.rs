//! What the package depends on: the committed list of the library's dependencies, and the licences,
//! bans and floors of `.deny.toml`. Works without a network, and with what a build has downloaded:
//! the packages of this platform. What asks for those of all platforms is ignored by default.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

// Other systems have packages of their own on the list.
#[cfg(target_os = "linux")]
#[test]
fn library_pulls_in_what_the_committed_list_says() {
    let tree = tree(&["-e", "normal", "--no-default-features"], "{p}");
    let names: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != "edgeloop")
        .collect();
    let list = read("docs/dependencies.txt");
    let listed: BTreeSet<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(names, listed, "docs/dependencies.txt lists what --no-default-features pulls in");
}

#[test]
fn every_licence_of_this_platform_is_accepted() {
    check_licences(&[]);
}

#[test]
#[ignore = "needs the packages of all platforms, which no build downloads: cargo fetch --locked"]
fn every_licence_of_every_platform_is_accepted() {
    check_licences(&["--target", "all"]);
}

fn check_licences(platform: &[&str]) {
    let accepted = strings_of("licenses", "allow");
    let everything = tree(&[&["-e", "normal,build,dev"], platform].concat(), "{p}|{l}");
    let mut count = 0;
    for line in everything.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        let is_accepted = |name: &str| accepted.iter().any(|accepted| accepted == name);
        assert!(satisfies(licence, &is_accepted), "{package} has the licence {licence:?}");
        count += 1;
    }
    assert!(count > 10, "cargo tree shows {count} packages only");
}

#[test]
fn no_banned_package_is_in_the_lock_file() {
    let packages = packages();
    for ban in specs_of("deny") {
        let (name, version) = ban.split_once(':').unwrap_or((&ban, "*"));
        for locked in packages.get(name).into_iter().flatten() {
            assert!(!matches(version, locked), "{name} {locked} is banned by .deny.toml: {ban}");
        }
    }
}

#[test]
fn no_async_runtime_is_in_the_lock_file() {
    let packages = packages();
    for name in [
        "tokio",
        "async-std",
        "smol",
        "async-io",
        "async-executor",
        "glommio",
        "monoio",
        "actix-rt",
    ] {
        assert!(!packages.contains_key(name), "{name}");
        assert!(specs_of("deny").iter().any(|ban| ban == name), ".deny.toml does not ban {name}");
    }
}

#[test]
fn packages_in_two_versions_are_known() {
    let known: BTreeSet<String> =
        specs_of("skip").iter().map(|spec| spec.split(':').next().unwrap().to_owned()).collect();
    let packages = packages();
    let doubled = packages.iter().filter(|(_, versions)| versions.len() > 1);
    let doubled: BTreeSet<String> = doubled.map(|(name, _)| name.clone()).collect();
    // A package that is no longer doubled leaves the list as well.
    assert_eq!(doubled, known);
}

#[test]
fn every_package_comes_from_the_registry() {
    for line in read("Cargo.lock").lines().filter(|line| line.starts_with("source = ")) {
        assert!(line.starts_with("source = \"registry+"), "{line}");
    }
}

#[test]
fn licence_expressions_are_understood() {
    let accepted = |name: &str| ["MIT", "Apache-2.0", "Unicode-3.0"].contains(&name);
    for (expression, is_accepted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR Zlib", false),
        ("", false),
    ] {
        assert_eq!(satisfies(expression, &accepted), is_accepted, "{expression}");
    }
}

/// Whether an SPDX expression can be met with accepted licences. AND binds more strongly than OR;
/// the old `/` means OR; a licence WITH an exception is a licence of its own.
fn satisfies(expression: &str, is_accepted: &dyn Fn(&str) -> bool) -> bool {
    let parts = |text: &str, word: &str| -> Vec<String> {
        let (mut parts, mut depth) = (vec![String::new()], 0);
        for token in text.split_inclusive([' ', '(', ')']) {
            if depth == 0 && token.trim() == word {
                parts.push(String::new());
                continue;
            }
            depth += token.matches('(').count();
            depth = depth.saturating_sub(token.matches(')').count());
            parts.last_mut().unwrap().push_str(token);
        }
        parts
    };
    let expression = expression.replace('/', " OR ");
    parts(&expression, "OR").iter().any(|alternative| {
        parts(alternative, "AND").iter().all(|term| {
            let term = term.trim();
            match term.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
                Some(inner) => satisfies(inner, is_accepted),
                None => is_accepted(term),
            }
        })
    })
}

/// Whether a version is meant by `*`, or by `<1.2.3`.
fn matches(range: &str, version: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        let text = text.split(['+', '-']).next().unwrap();
        text.split('.').map(|number| number.parse().unwrap()).collect()
    };
    match range.strip_prefix('<') {
        Some(bound) => numbers(version) < numbers(bound),
        None => range == "*",
    }
}

/// Each package of the lock file with its versions.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let lock = read("Cargo.lock");
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in lock.lines() {
        if line.starts_with("name = ") {
            name = quoted(line);
        } else if line.starts_with("version = ") && !name.is_empty() {
            packages.entry(std::mem::take(&mut name)).or_default().insert(quoted(line));
        }
    }
    packages
}

fn tree(arguments: &[&str], format: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root("")).args(["tree", "--offline", "--locked", "--prefix", "none"]);
    let output = cargo.args(["--format", format]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of a list in a section of `.deny.toml`, without comments.
fn list_of(section: &str, key: &str) -> Vec<String> {
    let file = read(".deny.toml");
    let lines = file.lines().skip_while(|line| *line != format!("[{section}]"));
    let lines = lines.skip_while(|line| *line != format!("{key} = [")).skip(1);
    let lines = lines.take_while(|line| *line != "]").map(str::trim);
    lines.filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn strings_of(section: &str, key: &str) -> Vec<String> {
    list_of(section, key).iter().map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
}

/// What entries like `{ crate = "name:<1.2", reason = "…" }` name. Each has a reason.
fn specs_of(key: &str) -> Vec<String> {
    let entries = list_of("bans", key);
    for entry in &entries {
        assert!(entry.starts_with("{ crate = \"") && entry.contains(", reason = \""), "{entry}");
    }
    entries.iter().map(|entry| entry.split('"').nth(1).unwrap().to_owned()).collect()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
