//! Signals as things that are waited for, beside the time: Ctrl-C, SIGTERM, the end of a child.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::exit::Failure;

/// `si_code` of a signal that the kernel sent by itself, as a terminal's driver does on Ctrl-C.
const FROM_KERNEL: i32 = 0x80;

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// SIGINT or SIGTERM; from the terminal it went to the children as well.
    Stop { signal: Signal, from_terminal: bool },
    /// A child ended or stopped.
    Child,
}

/// Holds the signals back from their usual effect until dropped. Made before any thread, so that no
/// thread takes one in its own way.
pub(crate) struct Signals {
    set: SigSet,
    descriptor: SignalFd,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
            set.add(signal);
        }
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let failed = |error| Failure::internal(format!("signals cannot be waited for: {error}"));
        let descriptor = SignalFd::with_flags(&set, flags).map_err(failed)?;
        set.thread_block().map_err(failed)?;
        Ok(Self { set, descriptor })
    }

    /// Starts a command with the signals as they usually are, which a child would else inherit as
    /// held back. They stay held back here, so that none is missed meanwhile.
    pub(crate) fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        let set = self.set;
        #[expect(unsafe_code, reason = "the only way to change what a child inherits")]
        // SAFETY: between fork and exec this only calls pthread_sigmask, which is
        // async-signal-safe, and touches nothing of the parent.
        unsafe {
            command.pre_exec(move || set.thread_unblock().map_err(std::io::Error::from));
        }
        command.spawn()
    }

    /// Waits so long, or until something is heard.
    pub(crate) fn wait(&self, ns: u64) -> Option<Heard> {
        let wait =
            Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
        let mut ready = [PollFd::new(&self.descriptor, PollFlags::IN)];
        // Nothing, or another signal: the caller looks at the clock either way.
        let _ = poll(&mut ready, Some(&wait));
        let heard = self.descriptor.read_signal().ok().flatten()?;
        match Signal::try_from(heard.ssi_signo as i32) {
            Ok(Signal::SIGCHLD) | Err(_) => Some(Heard::Child),
            Ok(signal) => {
                Some(Heard::Stop { signal, from_terminal: heard.ssi_code == FROM_KERNEL })
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.set.thread_unblock();
    }
}
