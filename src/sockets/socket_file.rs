//! The file of a Unix socket: whose it is, who may connect, and when it goes.
//!
//! A path is not the file that it names: another process may have put another file there meanwhile. So a
//! server remembers which file it made, by device and inode, and removes no other. It looks while its
//! socket is still open, because the system gives the number of a free inode out again at once. A server
//! that puts a socket at a path, or removes one, holds a lock beside the path meanwhile: of two servers
//! that find an abandoned file, one goes first, and the other finds it listening.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::listen_options::ListenOptions;

/// What a listener of ours has put into the file system.
#[derive(Debug)]
pub(crate) struct SocketFile {
    pub(crate) path: PathBuf,
    /// Nothing for an abstract socket, which has no file, and for a file that another process made.
    identity: Option<Identity>,
}

/// One file among all that a path may name in the course of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The file of a socket that was made elsewhere, and is for its maker to take away.
    pub(crate) fn of_another(address: &SockAddr) -> Self {
        let name = address.as_abstract_namespace().map(|name| [b"\0", name].concat());
        let name = name.map(|name| OsString::from_vec(name).into());
        let path = address.as_pathname().map(Path::to_owned).or(name).unwrap_or_default();
        SocketFile { path, identity: None }
    }

    /// Binds to `path` and listens. An abandoned file is replaced; a path at which somebody listens
    /// is `AddrInUse`. Nobody can connect before the file has the rights that were asked for.
    pub(crate) fn listen(
        socket: &Socket,
        path: &Path,
        options: &ListenOptions,
        backlog: i32,
    ) -> io::Result<SocketFile> {
        let address = SockAddr::unix(path)?;
        if path.as_os_str().as_bytes().first() == Some(&0) {
            socket.bind(&address)?;
            socket.listen(backlog)?;
            return Ok(SocketFile { path: path.to_owned(), identity: None });
        }
        // Held until the socket listens: before that it looks like an abandoned one. Where there can
        // be none, as in a directory that is not ours to write to, `bind` says more about that.
        let lock = match PathLock::take(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            lock => lock,
        };
        match socket.bind(&address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let _held = lock.as_ref().map_err(|error| explain("it cannot be locked", error))?;
                remove_abandoned(path, &address, error)?;
                socket.bind(&address)?;
            }
            bound => bound?,
        }
        let identity = Identity::of(path).ok();
        let file = SocketFile { path: path.to_owned(), identity };
        let listens = file.set_rights(options).and_then(|()| socket.listen(backlog));
        if let Err(error) = listens {
            file.remove_if_ours();
            return Err(error);
        }
        Ok(file)
    }

    fn set_rights(&self, options: &ListenOptions) -> io::Result<()> {
        if let Some(group) = options.socket_group {
            lchown(&self.path, None, Some(group))
                .map_err(|error| explain(&format!("its group cannot be set to {group}"), &error))?;
        }
        // A group that was named, and could not connect, would not have been named.
        let for_group = options.socket_group.map(|_| 0o660);
        if let Some(mode) = options.socket_mode.or(for_group) {
            // A link would be followed, and the rights of what it leads to are none of ours to set.
            if !self.is_there() {
                return Err(io::Error::other(
                    "its mode cannot be set: something else has its place",
                ));
            }
            fs::set_permissions(&self.path, Permissions::from_mode(mode)).map_err(|error| {
                explain(&format!("its mode cannot be set to {mode:03o}"), &error)
            })?;
        }
        Ok(())
    }

    /// Takes the file away, if it is still the one that was made. The socket must still be open.
    pub(crate) fn remove(&self) {
        if self.identity.is_none() {
            return;
        }
        let lock = PathLock::take(&self.path);
        let is_taken = |error: &io::Error| error.kind() == ErrorKind::AddrInUse;
        // Somebody is at it. What is left then is an abandoned file, which the next one replaces.
        if !lock.as_ref().is_err_and(is_taken) {
            self.remove_if_ours();
        }
    }

    fn remove_if_ours(&self) {
        if self.is_there() {
            // Somebody may have removed it already, which is what we wanted.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn is_there(&self) -> bool {
        self.identity.is_some() && Identity::of(&self.path).ok() == self.identity
    }
}

impl Identity {
    /// Of what stands at the path, which is not followed if it is a link.
    fn of(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(|metadata| Identity::from(&metadata))
    }
}

impl From<&fs::Metadata> for Identity {
    fn from(metadata: &fs::Metadata) -> Self {
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }
}

fn explain(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A socket file outlives a crash. It is removed only when it is a socket and nobody listens there.
fn remove_abandoned(path: &Path, address: &SockAddr, in_use: io::Error) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let text = "the path exists and is no socket";
        return Err(io::Error::new(ErrorKind::AlreadyExists, text));
    }
    // Without waiting: a listener whose backlog is full says `WouldBlock`, and is one all the same.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(address).map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused) => fs::remove_file(path).map_err(|error| {
            explain("nobody listens there, but its file cannot be removed", &error)
        }),
        Err(ErrorKind::NotFound) => Ok(()),
        Err(ErrorKind::PermissionDenied) => {
            let text = "a socket of somebody else is there, which may not be connected to";
            Err(io::Error::new(ErrorKind::AddrInUse, text))
        }
        _ => Err(in_use),
    }
}

/// The right to change what stands at a path, for as long as this lives. The kernel takes the lock
/// back from a process that dies; the empty file that is left then holds nobody up.
#[derive(Debug)]
struct PathLock {
    path: PathBuf,
    /// Closing it gives the lock back.
    _file: File,
}

impl PathLock {
    /// Takes the lock of a path, `PATH.lock`, without waiting: `AddrInUse` when somebody has it.
    fn take(path: &Path) -> io::Result<PathLock> {
        let mut name = OsString::from(path);
        name.push(".lock");
        let lock = PathBuf::from(name);
        for _ in 0..LOCK_TRIES {
            let Some(file) = open_or_create(&lock)? else { continue };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => {}
            }
            // Whoever had it before may have removed the file between our opening and our locking.
            if Identity::of(&lock).ok() == Some(Identity::from(&file.metadata()?)) {
                return Ok(PathLock { path: lock, _file: file });
            }
        }
        let text = "another process is just beginning or ending to listen there";
        Err(io::Error::new(ErrorKind::AddrInUse, text))
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        // Before the lock is given back, so that it is certainly ours.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens an empty file, or makes one; no link is followed to make it, and what has a content is no
/// lock of ours. Nothing, when it was there and is gone.
fn open_or_create(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let name =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        created => return created.map(Some).map_err(name),
    }
    let opened = fs::symlink_metadata(path).and_then(|metadata| {
        match metadata.is_file() && metadata.len() == 0 {
            true => options.open(path),
            false => Err(io::Error::new(ErrorKind::AlreadyExists, "it exists and is no lock")),
        }
    });
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(name),
    }
}

/// How often a lock may be gone by the time that it is ours: as many others were quicker.
const LOCK_TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn rights_are_not_given_to_what_a_link_leads_to() {
        let name = format!("edgeloop-socket-file-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let (path, precious) = (directory.join("socket"), directory.join("precious"));
        let _listener = UnixListener::bind(&path).unwrap();
        let file = SocketFile { path: path.clone(), identity: Identity::of(&path).ok() };
        fs::write(&precious, "precious").unwrap();
        let before = fs::metadata(&precious).unwrap().mode();
        fs::remove_file(&path).unwrap();
        symlink(&precious, &path).unwrap();
        let options = ListenOptions { socket_mode: Some(0o777), ..ListenOptions::default() };
        assert!(file.set_rights(&options).is_err());
        let after = fs::metadata(&precious).unwrap().mode();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(before, after);
    }
}
