//! Which processes of this machine serve an address: those that hold its listening socket.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::reactor::Address;

/// The processes that listen at an address, in the order of their numbers; none when they cannot be
/// seen, or are on another machine.
pub(super) fn find(target: &Address) -> Vec<u32> {
    let inodes = match target {
        Address::Tcp(address) => listening(*address),
        Address::Unix(path) => {
            let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
            unix_inodes(&table, &path.to_string_lossy())
        }
    };
    if inodes.is_empty() {
        return Vec::new();
    }
    let own = std::process::id();
    let is_holder = |pid: &u32| *pid != own && holds(*pid, &inodes);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = pids.filter(is_holder).collect();
    if found.is_empty() && holds(own, &inodes) {
        // A program that measures itself; its figures are those of both sides together.
        found.push(own);
    }
    found.sort_unstable();
    found
}

/// These processes with all that they have started: a server may have one for each connection.
pub(super) fn with_children(pids: &[u32]) -> Vec<u32> {
    let own = std::process::id();
    let mut family = pids.to_vec();
    let mut place = 0;
    // Ends: every process is entered once.
    while let Some(pid) = family.get(place) {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let texts = threads.flat_map(|thread| fs::read_to_string(thread.path().join("children")));
        let children: String = texts.collect();
        for child in children.split_whitespace().flat_map(str::parse) {
            // The process that started the server may have started us as well.
            if child != own && !family.contains(&child) {
                family.push(child);
            }
        }
        place += 1;
    }
    family
}

fn holds(pid: u32, inodes: &HashSet<u64>) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|link| {
        let link = link.to_string_lossy();
        let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
    })
}

/// Only an address of this machine can have a listener in its tables. As the kernel does, the one
/// at this very address goes before one at every address of the family, and that before one at
/// every IPv6 address, which may take IPv4 as well: these may be three different servers.
fn listening(target: SocketAddr) -> HashSet<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|file| fs::read_to_string(file).unwrap_or_default());
    // A listener on every address serves ours too, if ours is one of this machine.
    let (every, every_v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into());
    let addresses = match target.ip().to_canonical() {
        ip if !ip.is_loopback() => vec![ip],
        ip if target.is_ipv4() => vec![ip, every, every_v6],
        ip => vec![ip, every_v6],
    };
    let at = |ip: IpAddr| -> HashSet<u64> {
        tables
            .iter()
            .flat_map(|table| tcp_inodes(table, SocketAddr::new(ip, target.port())))
            .collect()
    };
    addresses.into_iter().map(at).find(|inodes| !inodes.is_empty()).unwrap_or_default()
}

/// The inodes of the sockets that listen at an address: `sl local_address rem_address st … inode`.
fn tcp_inodes(table: &str, at: SocketAddr) -> HashSet<u64> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        let is_listening = fields.get(3) == Some(&LISTEN);
        let is_port = u16::from_str_radix(port, 16).ok()? == at.port();
        let is_address = ip_of_hex(address)? == at.ip();
        (is_listening && is_port && is_address).then(|| fields.get(9)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// The kernel writes addresses as 32-bit numbers in the machine's byte order.
fn ip_of_hex(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(8 * at..8 * at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for at in 0..4 {
        bytes[4 * at..4 * at + 4].copy_from_slice(&word(at)?);
    }
    Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
}

/// The inodes of the sockets that listen at a path: `Num RefCount Protocol Flags Type St Inode
/// Path`.
fn unix_inodes(table: &str, path: &str) -> HashSet<u64> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_listening = fields.get(3) == Some(&ACCEPTS);
        let is_path = fields.get(7) == Some(&path);
        (is_listening && is_path).then(|| fields.get(6)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// `TCP_LISTEN`.
const LISTEN: &str = "0A";
/// `__SO_ACCEPTCON`.
const ACCEPTS: &str = "00010000";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn listener_of_this_process_is_found() {
        let own = vec![std::process::id()];
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let host = if address.starts_with('[') { "[::1]" } else { "127.0.0.1" };
            assert_eq!(find(&format!("{host}:{port}").parse().unwrap()), own, "{address}");
            drop(listener);
            assert_eq!(find(&format!("{host}:{port}").parse().unwrap()), [0; 0], "{address}");
        }
        let path = std::env::temp_dir().join(format!("edgeloop-find-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(find(&Address::Unix(path.clone())), own);
        drop(listener);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn listener_at_the_very_address_goes_before_one_at_every_address() {
        let exact = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = exact.local_addr().unwrap();
        let before = listening(target);
        assert_eq!(before.len(), 1);
        // The port may be taken by others there; then there is nothing to tell apart.
        let Ok(every) = only_v6(target.port()) else { return };
        assert_eq!(listening(target), before);
        let of_every = listening(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), target.port()));
        assert_eq!(of_every.len(), 1);
        assert!(of_every.is_disjoint(&before));
        drop(every);
    }

    fn only_v6(port: u16) -> std::io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        socket.set_only_v6(true)?;
        socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
        socket.listen(1)?;
        Ok(socket)
    }

    #[test]
    fn table_of_the_kernel_is_understood() {
        // As a little-endian machine writes it.
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n\
            0: 0100007F:1B58 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1\n\
            1: 0100007F:1B58 0100007F:C000 01 00000000:00000000 00:00000000 00000000 0 0 4712 1\n\
            2: 00000000:1B59 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1\n";
        if cfg!(target_endian = "little") {
            let inodes = |target: &str| tcp_inodes(table, target.parse().unwrap());
            assert_eq!(inodes("127.0.0.1:7000"), HashSet::from([4711]));
            assert_eq!(inodes("0.0.0.0:7001"), HashSet::from([4713]));
            assert_eq!(inodes("127.0.0.2:7000"), HashSet::new());
        }
    }
}
