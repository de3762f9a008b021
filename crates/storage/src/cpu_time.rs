//! CPU time of this process.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// CPU time of all threads so far, ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// In user mode.
    pub(crate) user_ns: u64,
    /// In the kernel.
    pub(crate) system_ns: u64,
}

impl CpuTime {
    /// As of now; zero where the system does not tell.
    pub(crate) fn now() -> Self {
        getrusage(UsageWho::RUSAGE_SELF)
            .map(|usage| Self {
                user_ns: usage.user_time().num_nanoseconds().unsigned_abs(),
                system_ns: usage.system_time().num_nanoseconds().unsigned_abs(),
            })
            .unwrap_or_default()
    }

    /// What was used since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }
}
