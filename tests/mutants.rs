//! Does the simulation see? Each page in `tests/sim/mutants/` describes an edit of the reactor that
//! makes it wrong, and the simulation has to find it within seconds.
//!
//! `cargo test --release --test mutants -- --ignored --nocapture` tries all of them, with
//! `MUTANT=resume-does-not-list` before it only that one. They are applied to a copy of the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the simulation may take to find a mutant, and how long the true reactor has to pass.
const SECONDS: u64 = 10;
/// What a process may take beyond that before it counts as hung.
const GRACE: Duration = Duration::from_secs(10);

#[test]
fn every_mutant_is_an_edit_of_the_source_as_it_is() {
    let mutants = mutants();
    assert!(mutants.len() >= 18, "only {} mutants", mutants.len());
    for mutant in &mutants {
        for edit in &mutant.edits {
            let count = read(&root().join(&edit.path)).matches(&edit.before).count();
            assert_eq!(
                count, 1,
                "{}: {} has this {count} times:\n{}",
                mutant.name, edit.path, edit.before
            );
            assert_ne!(edit.before, edit.after, "{}", mutant.name);
        }
    }
}

#[test]
#[ignore = "builds and runs the simulation once for each mutant: ten minutes"]
fn simulation_finds_every_mutant() {
    let wanted = std::env::var("MUTANT").unwrap_or_default();
    let is_wanted = |mutant: &&Mutant| wanted.is_empty() || mutant.name == wanted;
    assert!(mutants().iter().any(|mutant| is_wanted(&mutant)), "MUTANT={wanted}: there is none");
    let lab = Lab::new();
    let outcome = lab.build().map(|program| lab.run(&program)).expect("the true reactor builds");
    assert!(outcome.passed, "the true reactor fails: {}", outcome.text);
    let mut failures = Vec::new();
    for mutant in mutants().iter().filter(is_wanted) {
        let verdict = lab.examine(mutant);
        match &verdict {
            Ok((seconds, text)) => println!("{:45} found in {seconds:4.1} s: {text}", mutant.name),
            Err(text) => println!("{:45} NOT FOUND: {text}", mutant.name),
        }
        failures.extend(verdict.is_err().then_some(mutant.name.clone()));
    }
    assert_eq!(failures, [""; 0], "not found");
}

/// A page: its name, and what it changes.
#[derive(Debug)]
struct Mutant {
    name: String,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    path: String,
    before: String,
    after: String,
}

/// Where mutants are built, apart from the tree and from its build.
struct Lab {
    tree: PathBuf,
    target: PathBuf,
}

struct Outcome {
    passed: bool,
    hung: bool,
    seconds: f64,
    text: String,
}

impl Lab {
    fn new() -> Lab {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let lab = Lab { tree: directory.join("tree"), target: directory.join("target") };
        let _ = fs::remove_dir_all(&lab.tree);
        fs::create_dir_all(&lab.tree).expect("a directory");
        for part in ["Cargo.toml", "Cargo.lock", "README.md", "src", "tests", "benches", "docs"] {
            copy(&root().join(part), &lab.tree.join(part));
        }
        lab
    }

    /// Says how soon the mutant was found and as what, or why it was not.
    fn examine(&self, mutant: &Mutant) -> Result<(f64, String), String> {
        let mut originals = Vec::new();
        for edit in &mutant.edits {
            let path = self.tree.join(&edit.path);
            let original = read(&path);
            write(&path, &original.replacen(&edit.before, &edit.after, 1));
            originals.push((path, original));
        }
        let outcome = self.build().map(|program| self.run(&program));
        for (path, original) in originals.iter().rev() {
            write(path, original);
        }
        match outcome {
            Err(text) => Err(format!("it does not compile: {text}")),
            Ok(outcome) if outcome.hung => Err("the simulation hangs".into()),
            Ok(outcome) if outcome.passed => Err(format!("all is well: {}", outcome.text)),
            Ok(outcome) => Ok((outcome.seconds, outcome.text)),
        }
    }

    /// As it ships, without the checks of a debug build, but built in less time.
    fn build(&self) -> Result<PathBuf, String> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        cargo.args(["test", "--release", "--offline", "--no-default-features", "--test", "sim"]);
        let output = cargo.arg("--no-run").output().expect("cargo runs");
        let text = String::from_utf8_lossy(&output.stderr);
        let program = text.lines().find_map(|line| {
            line.trim().strip_prefix("Executable ")?.split_once('(')?.1.strip_suffix(')')
        });
        match program {
            Some(program) if output.status.success() => Ok(self.tree.join(program)),
            _ => Err(text.into_owned()),
        }
    }

    /// Runs the simulation until its first violation: what it makes of that afterwards takes longer
    /// than to find it.
    fn run(&self, program: &Path) -> Outcome {
        let log = self.target.join("sim.log");
        let file = fs::File::create(&log).expect("a log");
        let mut command = Command::new(program);
        command.current_dir(&self.tree).env("SIM_SECS", SECONDS.to_string());
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        let mut process = command.stdin(Stdio::null()).spawn().expect("the simulation starts");
        let begun = Instant::now();
        let ended = loop {
            let ended = process.try_wait().expect("its status");
            let found = read(&log).lines().any(is_violation);
            if ended.is_some() || found || begun.elapsed() > Duration::from_secs(SECONDS) + GRACE {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let seconds = begun.elapsed().as_secs_f64();
        // It may have ended by itself.
        let _ = process.kill();
        let _ = process.wait();
        let text = read(&log);
        let found = text.lines().find(|line| is_violation(line));
        Outcome {
            passed: ended.is_some_and(|status| status.success()),
            hung: ended.is_none() && found.is_none(),
            seconds,
            text: found.or(text.lines().last()).unwrap_or_default().to_owned(),
        }
    }
}

fn is_violation(line: &str) -> bool {
    line.starts_with("violation")
}

/// Every page, in order of name. In front of each block of changes stands the file it is for.
fn mutants() -> Vec<Mutant> {
    let directory = root().join("tests/sim/mutants");
    let entries = fs::read_dir(directory).expect("the mutants");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|page| !page.ends_with("README.md"));
    pages.sort();
    let name = |page: &Path| page.file_stem().expect("a name").to_string_lossy().into_owned();
    pages.iter().map(|page| Mutant { name: name(page), edits: edits(&read(page)) }).collect()
}

fn edits(page: &str) -> Vec<Edit> {
    let mut blocks = page.split("\n```diff\n");
    let mut before_block = blocks.next().unwrap_or_default();
    let mut edits = Vec::new();
    for block in blocks {
        let path = before_block.lines().rfind(|line| line.starts_with('`')).expect("a file's name");
        let (changes, rest) = block.split_once("\n```").expect("the end of the block");
        let side = |own: char| -> String {
            let lines = changes.lines().filter(|line| line.starts_with([' ', own]));
            lines.map(|line| format!("{}\n", &line[1..])).collect()
        };
        let path = path.trim_matches('`').to_owned();
        edits.push(Edit { path, before: side('-'), after: side('+') });
        before_block = rest;
    }
    assert!(!edits.is_empty(), "a page without changes:\n{page}");
    edits
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
