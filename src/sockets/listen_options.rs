//! How a server listens.

use std::sync::Arc;

use super::preface::Preface;

/// How a listener is set up. What accepted sockets inherit is set once, here.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections that wait in the kernel to be accepted. Default 4096; the kernel silently cuts
    /// it to `somaxconn`.
    pub backlog: u32,
    /// Lets several processes share the port (`SO_REUSEPORT`). Default off.
    pub reuse_port: bool,
    /// The most unsent bytes the kernel takes for one connection (`TCP_NOTSENT_LOWAT`), and a
    /// segment of up to 64 KiB beyond. Default 16 KiB: a peer that does not read shows in our
    /// queues, where limits apply, and costs the kernel no megabytes. What is on its way to a peer
    /// that reads does not count, so that a long and fast path is still filled. `None` is as the
    /// system has it, usually megabytes. Linux only.
    pub notsent_lowat: Option<u32>,
    /// The rights of a Unix socket's file, as for `chmod`, such as `0o660`: users that may write to the
    /// file may connect. Default: what the umask of the process leaves; `0o660` where there is a
    /// [`socket_group`](Self::socket_group).
    pub socket_mode: Option<u32>,
    /// The number of the group that owns a Unix socket's file. Default: the group of the process. A
    /// process that is not root may name the groups that it is in.
    pub socket_group: Option<u32>,
    /// What a balancer says of its clients before their own bytes, as in the PROXY protocol: for the
    /// connections from which it [is expected](Preface::is_expected). Default: nothing. While the preface
    /// is awaited the connection is a [`Greeting`](crate::Stage::Greeting).
    pub preface: Option<Arc<dyn Preface>>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: 4096,
            reuse_port: false,
            notsent_lowat: Some(16 << 10),
            socket_mode: None,
            socket_group: None,
            preface: None,
        }
    }
}
