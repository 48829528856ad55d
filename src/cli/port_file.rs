//! The file that tells scripts and tests which addresses were bound.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use edgeloop::Address;

/// Writes the addresses, one a line.
///
/// The file appears whole or not at all: it is written beside its place and then moved there, so
/// that whoever waits for it never reads half of it.
pub(crate) fn write(path: &Path, addresses: &[Address]) -> io::Result<()> {
    let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    let beside = beside(path);
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to report; a leftover is only untidy.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// In the same directory, since a rename does not cross file systems; with the number of the
/// process, since two may start at once.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}
