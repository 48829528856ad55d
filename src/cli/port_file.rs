//! The file that tells scripts and tests which addresses were bound.
//!
//! The file is there as long as its server, as a pid file is: it appears whole, and is removed at the end.
//! A server that was killed leaves it behind; the next one that is told of the same path removes it
//! before it does anything else, so that nobody reads addresses of a server that is not there. The
//! file of a running server is locked, and left alone. Whoever puts a file at a path or takes one away
//! has a lock on the directory meanwhile, or the end of one server could take the file of the next.
//!
//! Only a regular file, or nothing, is replaced. A device, a pipe, or what a link leads to is
//! written into. A file behind a link is for one server: two that write into the same are not told
//! apart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::listening::Bound;

/// A written file, removed when this is dropped if it is still the same one.
#[derive(Debug)]
pub(crate) struct PortFile {
    path: PathBuf,
    /// Open, because that keeps it locked; nothing where something was written into.
    file: Option<File>,
}

impl PortFile {
    /// Writes the addresses, one a line.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(path: &Path, addresses: &[Bound]) -> io::Result<PortFile> {
        let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        let file = match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Some(replace(path, &text)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(replace(path, &text)?),
            Ok(_) => write_into(path, text)?,
            Err(error) => return Err(error),
        };
        Ok(PortFile { path: path.into(), file })
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            erase(file, &self.path);
        }
    }
}

/// Removes what an earlier server has left at the path. What belongs to a running one, or is no list of
/// addresses, stays.
pub(crate) fn remove_stale(path: &Path) {
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file());
    // What was given as a stream holds what others have written, too.
    if !is_file || own_stream(path).is_some() {
        return;
    }
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { return };
    if lock(&file) && lists_addresses(&file) {
        erase(&file, path);
    }
}

/// Removes a file from its path, unless another one is there by now. Behind a link it is not ours to
/// remove, but what it says is no longer true.
fn erase(file: &File, path: &Path) {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let Ok(ours) = file.metadata().map(identity) else { return };
    let _held = lock_directory(path);
    if fs::symlink_metadata(path).is_ok_and(|there| identity(there) == ours) {
        let _ = fs::remove_file(path);
    } else if fs::metadata(path).is_ok_and(|there| identity(there) == ours) {
        let _ = file.set_len(0);
    }
}

/// The file appears whole or not at all: it is written beside its place and then moved there, so
/// that whoever waits for it never reads half of it.
fn replace(path: &Path, text: &str) -> io::Result<File> {
    let (beside, mut file) = create_beside(path)?;
    lock(&file);
    let move_there = || {
        let _held = lock_directory(path);
        fs::rename(&beside, path)
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| move_there());
    if let Err(error) = written {
        // The first error is the one to report; a leftover is only untidy.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    Ok(file)
}

/// A new file in the same directory, since a rename does not cross file systems. A file that has the
/// name already is left alone: in a directory that others write to it may be a link to anywhere.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let mut attempt = 0;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        match options.open(&name) {
            Ok(file) => return Ok((name.into(), file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < ATTEMPTS_MAX => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Writes into what is there. Returns the file if it is a regular one, behind a link.
fn write_into(path: &Path, text: String) -> io::Result<Option<File>> {
    let own_stream = own_stream(path);
    match own_stream {
        Some(1) => return io::stdout().write_all(text.as_bytes()).map(|()| None),
        Some(2) => return io::stderr().write_all(text.as_bytes()).map(|()| None),
        _ => {}
    }
    let kind = fs::metadata(path)?.file_type();
    if kind.is_fifo() {
        return write_when_read(path.to_owned(), text).map(|()| None);
    }
    let is_ours = kind.is_file() && own_stream.is_none();
    let mut options = OpenOptions::new();
    // At the end of a stream, and in place of what stands in a file.
    let mut file = options.append(!is_ours).write(true).truncate(is_ours).open(path)?;
    file.write_all(text.as_bytes())?;
    let is_locked = is_ours && lock(&file);
    Ok(is_locked.then_some(file))
}

/// Whether a path leads to a descriptor that this process was given, as `/dev/stdout` does. That is
/// written to as it is: opened anew it would be cut or refused.
fn own_stream(path: &Path) -> Option<u32> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let directory = path.parent().and_then(Path::to_str).unwrap_or_default();
        if matches!(directory, "/proc/self/fd" | "/dev/fd") {
            return path.file_name()?.to_str()?.parse().ok();
        }
        let target = fs::read_link(&path).ok()?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    None
}

/// A pipe cannot be opened before somebody reads it, and the server does not wait for that.
fn write_when_read(path: PathBuf, text: String) -> io::Result<()> {
    let write = move || {
        let written = OpenOptions::new().write(true).open(&path);
        if let Err(error) = written.and_then(|mut pipe| pipe.write_all(text.as_bytes())) {
            let event = "port_file_failed";
            warn!(event; "cannot write the addresses to {}: {error}", path.display());
        }
    };
    thread::Builder::new().name("port-file".into()).spawn(write).map(drop)
}

/// Whether a file has what a server has written there, and nothing else: anything may stand in a file
/// that a command line names by mistake.
fn lists_addresses(file: &File) -> bool {
    let mut text = String::new();
    let read = file.take(SIZE_MAX + 1).read_to_string(&mut text);
    let is_whole = read.is_ok_and(|size| size as u64 <= SIZE_MAX) && text.ends_with('\n');
    let is_address =
        |line: &str| line.parse::<Bound>().is_ok_and(|address| address.to_string() == line);
    is_whole && text.lines().all(is_address)
}

/// The lock ends with the process, however it ends.
fn lock(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Until the returned file is closed, no other server changes what stands at the path. Others than
/// servers may have such a lock for long, and some directories cannot be read; then it goes without.
fn lock_directory(path: &Path) -> Option<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).ok()?;
    let until = Instant::now() + LOCK_PATIENCE;
    while !lock(&directory) {
        if Instant::now() > until {
            return None;
        }
        thread::sleep(LOCK_PAUSE);
    }
    Some(directory)
}

/// Names tried for the temporary file; another process of this number may have left some.
const ATTEMPTS_MAX: u32 = 16;
/// As many as the kernel follows is more than anybody has.
const LINKS_MAX: u32 = 8;
/// More than the addresses of any server take.
const SIZE_MAX: u64 = 64 << 10;
/// A server has the lock of a directory for a few system calls.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
const LOCK_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn end_of_a_server_never_takes_the_file_of_the_next() {
        let name = format!("edgeloop-port-file-ends-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let path = directory.join("ports");
        for _ in 0..3000 {
            let first = PortFile::write(&path, &[]).unwrap();
            let together = Barrier::new(2);
            let second = thread::scope(|scope| {
                scope.spawn(|| {
                    together.wait();
                    drop(first);
                });
                together.wait();
                PortFile::write(&path, &[]).unwrap()
            });
            assert!(path.exists(), "it is gone");
            drop(second);
            assert!(!path.exists(), "it was left");
        }
        fs::remove_dir(&directory).unwrap();
    }
}
