//! Reads of many blocks of files with several in flight: by io_uring with registered buffers, or by
//! threads with pread where the system refuses io_uring.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{io, thread};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use memmap2::MmapMut;
use rustix::io::{Errno, pread};

/// How long a wait for an end lasts before `goes_on` is asked again, ns.
const WAIT_NS: u64 = 100_000_000;
/// How long I/Os in flight are awaited after a stop, ns.
const PATIENCE_NS: u64 = 300_000_000;

/// Most reads in flight that a ring takes.
pub(crate) const MOST_IN_FLIGHT: u32 = 4096;

/// One read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// Index of the file.
    pub(crate) file: usize,
    /// Where it begins.
    pub(crate) offset: u64,
    /// Bytes that are asked for.
    pub(crate) bytes: usize,
    /// Bytes that must come; fewer than `bytes` at the end of a file.
    pub(crate) least: usize,
    /// Bytes of it that somebody wants; less where alignment widened it.
    pub(crate) wanted: u64,
}

/// A read that ended, well or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) block: Block,
    /// When it was handed over, on the monotonic clock, ns.
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Bytes that came.
    pub(crate) result: Result<usize, Errno>,
}

impl Ended {
    /// Whether all bytes came.
    pub(crate) fn is_whole(&self) -> bool {
        self.result.is_ok_and(|bytes| bytes >= self.block.least)
    }
}

/// What a reader needs from its caller, from any thread.
pub(crate) trait Source: Sync {
    /// Opens a file; an error ends the reading.
    fn open(&self, file: usize) -> Result<OwnedFd, Errno>;
    /// Whether to go on; `false` stays so.
    fn goes_on(&self) -> bool;
    /// Takes each end. After one that is not whole no further read begins.
    fn ended(&self, ended: Ended);
}

/// Opens the file of each block once as long as the blocks stay in it.
struct Open<'a, S: Source + ?Sized> {
    source: &'a S,
    current: Option<(usize, Rc<OwnedFd>)>,
}

impl<S: Source + ?Sized> Open<'_, S> {
    fn file(&mut self, file: usize) -> Result<Rc<OwnedFd>, Errno> {
        match &self.current {
            Some((current, fd)) if *current == file => Ok(fd.clone()),
            _ => {
                let fd = Rc::new(self.source.open(file)?);
                self.current = Some((file, fd.clone()));
                Ok(fd)
            }
        }
    }
}

/// An end that a failed open stands for.
fn not_opened(block: Block, errno: Errno) -> Ended {
    let now = loadline_clock::monotonic_ns();
    Ended { block, start_ns: now, end_ns: now, result: Err(errno) }
}

/// A read under way, perhaps with a part of its bytes.
struct Read {
    block: Block,
    start_ns: u64,
    /// Bytes that came so far.
    done: usize,
}

impl Read {
    fn begin(block: Block) -> Self {
        Self { block, start_ns: loadline_clock::monotonic_ns(), done: 0 }
    }

    /// Takes what a call moved; `None`: it goes on with what is left of the block. A file may come in
    /// pieces. Where one ends off the alignment that O_DIRECT asks for, the file has ended.
    fn came(&mut self, moved: Result<usize, Errno>, align: u64) -> Option<Result<usize, Errno>> {
        match moved {
            Err(Errno::INTR | Errno::AGAIN) => return None,
            Err(errno) => return Some(Err(errno)),
            Ok(bytes) => self.done += bytes,
        }
        let goes_on = self.done < self.block.least
            && moved != Ok(0)
            && (self.done as u64).is_multiple_of(align.max(1));
        (!goes_on).then_some(Ok(self.done))
    }

    fn ended(self, result: Result<usize, Errno>) -> Ended {
        let end_ns = loadline_clock::monotonic_ns();
        Ended { block: self.block, start_ns: self.start_ns, end_ns, result }
    }
}

/// A ring of its own for one thread.
pub(crate) struct RingReader {
    ring: IoUring,
    buffers: Option<MmapMut>,
    stride: usize,
    depth: usize,
    in_flight: usize,
    /// Why buffers are not registered with the kernel.
    pub(crate) note: Option<String>,
}

impl RingReader {
    /// A ring with so many reads of at most `bytes` in flight, from 1 to [`MOST_IN_FLIGHT`].
    ///
    /// # Errors
    /// The system refuses io_uring or lacks a feature of Linux 5.11, there is no memory, or `depth` is
    /// another one.
    pub(crate) fn new(depth: u32, bytes: usize) -> io::Result<Self> {
        if !(1..=MOST_IN_FLIGHT).contains(&depth) {
            let message = format!("{depth} reads in flight; from 1 to {MOST_IN_FLIGHT} can be");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let ring = IoUring::new(depth.next_power_of_two())?;
        if !ring.params().is_feature_ext_arg() {
            return Err(io::Error::other("io_uring of this kernel is older than Linux 5.11"));
        }
        let stride = bytes.max(1).next_multiple_of(rustix::param::page_size());
        let depth = depth as usize;
        let mut buffers = MmapMut::map_anon(stride * depth)?;
        let parts: Vec<libc::iovec> = buffers
            .chunks_mut(stride)
            .map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: stride })
            .collect();
        // SAFETY: the buffers outlive the ring: `Drop` keeps them mapped while reads are in flight,
        // and dropping the ring unregisters them.
        #[expect(unsafe_code, reason = "registers buffers with io_uring")]
        let registered = unsafe { ring.submitter().register_buffers(&parts) };
        let note = registered.err().map(|error| {
            format!("buffers could not be registered with io_uring: {error}; raise ulimit -l")
        });
        Ok(Self { ring, buffers: Some(buffers), stride, depth, in_flight: 0, note })
    }

    /// Reads all blocks, in their order, as many at a time as the ring is deep. A short read is
    /// continued where it ended on a multiple of `align`. Returns the number of reads whose end was
    /// not awaited after a stop.
    ///
    /// # Errors
    /// The ring itself failed; ends of reads go to the source.
    pub(crate) fn read_all(
        mut self,
        align: u64,
        source: &(impl Source + ?Sized),
        mut blocks: impl Iterator<Item = Block>,
    ) -> io::Result<u64> {
        let mut open = Open { source, current: None };
        let mut slots: Vec<Option<(Read, Rc<OwnedFd>)>> = (0..self.depth).map(|_| None).collect();
        let mut free: Vec<usize> = (0..self.depth).rev().collect();
        let (mut more, mut stopped_ns) = (true, None);
        loop {
            if stopped_ns.is_none() && !source.goes_on() {
                more = false;
                stopped_ns = Some(loadline_clock::monotonic_ns());
            }
            while more && let Some(slot) = free.pop() {
                let Some(block) = blocks.next() else {
                    free.push(slot);
                    more = false;
                    break;
                };
                match open.file(block.file) {
                    Ok(fd) => {
                        let read = Read::begin(block);
                        self.push(slot, &read, &fd)?;
                        slots[slot] = Some((read, fd));
                    }
                    Err(errno) => {
                        source.ended(not_opened(block, errno));
                        free.push(slot);
                        more = false;
                    }
                }
            }
            let waited = stopped_ns
                .map_or(0, |stopped| loadline_clock::monotonic_ns().saturating_sub(stopped));
            if self.in_flight == 0 || waited >= PATIENCE_NS {
                return Ok(self.in_flight as u64);
            }
            self.wait(WAIT_NS.min(PATIENCE_NS - waited))?;
            for (slot, moved) in self.reap() {
                let Some((mut read, fd)) = slots[slot].take() else { continue };
                if let Some(result) = read.came(moved, align) {
                    let ended = read.ended(result);
                    more &= ended.is_whole();
                    source.ended(ended);
                    free.push(slot);
                } else {
                    self.push(slot, &read, &fd)?;
                    slots[slot] = Some((read, fd));
                }
            }
        }
    }

    /// Makes ready what is left of a read.
    fn push(&mut self, slot: usize, read: &Read, fd: &OwnedFd) -> io::Result<()> {
        let Some(buffers) = self.buffers.as_mut() else {
            return Err(io::Error::other("the ring has no buffers"));
        };
        let end = read.block.bytes.min(self.stride);
        let part = &mut buffers[slot * self.stride..][read.done..end];
        let (at, length) = (part.as_mut_ptr(), part.len() as u32);
        let offset = read.block.offset + read.done as u64;
        let fd = Fd(fd.as_raw_fd());
        let entry = if self.note.is_none() {
            opcode::ReadFixed::new(fd, at, length, slot as u16).offset(offset).build()
        } else {
            opcode::Read::new(fd, at, length).offset(offset).build()
        };
        // SAFETY: the slot is free, so that nothing else reads into its part of the buffers; the
        // buffers stay mapped and the file stays open (the slot holds it) until the read has ended.
        #[expect(unsafe_code, reason = "hands a buffer to io_uring")]
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(slot as u64)) };
        pushed.map_err(io::Error::other)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Submits, and waits for an end, but not for long.
    fn wait(&mut self, ns: u64) -> io::Result<()> {
        let timeout = Timespec::from(std::time::Duration::from_nanos(ns));
        let args = SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn reap(&mut self) -> Vec<(usize, Result<usize, Errno>)> {
        let result = |code: i32| usize::try_from(code).map_err(|_| Errno::from_raw_os_error(-code));
        let ends =
            self.ring.completion().map(|end| (end.user_data() as usize, result(end.result())));
        let ends: Vec<_> = ends.collect();
        self.in_flight -= ends.len().min(self.in_flight);
        ends
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        // The kernel may still write into them: better lost than used for something else.
        if self.in_flight > 0 {
            std::mem::forget(self.buffers.take());
        }
    }
}

/// Reads a block in as many calls as it takes; each is told how many bytes came before.
fn read_block(
    block: Block,
    align: u64,
    mut call: impl FnMut(usize) -> Result<usize, Errno>,
) -> Ended {
    let mut read = Read::begin(block);
    loop {
        let moved = call(read.done);
        // A call that waits does not say so of a file: asked again at once it would spin.
        let again = moved == Err(Errno::AGAIN);
        let result = if again { Some(moved) } else { read.came(moved, align) };
        if let Some(result) = result {
            return read.ended(result);
        }
    }
}

/// The same with as many threads as reads shall be in flight, each with pread.
///
/// # Errors
/// The system gives no more threads or memory.
pub(crate) fn read_all_by_threads(
    depth: u32,
    bytes: usize,
    align: u64,
    source: &(impl Source + ?Sized),
    blocks: impl Iterator<Item = Block> + Send,
) -> io::Result<()> {
    let blocks = Mutex::new(blocks);
    let failed = AtomicBool::new(false);
    let next = || {
        let goes_on = source.goes_on() && !failed.load(Ordering::Relaxed);
        goes_on.then(|| blocks.lock().unwrap_or_else(PoisonError::into_inner).next()).flatten()
    };
    let work = || {
        let mut buffer = MmapMut::map_anon(bytes.max(1))?;
        let mut open = Open { source, current: None };
        while let Some(block) = next() {
            let ended = match open.file(block.file) {
                Ok(fd) => read_block(block, align, |done| {
                    pread(&fd, &mut buffer[done..block.bytes], block.offset + done as u64)
                }),
                Err(errno) => not_opened(block, errno),
            };
            failed.fetch_or(!ended.is_whole(), Ordering::Relaxed);
            source.ended(ended);
        }
        io::Result::Ok(())
    };
    thread::scope(|scope| {
        let mut started = Vec::new();
        for _ in 0..depth.max(1) {
            match thread::Builder::new().spawn_scoped(scope, work) {
                Ok(thread) => started.push(thread),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        started.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

#[cfg(test)]
mod tests;
