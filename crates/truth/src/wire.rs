//! Sockets and the clock: the few system calls that server and reader share.

use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// CLOCK_REALTIME in ns. Read here rather than through the client's clock crate: a yardstick must
/// not share the mistakes of what it measures.
pub(crate) fn realtime_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

/// A time-out for `epoll_pwait2`.
pub(crate) fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / SECOND_NS) as i64, tv_nsec: (ns % SECOND_NS) as _ }
}

/// Lets timers of this thread fire when they are due instead of up to 50 µs later.
pub(crate) fn sharpen_timers() {
    // Without it everything still works, later: a kernel that refuses is no reason to stop.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Asks the kernel to stamp what a socket receives. Sockets that cannot (unix) go without.
pub(crate) fn ask_for_stamps(socket: &impl AsFd) {
    let _ = setsockopt(&socket.as_fd(), sockopt::ReceiveTimestampns, &true);
}

/// One receive: what came and when the kernel had it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Bytes read; 0 means that the other side has closed.
    pub(crate) bytes: usize,
    /// Stamp of the last byte, ns of CLOCK_REALTIME, where the kernel gave one.
    pub(crate) stamp_ns: Option<u64>,
}

/// Reads once into `buffer`; `control` is room for the stamp and is reused.
pub(crate) fn receive(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    control: &mut [u8],
) -> Result<Received, nix::Error> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(control), MsgFlags::empty())?;
    let mut stamp_ns = None;
    if let Ok(messages) = message.cmsgs() {
        for part in messages {
            if let ControlMessageOwned::ScmTimestampns(stamp) = part {
                let ns = stamp.tv_sec() as u64 * SECOND_NS + stamp.tv_nsec() as u64;
                stamp_ns = (ns > 0).then_some(ns);
            }
        }
    }
    Ok(Received { bytes: message.bytes, stamp_ns })
}

/// Room for one control message with a time stamp.
pub(crate) fn control_buffer() -> Vec<u8> {
    nix::cmsg_space!(nix::sys::time::TimeSpec)
}
