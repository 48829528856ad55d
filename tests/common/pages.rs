//! The tree's own files, read as pages: blocks, tables, program text.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// What all bytes of an echo pass through, in the order in which README sends a reader.
pub(crate) const ECHO_PATH: [&str; 10] = [
    "src/reactor/mod.rs",
    "src/reactor/reactor.rs",
    "src/reactor/lists.rs",
    "src/reactor/connection.rs",
    "src/reactor/loop_state.rs",
    "src/reactor/input.rs",
    "src/reactor/output.rs",
    "src/reactor/closing.rs",
    "src/reactor/deadline.rs",
    "src/sockets/stream.rs",
];

pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a directory.
pub(crate) fn rust_files(directory: &str) -> Vec<PathBuf> {
    files(directory, "rs")
}

/// Every file below a directory whose name ends so. Products of builds do not count.
pub(crate) fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && !entry.ends_with("target") {
                directories.push(entry);
            } else if entry.extension().is_some_and(|found| found == extension) {
                files.push(entry);
            }
        }
    }
    files.sort();
    files
}

/// The text of the first block of code in a language.
pub(crate) fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let start = page.split_once(&format!("\n```{language}\n"));
    start.and_then(|(_, rest)| rest.split_once("```\n")).map(|(block, _)| block).unwrap()
}

/// What the rows of a page's tables name in their first cell, as code.
pub(crate) fn first_cells(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

/// The nth cell of a table's row, counted from 1.
pub(crate) fn cell(row: &str, index: usize) -> &str {
    row.split('|').nth(index).unwrap().trim()
}
