//! What rots unseen: pages that name files, options and reasons; the examples; and the rules that
//! `docs/architecture.md` calls checkable. Each test holds one of them against the program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/pages.rs"]
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::CloseReason;
use pages::{ECHO_PATH, block, cell, files, first_cells, read, root, rust_files};

/// The loop, and the floors below it.
const CORE: [&str; 4] = ["src/reactor", "src/vocabulary", "src/sockets", "src/structures"];

// Pages, and what they describe.

#[test]
fn page_of_close_reasons_lists_each_reason_once_in_the_order_of_the_enum() {
    let page = read("docs/reference/close-reasons.md");
    let reasons: Vec<&str> = CloseReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(first_cells(&page), reasons);
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "cause or remedy is missing: {line}");
    }
}

#[test]
fn architecture_names_every_file_of_the_reactor_and_none_that_is_gone() {
    let page = read("docs/architecture.md");
    let named: BTreeSet<&str> = first_cells(&page).into_iter().collect();
    let files: Vec<PathBuf> = CORE.iter().flat_map(|folder| rust_files(folder)).collect();
    let files: BTreeSet<&str> = files.iter().map(|path| file_name(path)).collect();
    assert_eq!(named, files);
    let is_path =
        |code: &&str| code.ends_with(".rs") || code.ends_with(".md") || code.ends_with('/');
    for path in page.split('`').skip(1).step_by(2).filter(is_path) {
        let places = CORE.iter().map(|folder| format!("{folder}/{path}"));
        let mut places = places.chain([path.to_owned()]);
        assert!(places.any(|path| root(&path).exists()), "architecture.md names {path}");
    }
}

#[test]
fn code_map_and_module_page_give_the_same_reading_order() {
    let page = read("docs/architecture.md");
    let modules = CORE.map(|folder| read(&format!("{folder}/mod.rs"))).concat();
    let rows = modules.lines().filter(|line| line.starts_with("//! | `"));
    let names: Vec<String> = rows
        .flat_map(|row| cell(row, 1).split('`').skip(1).step_by(2))
        .map(|name| format!("{name}.rs"))
        .collect();
    let mut map = first_cells(&page);
    // The module page itself comes before all that it lists.
    assert_eq!(map.remove(0), "mod.rs");
    assert_eq!(names, map);
}

#[test]
fn every_file_of_codecs_and_services_is_named_on_a_page() {
    let page = read("docs/architecture.md");
    for folder in ["src/codec", "src/service"] {
        for path in rust_files(folder) {
            let relative = path.strip_prefix(root("")).unwrap().to_str().unwrap();
            let is_outside = path.parent() == Some(&root(folder)) && !relative.ends_with("/mod.rs");
            assert!(!is_outside || page.contains(relative), "architecture.md lacks {relative}");
        }
    }
    for module in rust_files("src/service").into_iter().filter(|path| path.ends_with("mod.rs")) {
        let text = fs::read_to_string(&module).unwrap();
        let Some((_, table)) = text.split_once("//! | file | what it is |\n") else { continue };
        let rows = table.lines().take_while(|line| line.starts_with("//! |"));
        let listed: BTreeSet<&str> =
            rows.flat_map(|row| cell(row, 1).split('`').skip(1).step_by(2)).collect();
        for path in rust_files(module.parent().unwrap().to_str().unwrap()) {
            let name = file_name(&path).strip_suffix(".rs").unwrap();
            assert!(name == "mod" || listed.contains(name), "{} lacks {name}", module.display());
        }
    }
}

#[test]
fn readme_counts_the_lines_of_the_echo_path_and_of_the_reactor_and_its_mutants() {
    let page = in_one_line(&read("README.md"));
    let before = |words: &str| -> usize {
        let number = page.split_once(words).expect(words).0.rsplit(' ').next().unwrap();
        number.replace(',', "").parse().unwrap()
    };
    let echo_path: usize = ECHO_PATH.iter().map(|file| lines_of_code(&root(file))).sum();
    let reactor: usize = rust_files("src/reactor").iter().map(|path| lines_of_code(path)).sum();
    for (words, counted, most) in [
        (" lines of code for the whole path of an echo", echo_path, 1_650),
        // With the state before a connection is open, which meets the gate, the lists and the deadlines.
        (" lines of code in `src/reactor`", reactor, 3_400),
    ] {
        assert!(counted <= most, "{counted}{words}: more than {most} are not read in one sitting");
        // Within a twentieth.
        let difference = before(words).abs_diff(counted);
        assert!(difference * 20 <= counted, "{counted}{words}, not {}", before(words));
    }
    let pages = files("tests/sim/mutants", "md").len() - 1;
    assert_eq!(before(" mutants of the reactor"), pages, "beside the README of mutants");
}

#[test]
fn functions_of_the_reactor_are_short() {
    let mut lengths: Vec<(usize, String)> =
        rust_files("src/reactor").iter().flat_map(|path| functions_of(&code_of(path))).collect();
    lengths.sort();
    assert!(lengths.len() > 200, "only {} functions found", lengths.len());
    let at = |share: usize| lengths[lengths.len() * share / 100].clone();
    let longest = lengths.last().unwrap();
    assert!(at(50).0 <= 8, "the median is {:?}", at(50));
    assert!(at(90).0 <= 20, "one in ten is longer than {:?}", at(90));
    assert!(longest.0 <= 55, "the longest is {longest:?}");
}

#[test]
fn glossary_explains_words_that_occur_where_it_says() {
    let page = read("docs/reference/glossary.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.ends_with("` |")).collect();
    assert!(rows.len() > 50, "only {} words", rows.len());
    let words: BTreeSet<&str> = rows.iter().map(|row| cell(row, 1)).collect();
    assert_eq!(words.len(), rows.len(), "a word has two meanings");
    let mut silent = Vec::new();
    for row in rows {
        let (word, file) = (cell(row, 1), cell(row, 3).trim_matches('`'));
        // Names join words by an underscore, and comments break lines.
        let text = read(file).to_lowercase().replace(['_', '-'], " ");
        let text = in_one_line(&text.replace("//!", "").replace("//", "").replace('/', " "));
        let is_there = text.contains(&word.replace('-', " "));
        silent.extend((!is_there).then(|| format!("{file} does not speak of \"{word}\"")));
    }
    assert_eq!(silent, [""; 0]);
    for linking in ["README.md", "docs/architecture.md", "docs/CONTRIBUTING.md"] {
        assert!(read(linking).contains("glossary.md)"), "{linking} does not link to the glossary");
    }
}

#[test]
fn module_page_of_the_reactor_names_every_method_of_handler_and_context() {
    let page = read("src/reactor/mod.rs");
    let (_, interface) = page.split_once("# The interface").unwrap();
    let (interface, _) = interface.split_once("# Reading the files").unwrap();
    let of = |file: &str, mark: &str| -> BTreeSet<String> {
        let code = code_of(&root(file));
        let names = code.lines().filter_map(|line| line.strip_prefix(mark)).map(first_word);
        names.filter(|name| name != "fmt").collect()
    };
    let callbacks = of("src/reactor/handler.rs", "    fn ");
    let requests = of("src/reactor/context.rs", "    pub fn ");
    assert!(callbacks.len() >= 9 && requests.len() > 40, "{callbacks:?} {requests:?}");
    let named: BTreeSet<&str> =
        interface.split(|symbol: char| !symbol.is_alphanumeric() && symbol != '_').collect();
    for name in callbacks.iter().chain(&requests) {
        assert!(named.contains(name.as_str()), "the module page lacks {name}");
    }
}

#[test]
fn lines_that_exist_because_of_edge_triggering_are_marked_in_one_way() {
    let mut marks = 0;
    for path in rust_files("src") {
        for line in fs::read_to_string(&path).unwrap().lines().filter(|line| line.contains("ET:")) {
            let is_mark = line.trim_start().starts_with("// ET: ");
            let names_the_mark = line.contains("`// ET:`");
            let before = line.split("ET:").next().unwrap();
            let is_part_of_a_word = before.ends_with(char::is_alphabetic);
            let is_known = is_mark || names_the_mark || is_part_of_a_word;
            assert!(is_known, "{}: {line}", path.display());
            marks += usize::from(is_mark);
        }
    }
    let page = in_one_line(&read("README.md"));
    let (before, _) = page.split_once(" lines marked `// ET:`").expect("README counts the marks");
    assert_eq!(before.rsplit(' ').next().unwrap().parse(), Ok(marks));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut pages = vec![root("README.md")];
    for directory in ["docs", "tests", "benches"] {
        pages.extend(files(directory, "md"));
    }
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let path = page.parent().unwrap().join(target);
            let is_there = target.contains("://") || path.exists();
            assert!(is_there, "{} links to {target}", page.display());
        }
    }
}

#[test]
fn pages_quote_the_examples_that_they_show() {
    for (page, language, example) in [
        ("README.md", "rust", "echo"),
        ("docs/howto/write-a-handler.md", "rust", "web"),
        ("docs/howto/serve-websocket.md", "rust,no_run", "websocket_echo"),
    ] {
        let example = read(&format!("docs/code/{example}.rs"));
        assert_eq!(block(&read(page), language), example, "{page}");
    }
}

#[test]
fn examples_are_servers_in_few_lines_of_code() {
    for (name, most) in [
        ("echo", 12),
        ("broadcast", 19),
        ("length_prefixed", 19),
        ("websocket_echo", 19),
        ("web", 29),
        ("rpc", 59),
        ("ticker", 59),
    ] {
        let example = format!("docs/code/{name}.rs");
        let code = code_of(&root(&example));
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= most, "{example} has {lines} lines of code");
        for what in ["env_logger::init();", "eprintln!(\"listening on {"] {
            assert!(code.contains(what), "{example} has no {what}");
        }
    }
}

#[cfg(feature = "cli")]
#[test]
fn page_of_the_command_line_and_help_have_the_same_options_with_the_same_defaults() {
    let page = read("docs/reference/command-line.md");
    let (page, _) = split_off_load(&page);
    let mut helped = BTreeSet::new();
    for service in ["echo", "broadcast", "chat", "kv", "web"] {
        // What the service's own section says counts before what is said of all.
        let own = page.split_once(&format!("## Options of `edgeloop {service}`\n")).unwrap().1;
        let own = own.split("\n## ").next().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
        let help = command.args([service, "--help"]).output().unwrap().stdout;
        for (name, text) in options_of_help(&String::from_utf8(help).unwrap()) {
            let mut rows = own.lines().chain(page.lines()).filter(|line| line.starts_with("| `-"));
            let row = rows.find(|row| option_of_row(row) == name);
            let row = row.unwrap_or_else(|| panic!("command-line.md lacks --{name}"));
            let variable = match name.as_str() {
                "port" => "no variable".into(),
                name => format!("`EDGELOOP_{}`", name.replace('-', "_").to_uppercase()),
            };
            let key = if name == "config" { "no key".into() } else { format!("`{name}`") };
            assert_eq!(cell(row, 3), format!("{variable}, {key}"));
            let default = text.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
            // What is no value is said in words.
            let in_words = match default.unwrap() {
                "false" => "off",
                "what the descriptor limit allows" => "what fits",
                value => value,
            };
            assert_eq!(cell(row, 2).trim_matches('`'), in_words, "default of --{name}");
            helped.insert(name);
        }
    }
    let rows = page.lines().filter(|line| line.starts_with("| `-"));
    assert_eq!(rows.map(option_of_row).collect::<BTreeSet<_>>(), helped);
}

#[cfg(feature = "cli")]
#[test]
fn page_of_the_command_line_has_the_options_of_load_with_their_defaults() {
    let page = read("docs/reference/command-line.md");
    let (_, section) = split_off_load(&page);
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `-")).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloop"));
    let help = command.args(["load", "--help"]).output().unwrap().stdout;
    let help = options_of_help(&String::from_utf8(help).unwrap());
    let documented: Vec<String> = rows.iter().map(|row| option_of_row(row)).collect();
    let helped: Vec<&String> = help.iter().map(|(name, _)| name).collect();
    assert_eq!(documented.iter().collect::<Vec<_>>(), helped, "in the order of the help");
    for (row, (name, text)) in rows.iter().zip(&help) {
        let default = text.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
        let default = default.unwrap_or_else(|| panic!("the help of --{name} has no default"));
        let in_words = if default == "false" { "off" } else { default };
        assert_eq!(cell(row, 2).replace('`', ""), in_words, "default of --{name}");
        assert!(cell(row, 3).len() > 10, "{row}");
    }
}

/// The page of the command line without the section of `load`, whose options have neither variables
/// nor keys; and that section.
#[cfg(feature = "cli")]
fn split_off_load(page: &str) -> (String, String) {
    let (before, rest) = page.split_once("\n## Options of `edgeloop load`\n").unwrap();
    let (section, after) = rest.split_once("\n## ").unwrap();
    (format!("{before}\n## {after}"), section.to_owned())
}

#[cfg(feature = "cli")]
#[test]
fn configuration_file_of_the_page_is_accepted() {
    let page = read("docs/reference/command-line.md");
    let file = temporary("toml");
    fs::write(&file, block(&page, "toml")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_edgeloop"));
    for service in ["echo", "broadcast", "chat", "kv", "web"] {
        let server = Server::start(program, |address| {
            let file = file.to_str().unwrap();
            [service, "--config", file, "--listen", address].map(str::to_owned).into()
        });
        server.connect();
    }
    fs::remove_file(file).unwrap();
}

/// Messages may be reworded, and are; programs that read the log go by the event.
#[test]
fn page_of_log_events_has_each_event_with_its_levels_and_fields() {
    let page = read("docs/reference/log-events.md");
    let mut listed = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let quoted = |index| cell(row, index).split('`').skip(1).step_by(2).map(str::to_owned);
        let event = quoted(1).next().unwrap();
        let levels: BTreeSet<String> = cell(row, 2).split(", ").map(str::to_owned).collect();
        assert!(
            cell(row, 4).len() > 10 && cell(row, 5).len() > 7,
            "{event}: cause or remedy is missing"
        );
        let former = listed.insert(event.clone(), (levels, quoted(3).collect::<BTreeSet<_>>()));
        assert!(former.is_none(), "{event} is listed twice");
    }
    // The lines of libraries.
    assert!(listed.remove("other").is_some());
    let logged = logged_events();
    assert_eq!(listed.keys().collect::<Vec<_>>(), logged.keys().collect::<Vec<_>>());
    let every_file: String = rust_files("src").iter().map(|path| code_of(path)).collect();
    for (event, (levels, fields)) in listed {
        let (logged_levels, logged_fields) = &logged[&event];
        assert_eq!(&levels, logged_levels, "levels of {event}");
        match logged_fields {
            Some(logged) => assert_eq!(&fields, logged, "fields of {event}"),
            // They are put together while the program runs.
            None => fields.iter().for_each(|field| {
                assert!(every_file.contains(&format!("\"{field}\"")), "{event} has no {field}");
            }),
        }
    }
}

#[test]
fn records_of_the_log_are_read_as_they_are_written() {
    let code = r#"let event = "one"; warn!(event, a = f(1, 2), "in" = 3, peer:%; "text; {x}");
        log::log!(target: T, level, event = "two", b:% = c; "x"); info!("three"; event = "no");"#;
    let records: Vec<_> = records_of(code)
        .into_iter()
        .map(|(event, levels, fields)| {
            (event, levels.join(" "), fields.into_iter().collect::<Vec<_>>().join(" "))
        })
        .collect();
    let own = |(event, levels, fields): (&str, &str, &str)| {
        (event.to_owned(), levels.to_owned(), fields.to_owned())
    };
    let expected = [("one", "warn", "a in peer"), ("two", "info debug", "b"), ("", "info", "")];
    assert_eq!(records, expected.map(own));
}

type Levels = BTreeSet<String>;

/// Each event of the program with its levels, and with its fields where these are known beforehand.
fn logged_events() -> BTreeMap<String, (Levels, Option<BTreeSet<String>>)> {
    let mut events: BTreeMap<String, (Levels, Option<BTreeSet<String>>)> = BTreeMap::new();
    for path in rust_files("src") {
        let code = without_balancers(&code_of(&path));
        for (event, levels, fields) in records_of(&code) {
            assert!(!event.is_empty(), "{}: a record without an event", path.display());
            let (known, all) =
                events.entry(event).or_insert_with(|| (Levels::new(), Some(BTreeSet::new())));
            known.extend(levels.iter().map(|level| (*level).to_owned()));
            all.iter_mut().for_each(|all| all.extend(fields.iter().cloned()));
        }
        for (mark, level) in [
            ("log_books(\"", "info"),
            ("(\"event\", Value::from(\"", "info"),
            ("Remark::new(\"", "warn"),
            ("Remark::new(\n                \"", "warn"),
        ] {
            let names = code.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap());
            for name in names {
                let (levels, fields) = events.entry(name.to_owned()).or_default();
                levels.insert(level.to_owned());
                *fields = None;
            }
        }
    }
    events
}

/// A program text in which macros that put the balancer behind the peer are those of the log.
fn without_balancers(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(at) = code.find("log_peer!(") {
        let (level, rest) = code[at + "log_peer!(".len()..].split_once(", [").unwrap();
        let (before, rest) = rest.split_once("], ").unwrap();
        let (_, rest) = rest.split_once(", event").unwrap();
        code = format!("{}{}!({before}, via, event{rest}", &code[..at], level.trim());
    }
    while let Some(at) = code.find("log_access!(") {
        let (level, rest) = code[at + "log_access!(".len()..].split_once(", ").unwrap();
        let (_, rest) = rest.split_once("event").unwrap();
        code = format!("{}{}!(peer, via, event{rest}", &code[..at], level.trim());
    }
    code
}

/// What the macros of a program text log: the event, the levels, and the other fields.
fn records_of(code: &str) -> Vec<(String, Vec<&'static str>, BTreeSet<String>)> {
    let mut records = Vec::new();
    let macros = [
        ("error!(", vec!["error"]),
        ("warn!(", vec!["warn"]),
        ("info!(", vec!["info"]),
        ("debug!(", vec!["debug"]),
        ("trace!(", vec!["trace"]),
        // The level is chosen between two.
        ("log!(", vec!["info", "debug"]),
    ];
    for (start, levels) in macros {
        for (at, _) in code.match_indices(start) {
            let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_word {
                continue;
            }
            let (mut event, mut fields) = (String::new(), BTreeSet::new());
            for part in fields_of(&code[at + start.len()..]) {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                let name = name.trim().split(':').next().unwrap().trim_matches('"');
                match name {
                    "event" if value.is_empty() => {
                        let (_, before) = code[..at].rsplit_once("let event = \"").unwrap();
                        event = before.split('"').next().unwrap().to_owned();
                    }
                    "event" => event = value.split('"').nth(1).unwrap().to_owned(),
                    "target" | "level" => {}
                    name => drop(fields.insert(name.to_owned())),
                }
            }
            records.push((at, event, levels.clone(), fields));
        }
    }
    records.sort_by_key(|(at, ..)| *at);
    records.into_iter().map(|(_, event, levels, fields)| (event, levels, fields)).collect()
}

/// The parts before the semicolon of a macro; none, if a text comes first.
fn fields_of(call: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut is_text) = (Vec::new(), 0, 0, false);
    for (at, symbol) in call.char_indices() {
        match symbol {
            '"' => is_text = !is_text,
            _ if is_text => {}
            '(' | '{' => depth += 1,
            ')' if depth == 0 => return Vec::new(),
            ')' | '}' => depth -= 1,
            ',' | ';' if depth == 0 => {
                parts.push(call[start..at].trim());
                start = at + 1;
                if symbol == ';' {
                    return if parts[0].starts_with('"') && parts.len() == 1 {
                        Vec::new()
                    } else {
                        parts
                    };
                }
            }
            _ => {}
        }
    }
    Vec::new()
}

// Examples.

#[test]
fn echo_example_returns_every_byte() {
    let server = Server::start(&example("echo"), |address| vec![address.into()]);
    let mut client = server.connect();
    let sent: Vec<u8> = (0..1_000_000u32).map(|count| (count / 7) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let to_send = sent.clone();
    let sender = thread::spawn(move || {
        writer.write_all(&to_send).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    sender.join().unwrap();
    assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
}

#[test]
fn broadcast_example_delivers_to_the_others_and_keeps_a_history() {
    let server = Server::start(&example("broadcast"), |address| vec![address.into()]);
    let (mut sender, receiver) = (server.connect(), server.connect());
    let mut lines = BufReader::new(receiver).lines();
    // Whoever comes too late for a line gets it from the history, so nobody has to be waited for.
    sender.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    let newcomer = BufReader::new(server.connect()).lines().take(2);
    assert_eq!(newcomer.map(Result::unwrap).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn length_prefixed_example_answers_each_message_reversed() {
    let server = Server::start(&example("length_prefixed"), |address| vec![address.into()]);
    let mut client = server.connect();
    client.write_all(b"\0\0\0\x03abc\0\0\0\0\0\0\0\x02hi").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"\0\0\0\x03cba\0\0\0\0\0\0\0\x02ih");
}

/// The time for an answer decides nothing here but in the third part, where work takes far longer.
#[test]
fn rpc_example_answers_calls_in_their_order_and_says_when_there_is_no_answer_in_time() {
    let call = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    let program = example("rpc");
    let patient = Server::start(&program, |address| vec![address.into(), "60000".into()]);
    let mut client = patient.connect();
    client.write_all(&["abc", "slow", "", "hi"].map(call).concat()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received, ["cba", "wols", "", "ih"].map(call).concat());
    // A length over the limit ends a connection, and no other one.
    let mut broken = patient.connect();
    broken.write_all(b"\xff\xff\xff\xff").unwrap();
    assert_eq!(broken.read(&mut [0]).unwrap(), 0);

    let hasty = Server::start(&program, |address| vec![address.into(), "1".into()]);
    let mut client = hasty.connect();
    client.write_all(&call("slow")).unwrap();
    let expected = call("no answer in time");
    let mut received = vec![0; expected.len()];
    client.read_exact(&mut received).unwrap();
    assert_eq!(received, expected);
}

/// Whatever is typed, the time is told each second; so nobody has to be waited for.
#[test]
fn ticker_example_tells_all_subscribers_the_same_and_what_was_typed_last() {
    let server = Server::start(&example("ticker"), |address| vec![address.into()]);
    let mut first = BufReader::new(server.connect()).lines().map(Result::unwrap);
    let (time, words) = first.next().unwrap().split_once(' ').map(own).unwrap();
    assert!(time.parse::<u64>().unwrap() > 1_700_000_000 && words == "tick", "{time} {words}");
    let mut second = BufReader::new(server.connect()).lines().map(Result::unwrap);
    let shared = second.next().unwrap();
    assert!(first.any(|line| line == shared), "all follow one topic");
    let mut typed = server.process.stdin.as_ref().unwrap();
    typed.write_all(b"lunch\n").unwrap();
    assert!(first.any(|line| line.ends_with(" lunch")), "until it is told");
}

fn own((first, second): (&str, &str)) -> (String, String) {
    (first.to_owned(), second.to_owned())
}

#[cfg(feature = "http")]
#[test]
fn web_example_answers_and_counts() {
    let server = Server::start(&example("web"), |address| vec![address.into()]);
    let mut client = server.connect();
    let requests = "GET /hello/you HTTP/1.1\r\nHost: a\r\n\r\nPOST /length HTTP/1.1\r\nHost: a\r\n\
        Connection: close\r\nContent-Length: 3\r\n\r\nabc";
    client.write_all(requests.as_bytes()).unwrap();
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    let (first, second) = received.split_once("Hello, you!\n").expect(&received);
    assert!(
        first.starts_with("HTTP/1.1 200 OK\r\n") && first.contains("X-Count: 1\r\n"),
        "{first}"
    );
    assert!(second.starts_with("HTTP/1.1 201 Created\r\n"), "{second}");
    assert!(second.contains("X-Count: 2\r\n") && second.ends_with("3 bytes\n"), "{second}");
}

#[test]
fn loop_that_reads_once_per_event_hangs_and_one_that_drains_does_not() {
    let program = example("lost_wakeup");
    let hung = Command::new(&program).output().unwrap();
    let text = String::from_utf8(hung.stdout).unwrap();
    assert_eq!(hung.status.code(), Some(3), "{text}");
    assert!(text.ends_with("and 84 bytes lie unread\n"), "{text}");
    let drained = Command::new(&program).arg("drain").output().unwrap();
    assert_eq!(drained.status.code(), Some(0), "{}", String::from_utf8_lossy(&drained.stdout));
}

// Rules of the source.

#[test]
fn imports_between_layers_go_one_way() {
    let permitted = |layer: &str| -> &[&str] {
        match layer {
            "structures" | "codec" => &[],
            "sockets" => &["structures"],
            "vocabulary" => &["sockets", "structures"],
            "reactor" => &["vocabulary", "sockets", "structures"],
            "service" => &["reactor", "structures", "codec"],
            "load" => &["reactor"],
            "testing" => &["reactor", "sockets"],
            "tls" => &["reactor"],
            // The program uses the library under its own name, as any other program would.
            "cli" => &["edgeloop"],
            "main" => &["cli"],
            "lib" => &["reactor"],
            layer => panic!("src/{layer} is no layer that docs/architecture.md knows"),
        }
    };
    for path in rust_files("src") {
        let relative = path.strip_prefix(root("src")).unwrap().to_str().unwrap();
        let layer = relative.split(['/', '.']).next().unwrap();
        // Tests of a layer obey its rule as well, so the whole file counts.
        let text = without_comments(&fs::read_to_string(&path).unwrap());
        for target in imports(&text) {
            let is_permitted = target == layer || permitted(layer).contains(&target.as_str());
            assert!(is_permitted, "src/{relative} uses {target}");
        }
    }
}

/// A callback that is not passed on would be missing in every test that watches a handler.
#[test]
fn testing_passes_every_callback_of_a_handler_on() {
    let callbacks = |file: &str| -> BTreeSet<String> {
        let code = code_of(&root(file));
        code.split("    fn on_").skip(1).map(first_word).collect()
    };
    let declared = callbacks("src/reactor/handler.rs");
    assert!(declared.len() >= 9, "{declared:?}");
    assert_eq!(callbacks("src/testing/observed.rs"), declared);
}

#[test]
fn no_unsafe_in_src() {
    for path in rust_files("src") {
        let code = without_comments(&fs::read_to_string(&path).unwrap());
        let code = code.replace("#![forbid(unsafe_code)]", "");
        assert!(!code.contains("unsafe"), "{}", path.display());
    }
    for crate_root in ["src/lib.rs", "src/main.rs"] {
        assert!(read(crate_root).contains("\n#![forbid(unsafe_code)]\n"), "{crate_root}");
    }
}

#[test]
fn what_architecture_says_is_absent_from_the_reactor_is_absent() {
    let absent = [
        "reregister",
        "RefCell",
        "Rc<",
        "HashMap",
        "HashSet",
        "thread",
        "cfg(feature",
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "println!(",
    ];
    for path in CORE.iter().flat_map(|folder| rust_files(folder)) {
        let code = code_of(&path);
        for word in absent {
            // A layer counts its memory by itself, so that no plain connection asks what it is.
            let is_shared = word == "Rc<" && path.ends_with("structures/tally.rs");
            assert!(is_shared || !code.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn clock_is_read_and_slots_are_freed_at_one_place() {
    let places = |word: &str| -> Vec<String> {
        let files: Vec<PathBuf> = CORE.iter().flat_map(|folder| rust_files(folder)).collect();
        let hits = files.iter().map(|path| (file_name(path), code_of(path).matches(word).count()));
        hits.filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect()
    };
    // When the reactor is built, and for each reading and each wait, unless a test has stopped it.
    assert_eq!(places("Instant::now"), ["clock.rs 2"]);
    // Once a turn, and before work between turns.
    assert_eq!(places("clock.read()"), ["reactor.rs 2"]);
    assert_eq!(places("connections.try_remove("), ["loop_state.rs 1"]);
    assert_eq!(places("state.free("), ["reactor.rs 1"]);
}

/// A closure says in a line what a handler of one callback does; the skeleton around the callback takes
/// fifteen, and whoever reads a test has to read them.
#[test]
fn handlers_of_tests_are_closures_but_for_a_few() {
    let files = ["tests", "benches"].into_iter().flat_map(rust_files);
    let by_hand: Vec<String> = files
        .flat_map(|path| {
            let code = without_comments(&fs::read_to_string(&path).unwrap());
            // A head may take several lines.
            let heads = code.split("impl").skip(1).filter_map(|rest| rest.split('{').next());
            let heads = heads.map(|head| head.split_whitespace().collect::<Vec<_>>());
            let is_handler = |word: &str| word.rsplit("::").next() == Some("Handler");
            let heads = heads.filter(|head| {
                head.windows(2).any(|words| is_handler(words[0]) && words[1] == "for")
            });
            heads.map(|head| format!("{}: {}", path.display(), head.join(" "))).collect::<Vec<_>>()
        })
        .collect();
    assert!(!by_hand.is_empty(), "nothing is found");
    assert!(
        by_hand.len() <= 8,
        "use edgeloop::service::{{handler_fn, HandlerFn}}, or tests/common/scripted.rs:\n{}",
        by_hand.join("\n")
    );
}

// What the tests above are made of.

/// A running server on a Unix socket of its own, ended when it is dropped.
struct Server {
    process: Child,
    path: PathBuf,
}

impl Server {
    fn start(program: &Path, arguments: impl FnOnce(&str) -> Vec<String>) -> Server {
        let path = temporary("sock");
        let arguments = arguments(&format!("unix:{}", path.display()));
        let mut command = Command::new(program);
        let process = command.args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        Server { process, path }
    }

    fn connect(&self) -> UnixStream {
        // An example has no port file that would say when it listens.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(&self.path) {
                Ok(client) => {
                    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    return client;
                }
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only if it has ended already, which then failed the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.path);
    }
}

/// The example program, built as this test was: `cargo test` has done so already, but
/// `cargo test --test documentation` has not.
fn example(name: &str) -> PathBuf {
    let directory = std::env::current_exe().unwrap();
    let directory = directory.parent().and_then(Path::parent).unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root("")).args(["build", "--quiet", "--offline", "--example", name]);
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    if !cfg!(feature = "cli") {
        cargo.arg("--no-default-features");
    }
    assert!(cargo.status().unwrap().success(), "cannot build the example {name}");
    directory.join("examples").join(name)
}

/// A path that no other test and no other run uses.
fn temporary(extension: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("edgeloop-documentation-{}-{count}.{extension}", std::process::id());
    std::env::temp_dir().join(name)
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A file's program text, without comments and without its unit tests, which stand at the end.
fn code_of(path: &Path) -> String {
    without_comments(without_tests(&fs::read_to_string(path).unwrap()))
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines that are neither empty nor a comment, without unit tests.
fn lines_of_code(path: &Path) -> usize {
    code_of(path).lines().filter(|line| !line.trim().is_empty()).count()
}

/// The functions of a program text that rustfmt has laid out: how many lines of code each has, and its
/// first line.
fn functions_of(code: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut words = line.split_whitespace().skip_while(|word| {
            word.starts_with("pub") || ["const", "async", "extern"].contains(word)
        });
        if words.next() != Some("fn") {
            continue;
        }
        // The body ends with the first brace that stands as far left as the function.
        let end = match line.ends_with(['}', ';']) {
            true => Some(0),
            false => lines[at..]
                .iter()
                .position(|line| *line == format!("{indent}}}") || *line == format!("{indent});")),
        };
        functions.push((end.unwrap() + 1, line.trim().to_owned()));
    }
    functions
}

fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |end| &text[..end])
}

fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| match line.trim_start() {
        comment if comment.starts_with("//") => "",
        _ => line.split(" // ").next().unwrap(),
    });
    code.collect::<Vec<_>>().join("\n")
}

/// What the `use` lines and paths of a file take from the crate, or from the library by its name:
/// the first part of each path, of `use crate::{a::…, b::…}` too.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let parts: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => top_level_parts(list),
            None => vec![rest],
        };
        found.extend(parts.into_iter().map(|part| first_word(part.trim())));
    }
    if code.contains("use edgeloop::") || code.contains(" edgeloop::") {
        found.push("edgeloop".into());
    }
    if code.contains("\nmod cli;") {
        found.push("cli".into());
    }
    found
}

/// The parts of a list in braces, up to its end, without what stands in inner braces.
fn top_level_parts(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, symbol) in list.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
                if symbol == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|symbol| symbol.is_alphanumeric() || *symbol == '_').collect()
}

/// The long name in a row like "| `-l`, `--listen ADDR` | …".
#[cfg(feature = "cli")]
fn option_of_row(row: &str) -> String {
    let long = cell(row, 1).split("--").nth(1).unwrap();
    long.split([' ', '`']).next().unwrap().to_owned()
}

/// The long names of the options that a help lists, each with the text up to the next one.
#[cfg(feature = "cli")]
fn options_of_help(help: &str) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        let text = line.trim_start();
        let is_option = text.starts_with('-') && line.len() - text.len() < 8;
        if is_option && let Some((_, long)) = text.split_once("--") {
            let name: String =
                long.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            options.push((name, String::new()));
        } else if let Some((_, description)) = options.last_mut() {
            description.push_str(text);
            description.push(' ');
        }
    }
    options.retain(|(name, _)| name != "help");
    options
}
