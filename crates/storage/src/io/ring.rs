//! The io_uring of a job: how it is made, and what must outlive it.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;

use io_uring::{Builder, IoUring};
use nix::libc::iovec;

use super::job::Job;
use super::memory::Buffers;

/// Most I/Os in flight that a ring takes: the kernel registers at most 16,384 buffers, and a mixed
/// load has two for each.
pub(super) const MOST_IN_FLIGHT: u32 = 8_192;

/// A ring with the best settings that the kernel knows. Completions that are handed over only when
/// this thread asks for them (6.1) spare interrupts of it; without the array of indices (6.6) there
/// is one cache line less for each I/O.
///
/// # Errors
/// The system refuses io_uring.
pub(super) fn build(entries: u32) -> io::Result<IoUring> {
    let settings: [fn(&mut Builder); 4] = [
        |ring| {
            ring.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
            ring.setup_no_sqarray();
        },
        |ring| {
            ring.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        },
        |ring| {
            ring.setup_coop_taskrun().setup_taskrun_flag();
        },
        |_| {},
    ];
    let mut refused = None;
    for set in settings {
        let mut builder = IoUring::builder();
        set(&mut builder);
        match builder.build(entries) {
            Ok(ring) => return Ok(ring),
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::from_raw_os_error(nix::libc::EINVAL)))
}

/// A ring and the memory that its I/Os use. While I/Os are in flight the kernel writes there: a rig
/// that is dropped with any in flight leaks its memory.
pub(super) struct Rig {
    /// The ring, of which the file is registered as number 0. Goes first.
    pub(super) ring: IoUring,
    /// A buffer for each slot; of a mixed load those for writes, then those for reads.
    pub(super) buffers: ManuallyDrop<Buffers>,
    /// Whether buffers are registered.
    pub(super) fixed: bool,
    /// I/Os in flight that use the buffers.
    pub(super) in_flight: usize,
}

impl Rig {
    /// A ring for so many I/Os in flight of a job; to be made by the thread that uses it.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) fn new(job: &Job, depth: u32, buffers: Buffers) -> io::Result<Self> {
        // One more for a sync, and one for the timer.
        let ring = build(depth + 2)?;
        ring.submitter().register_files(&[job.file.as_raw_fd()])?;
        let fixed = register(&ring, &buffers, job.bs() as usize);
        Ok(Self { ring, buffers: ManuallyDrop::new(buffers), fixed, in_flight: 0 })
    }
}

/// Registers buffers; `false` where the system does not allow it (the limit of locked memory, for
/// users other than root): I/Os work without, and cost a little more.
#[expect(unsafe_code, reason = "the kernel is told addresses")]
fn register(ring: &IoUring, buffers: &Buffers, length: usize) -> bool {
    let all: Vec<iovec> = (0..buffers.count())
        .map(|index| iovec { iov_base: buffers.pointer(index).cast(), iov_len: length })
        .collect();
    // SAFETY: the buffers are mapped, of this length, and Rig drops them after the ring, or never.
    unsafe { ring.submitter().register_buffers(&all) }.is_ok()
}

impl Drop for Rig {
    #[expect(unsafe_code, reason = "memory is freed only when the kernel has let go of it")]
    fn drop(&mut self) {
        if self.in_flight == 0 {
            // SAFETY: dropped once, here, and not used afterwards. No I/O is in flight; the kernel
            // holds pages of its own for registered buffers until the ring is gone.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        }
    }
}
