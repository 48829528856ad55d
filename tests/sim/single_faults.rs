//! Every single fault: a fixed script of about two hundred calls, run again and again, each time with
//! one call failing with one of the errors that its manual page names. Exhaustive where seeds are
//! random: nothing dies, nobody is forgotten, and everything finishes.
//!
//! What the kernel could not say at that moment is left out: `EAGAIN` while bytes wait behind an end
//! that was announced, or while connections wait. An error that means that the descriptor is lost is
//! not: the program may have to live without a listener, but it lives.

use libc::c_int;

use crate::campaign::Tally;
use crate::libc_symbols::Call;
use crate::peers::{Ending, Plan};
use crate::schedule::{Schedule, Service};
use crate::simulation::{run, run_with};

/// Runs the script with each fault; reports what it finds.
pub(crate) fn run_all(tally: &Tally) {
    let schedule = script();
    let plain = run(&schedule);
    let mut runs = 0;
    for (at, call) in plain.order.iter().enumerate() {
        for errno in errnos_of(*call) {
            runs += 1;
            let outcome = run_with(&schedule, Some((at as u64, *errno)));
            tally.enter(&outcome);
            if let Some(what) = outcome.violation {
                let error = std::io::Error::from_raw_os_error(*errno);
                println!("violation, call {at} ({call:?}) failed with {error}: {what}");
                println!("{}", outcome.trace);
                tally.count_violation();
            }
        }
    }
    tally.enter(&plain);
    println!("every single fault: {} calls, {runs} faults", plain.order.len());
}

/// Four clients of an echo that dials for each of them: every kind of call is made.
fn script() -> Schedule {
    let mut schedule = Schedule::draw(0);
    let plan = Plan {
        starts_ms: 0,
        bytes: 300,
        piece: 80,
        reads: 1000,
        rests: 0,
        rest_ms: 0,
        urgent: 0,
        ending: Ending::HalfClose,
        rounds: 1,
    };
    let late = Plan { starts_ms: 20, ending: Ending::Reset, ..plan.clone() };
    schedule.service = Service::Dialler(1000);
    schedule.config = edgeloop::Config {
        read_budget: 64,
        output_limit: 1024,
        tick: std::time::Duration::from_millis(5),
        ..edgeloop::Config::default()
    };
    schedule.weather.delay = 0;
    schedule.weather.capacity_least = 100;
    schedule.weather.capacity_most = 100;
    schedule.rates = Default::default();
    schedule.plans = vec![plan.clone(), plan.clone(), Plan { bytes: 0, ..plan }, late];
    schedule.pace = 300;
    schedule.call_ns = 200;
    schedule.calls = u64::MAX;
    schedule.drains_after = None;
    schedule.is_unix = false;
    schedule.files_max = usize::MAX;
    schedule.backlog = 8;
    schedule
}

/// What the manual page of a call names, for sockets of this kind.
#[rustfmt::skip]
fn errnos_of(call: Call) -> &'static [c_int] {
    use libc::*;
    match call {
        Call::Accept4 => &[
            EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK,
            EOPNOTSUPP, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
            ENETUNREACH, ETIMEDOUT, ENOSR, ESOCKTNOSUPPORT, EPROTONOSUPPORT,
        ],
        Call::Bind => &[EACCES, EADDRINUSE, EBADF, EINVAL, ENOTSOCK, EADDRNOTAVAIL, EFAULT, ENOMEM],
        Call::Close => &[EINTR, EIO, ENOSPC, EDQUOT],
        Call::Connect => &[
            EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EALREADY, EBADF, ECONNREFUSED,
            EFAULT, EINTR, EISCONN, ENETUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT,
        ],
        Call::EpollCreate1 => &[EINVAL, EMFILE, ENFILE, ENOMEM],
        Call::EpollCtl => &[EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM],
        Call::EpollWait => &[EBADF, EFAULT, EINTR, EINVAL],
        Call::Eventfd => &[EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM],
        Call::Getpeername => &[EBADF, EFAULT, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK],
        Call::Getsockname => &[EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK],
        Call::Getsockopt | Call::Setsockopt => {
            &[EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, ENOBUFS, ENOMEM]
        }
        Call::Listen => &[EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP],
        Call::Read | Call::Recv | Call::Readv => &[
            EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, EFAULT, EINTR, EINVAL, EIO, ENOMEM, ENOTCONN,
            ENOTSOCK, ETIMEDOUT,
        ],
        Call::Send | Call::Writev => &[
            EACCES, EAGAIN, EALREADY, EBADF, ECONNRESET, EDESTADDRREQ, EFAULT, EINTR, EINVAL, EIO,
            EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE, ETIMEDOUT,
        ],
        Call::Shutdown => &[EBADF, EINVAL, ENOTCONN, ENOTSOCK, ENOBUFS],
        Call::Socket => {
            &[EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT]
        }
        // Of the eventfd.
        Call::Write => &[EINTR],
        Call::Fcntl | Call::Ioctl => &[],
    }
}
