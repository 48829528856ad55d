//! Where people come in: the first screen of README, its table of promises, the page that leads to all
//! others, the commands and links of all pages, and what runs the checks elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pages::{ECHO_PATH, block, cell, files, read, root};
use regex::Regex;

/// Lines of the first screen beside its example: what, for whom, three commands, two figures.
const FIRST_SCREEN_MAX: usize = 13;

// README.

#[test]
fn first_screen_of_readme_is_short_and_quotes_two_figures() {
    let page = read("README.md");
    let example = block(&page, "rust");
    let (screen, rest) = page.split_once(example).unwrap();
    let lines = screen.lines().filter(|line| !line.is_empty() && !line.starts_with("```"));
    assert!(lines.count() <= FIRST_SCREEN_MAX, "{screen}");
    assert_eq!(block(screen, "sh").lines().count(), 3, "three commands");
    let (_, numbers) = rest.split_once("\n## Numbers\n").unwrap();
    let mut bold = screen.split("**").skip(1).step_by(2);
    for figure in [bold.next().unwrap(), bold.next().unwrap()] {
        assert!(numbers.contains(figure), "there is no {figure} in the table of numbers");
    }
}

#[test]
fn readme_leads_through_the_ten_files_of_an_echo_in_their_order() {
    let page = read("README.md");
    let (_, mut rest) = page.split_once("\n## Read it\n").unwrap();
    for path in ECHO_PATH {
        let link = format!("]({path})");
        (_, rest) = rest.split_once(&link).unwrap_or_else(|| panic!("{path} is not next"));
    }
}

/// A row of README's table: attacks of `docs/isolation.md` that belong together.
struct Promise {
    attack: &'static str,
    /// The first cells of those rows match.
    rows: &'static str,
    /// Each of these stands in each of those rows.
    promised: &'static [&'static str],
    /// What is said of the figures that are found in those rows.
    measured: &'static [(&'static str, &'static str)],
}

const PROMISES: &[Promise] = &[
    Promise {
        attack: "subscribers of `broadcast` that never read, crawl and come back, 1 to 100 of them",
        rows: "^broadcast, ",
        promised: &[
            "rate ≥ 0.85 × without",
            "p99 ≤ without + 50 ms",
            "nothing lost, nobody cut off",
        ],
        measured: &[
            ("rate {} ×", r"messages/s \(([\d.]+) ×\)"),
            ("p99 of a message {} ms", r"p99 of a message [\d.]+ ms → ([\d.]+) ms"),
        ],
    },
    Promise {
        attack: "the same in a channel of `kv`",
        rows: "^channel, ",
        promised: &["rate ≥ 0.85 × without", "no reply later than 50 ms"],
        measured: &[
            ("rate {} ×", r"messages/s \(([\d.]+) ×\)"),
            ("longest wait {} ms", r"longest wait for a reply ([\d.]+) ms"),
        ],
    },
    Promise {
        attack: "the same in a room of `chat`",
        rows: "^room, ",
        promised: &["all lines come back in order, nobody is closed", "p99 ≤ without + 50 ms"],
        measured: &[("p99 {} ms", r"p99 ([\d.]+) ms, longest")],
    },
    Promise {
        attack: "64 KiB of costly commands in flight: `KEYS`, `SCAN`, `CLIENT LIST`, `PUBLISH` past 100,000 patterns",
        rows: r"^\d+ × (CLIENT LIST|KEYS|SCAN|PUBSUB CHANNELS|PUBLISH past)",
        promised: &["all answered, nobody cut off", "longest wait ≤ 20 ms"],
        measured: &[("longest wait {} ms", r"longest ([\d.]+) ms")],
    },
    Promise {
        attack: "messages of 500 KB past 3,000 patterns",
        rows: "^3 × 1,000 patterns",
        promised: &["every PUBLISH is answered", "longest wait ≤ 50 ms", "RSS ≤ 544 MiB"],
        measured: &[
            ("{} answered", r"(\d+ of \d+) answered"),
            ("longest wait {} ms", r"longest ([\d.]+) ms"),
            ("peak {} MiB", r"; peak ([\d.]+) MiB"),
        ],
    },
    Promise {
        attack: "8,000 clients that pipeline `GET` of 200 KB and do not read",
        rows: "^8000 clients that pipeline",
        promised: &["longest wait ≤ 100 ms", "RSS ≤ 621 MiB"],
        measured: &[
            ("longest wait {} ms", r"longest ([\d.]+) ms"),
            ("peak {} MiB", r"; peak ([\d.]+) MiB"),
        ],
    },
    Promise {
        attack: "3,000 clients of `web` that pipeline and do not read",
        rows: "^3000 clients that pipeline",
        promised: &["longest wait ≤ 100 ms", "RSS ≤ 400 MiB"],
        measured: &[
            ("longest wait {} ms", r"longest ([\d.]+) ms"),
            ("peak {} MiB", r"; peak ([\d.]+) MiB"),
        ],
    },
    Promise {
        attack: "1,000 heads a byte at a time, 100 without an end, 1,000 halves of bodies",
        rows: "^1,000 heads a byte at a time",
        promised: &["all answered, nobody cut off", "p99 ≤ 20 ms"],
        measured: &[("p99 {} ms", r"p99 ([\d.]+) ms")],
    },
    Promise {
        attack: "1,200 clients on the same 1,024 channels, which then all leave",
        rows: "^1,200 clients on the same 1,024 channels",
        promised: &["no longer than Redis", "longest wait ≤ 20 ms"],
        measured: &[
            ("subscribed after {} ms", r"subscribing takes ([\d.]+) ms"),
            ("longest wait {} ms", r"while they leave .* longest ([\d.]+) ms"),
        ],
    },
    Promise {
        attack: "all of `--max-memory` (256 MiB) filled in turns, and emptied",
        rows: "^memory filled in turns",
        promised: &["RSS ≤ 365 MiB", "≤ 0.3 × the limit after everything was deleted"],
        measured: &[
            ("peak {} MiB", r"; peak ([\d.]+) MiB"),
            ("{} MiB afterwards", r"([\d.]+) MiB after everything was deleted"),
        ],
    },
    Promise {
        attack: "2,000 silent, half-spoken and half-closed connections of one address",
        rows: ": 2,000 silent, half-spoken",
        promised: &["others get in within 1 s", "p99 ≤ 20 ms"],
        measured: &[
            ("in after {} ms", r"were in after ([\d.]+) ms"),
            ("p99 {} ms", r"p99 ([\d.]+) ms"),
        ],
    },
    Promise {
        attack: "200 that send a byte at a time, 200 that connect and reset",
        rows: ": 200 that send a byte at a time",
        promised: &["all answered, nobody cut off", "p99 ≤ 20 ms"],
        measured: &[("p99 {} ms", r"p99 ([\d.]+) ms")],
    },
    Promise {
        attack: "the server itself stopped for 6 s (`SIGSTOP`) while twenty speak in a room",
        rows: "^stopped for 6 s",
        promised: &["all lines come back in order, nobody is closed"],
        measured: &[("{} answered", r"(\d+ of \d+) answered")],
    },
];

#[test]
fn readme_has_the_promises_of_isolation_and_what_was_measured_of_them() {
    let page = read("docs/isolation.md");
    let (_, attacks) = page.split_once("\n## The attacks\n").unwrap();
    let attacks = attacks.split("\n## ").next().unwrap();
    let rows: Vec<&str> = attacks.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let rows: Vec<&str> = rows.into_iter().filter(|row| !row.starts_with("| ---")).collect();
    let mut table = "| whatever clients do | promised to the others | measured | |\n".to_owned();
    table.push_str("| --- | --- | --- | --- |\n");
    let mut told = BTreeSet::new();
    for promise in PROMISES {
        let wanted = Regex::new(promise.rows).unwrap();
        let of_it = rows.iter().copied().filter(|row| wanted.is_match(cell(row, 1)));
        let of_it: Vec<&str> = of_it.collect();
        told.extend(of_it.iter().map(|row| cell(row, 1)));
        table.push_str(&row_of(promise, &of_it));
    }
    for row in rows {
        let is_met = cell(row, 5) == "met";
        assert!(is_met || told.contains(cell(row, 1)), "README does not tell of: {row}");
    }
    let readme = read("README.md");
    assert!(readme.contains(&table), "README's table of promises should be:\n\n{table}");
}

/// What README has to say of attacks that belong together.
fn row_of(promise: &Promise, rows: &[&str]) -> String {
    assert!(!rows.is_empty(), "docs/isolation.md has no row for {}", promise.attack);
    for (row, part) in rows.iter().flat_map(|row| promise.promised.iter().map(move |p| (row, p))) {
        assert!(cell(row, 4).contains(part), "is not promised in docs/isolation.md: {part}, {row}");
    }
    let figures = promise.measured.iter().map(|(words, figure)| {
        let figure = Regex::new(figure).unwrap();
        let texts = rows.iter().flat_map(|row| figure.captures(row)).map(|found| found.extract());
        let mut found: Vec<&str> = texts.map(|(_, [figure])| figure).collect();
        assert_eq!(found.len(), rows.len(), "a row of docs/isolation.md lacks: {words}");
        found.sort_by(|a, b| number(a).total_cmp(&number(b)));
        let (least, most) = (found[0], found[found.len() - 1]);
        let spread = if least == most { most.into() } else { format!("{least} to {most}") };
        words.replace("{}", &spread)
    });
    let figures: Vec<String> = figures.collect();
    let is_met = rows.iter().all(|row| cell(row, 5) == "met");
    let verdict = if is_met { "met" } else { "**missed**" };
    format!(
        "| {} | {} | {} | {verdict} |\n",
        promise.attack,
        promise.promised.join("; "),
        figures.join("; ")
    )
}

/// The number with which a figure begins.
fn number(figure: &str) -> f64 {
    figure.split(' ').next().unwrap().parse().unwrap()
}

// All pages.

#[test]
fn door_leads_to_every_page() {
    let door = read("docs/README.md");
    let docs = root("docs");
    let mut pages = files("docs", "md");
    pages.extend(files("docs/code", "rs"));
    for page in pages {
        let path = page.strip_prefix(&docs).unwrap().to_str().unwrap();
        let is_linked = door.contains(&format!("]({path})")) || path == "README.md";
        assert!(is_linked, "docs/README.md does not lead to {path}");
    }
    assert!(read("README.md").contains("](docs/README.md)"));
}

#[test]
fn links_to_a_section_lead_to_one() {
    let mut count = 0;
    for page in pages_of_the_tree() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((path, section)) = target.split_once('#') else { continue };
            if path.contains("://") || !(path.is_empty() || path.ends_with(".md")) {
                continue;
            }
            let other =
                if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let sections = sections_of(&fs::read_to_string(&other).unwrap());
            assert!(sections.contains(section), "{} links to {target}", page.display());
            count += 1;
        }
    }
    assert!(count > 10, "{count} links");
}

/// Every page that people read, wherever it stands.
fn pages_of_the_tree() -> Vec<std::path::PathBuf> {
    let mut pages = vec![root("README.md")];
    pages.extend(["docs", "tests", "benches", ".github"].iter().flat_map(|path| files(path, "md")));
    pages
}

/// The names by which the headings of a page can be linked.
fn sections_of(page: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut sections = BTreeSet::new();
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if is_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        sections.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    sections
}

/// Whoever copies a command from a page types options that there are.
#[cfg(feature = "cli")]
#[test]
fn options_in_the_commands_of_pages_are_in_the_help() {
    let option = Regex::new(r"(?:^| )--([a-z][a-z-]*)").unwrap();
    let mut seen = BTreeSet::new();
    for page in pages_of_the_tree() {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("```").skip(1).step_by(2).filter(|block| block.starts_with("sh\n"));
        let inline = text.split('`').skip(1).step_by(2);
        for line in blocks.chain(inline).flat_map(str::lines) {
            let line = line.split('#').next().unwrap();
            let words = line.split_once("edgeloop ").or(line.split_once("cargo run --release -- "));
            let Some((_, words)) = words else { continue };
            let service = words.split(' ').next().unwrap();
            if !["echo", "broadcast", "chat", "kv", "web", "load"].contains(&service) {
                continue;
            }
            for name in option.captures_iter(words).map(|found| found[1].to_owned()) {
                seen.insert((service.to_owned(), name, page.clone()));
            }
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
    for (service, name, page) in seen {
        let help = help_of(&service);
        let is_there = Regex::new(&format!("--{name}\\b")).unwrap().is_match(&help);
        assert!(is_there, "edgeloop {service} has no --{name}, as {} says", page.display());
    }
}

#[cfg(feature = "cli")]
fn help_of(service: &str) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgeloop"));
    String::from_utf8(command.args([service, "--help"]).output().unwrap().stdout).unwrap()
}

/// Whose name and which place are nobody's business: where packages come from is the business of who
/// builds, and paths of somebody's machine help nobody else.
#[test]
fn pages_and_checks_name_no_registry_and_no_place_of_a_machine() {
    let named = Regex::new(
        r"crates\.io|pypi\.org|pythonhosted|npmjs|proxy\.golang|maven\.org|/work/|/root/|/home/",
    );
    let named = named.unwrap();
    let mut paths = pages_of_the_tree();
    paths.extend([root("Cargo.toml"), root(".ci/run"), root(".deny.toml")]);
    paths.extend(files(".github", "yml"));
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let line = text.lines().find(|line| named.is_match(line));
        assert!(line.is_none(), "{}: {}", path.display(), line.unwrap());
    }
}

// What others run.

/// The checks are one file, which everybody can run; what runs them elsewhere only says which and when.
#[test]
fn workflows_run_nothing_but_steps_that_there_are() {
    let checks = read(".ci/run");
    let step = Regex::new(r"(?m)^(?:\[.*\|\| )?step +(?:'([^']+)'|(\S+)) +\d+ ").unwrap();
    let names: Vec<&str> = step
        .captures_iter(&checks)
        .map(|found| found.get(1).or(found.get(2)).unwrap().as_str())
        .collect();
    assert!(names.len() > 15, "{names:?}");
    let workflows = files(".github/workflows", "yml");
    assert!(!workflows.is_empty());
    for path in workflows {
        let text = fs::read_to_string(&path).unwrap();
        let commands: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once("run: "))
            .map(|(_, command)| command)
            .collect();
        assert!(!commands.is_empty(), "{}", path.display());
        for command in commands {
            let wishes = command.strip_prefix(".ci/run").unwrap_or_else(|| panic!("{command}"));
            let quoted = wishes.split('\'').skip(1).step_by(2);
            let plain = wishes.split('\'').step_by(2).flat_map(str::split_whitespace);
            for wish in quoted.chain(plain) {
                assert!(
                    names.iter().any(|name| name.starts_with(wish)),
                    "no step is called {wish}"
                );
            }
        }
    }
}

#[test]
fn form_for_faults_asks_for_what_is_needed_to_repeat_one() {
    let form = read(".github/ISSUE_TEMPLATE/fault.yml");
    for asked in ["edgeloop --version", "uname -r", "finished", "SIM_SEED"] {
        assert!(form.contains(asked), "the form does not ask for {asked}");
    }
    assert!(Path::new(&root("docs/SECURITY.md")).exists());
}
