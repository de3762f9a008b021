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
use rustix::io::{Errno, pread, retry_on_intr};

/// How long a wait for an end lasts before `go_on` is asked again, ns.
const WAIT_NS: u32 = 100_000_000;
/// How long I/Os in flight are awaited after a stop, ns.
const PATIENCE_NS: u64 = 300_000_000;

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
    /// Whether to go on.
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
    /// A ring with so many reads of at most `bytes` in flight.
    ///
    /// # Errors
    /// The system refuses io_uring or lacks a feature of Linux 5.11, or there is no memory.
    pub(crate) fn new(depth: u32, bytes: usize) -> io::Result<Self> {
        let depth = depth.clamp(1, 4096);
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

    /// Reads all blocks, in their order, as many at a time as the ring is deep. Returns the number of
    /// reads whose end was not awaited after a stop.
    ///
    /// # Errors
    /// The ring itself failed; ends of reads go to the source.
    pub(crate) fn read_all(
        mut self,
        source: &(impl Source + ?Sized),
        mut blocks: impl Iterator<Item = Block>,
    ) -> io::Result<u64> {
        let mut open = Open { source, current: None };
        let mut slots: Vec<Option<(Block, u64, Rc<OwnedFd>)>> = vec![None; self.depth];
        let mut free: Vec<usize> = (0..self.depth).rev().collect();
        let (mut more, mut stopped_ns) = (true, None);
        loop {
            if more && !source.goes_on() {
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
                        let start_ns = loadline_clock::monotonic_ns();
                        self.push(slot, &block, &fd)?;
                        slots[slot] = Some((block, start_ns, fd));
                    }
                    Err(errno) => {
                        source.ended(not_opened(block, errno));
                        free.push(slot);
                        more = false;
                    }
                }
            }
            if self.in_flight == 0 {
                return Ok(0);
            }
            self.wait()?;
            let now = loadline_clock::monotonic_ns();
            for (slot, result) in self.reap() {
                if let Some((block, start_ns, _)) = slots[slot].take() {
                    let ended = Ended { block, start_ns, end_ns: now, result };
                    more &= ended.is_whole();
                    source.ended(ended);
                }
                free.push(slot);
            }
            if stopped_ns.is_some_and(|stopped| now.saturating_sub(stopped) > PATIENCE_NS) {
                return Ok(self.in_flight as u64);
            }
        }
    }

    fn push(&mut self, slot: usize, block: &Block, fd: &OwnedFd) -> io::Result<()> {
        let Some(buffers) = self.buffers.as_mut() else {
            return Err(io::Error::other("the ring has no buffers"));
        };
        let part = &mut buffers[slot * self.stride..][..block.bytes.min(self.stride)];
        let (at, length) = (part.as_mut_ptr(), part.len() as u32);
        let fd = Fd(fd.as_raw_fd());
        let read = if self.note.is_none() {
            opcode::ReadFixed::new(fd, at, length, slot as u16).offset(block.offset).build()
        } else {
            opcode::Read::new(fd, at, length).offset(block.offset).build()
        };
        // SAFETY: the slot is free, so that nothing else reads into its part of the buffers; the
        // buffers stay mapped and the file stays open (the slot holds it) until the read has ended.
        #[expect(unsafe_code, reason = "hands a buffer to io_uring")]
        let pushed = unsafe { self.ring.submission().push(&read.user_data(slot as u64)) };
        pushed.map_err(io::Error::other)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Submits, and waits for an end, but not for long.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = Timespec::new().nsec(WAIT_NS);
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

/// The same with as many threads as reads shall be in flight, each with pread.
///
/// # Errors
/// The system gives no more threads or memory.
pub(crate) fn read_all_by_threads(
    depth: u32,
    bytes: usize,
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
            let start_ns = loadline_clock::monotonic_ns();
            let read = |fd: Rc<OwnedFd>| {
                retry_on_intr(|| pread(&fd, &mut buffer[..block.bytes], block.offset))
            };
            let result = open.file(block.file).and_then(read);
            let end_ns = loadline_clock::monotonic_ns();
            let ended = Ended { block, start_ns, end_ns, result };
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
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    /// A file, and what a reader told.
    struct Told {
        file: File,
        ends: Mutex<Vec<Ended>>,
        stop_after: usize,
    }

    impl Told {
        fn new(bytes: usize, stop_after: usize) -> Self {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&vec![1; bytes]).expect("written");
            Self { file, ends: Mutex::default(), stop_after }
        }

        fn ends(self) -> Vec<Ended> {
            self.ends.into_inner().expect("unharmed")
        }
    }

    impl Source for Told {
        fn open(&self, file: usize) -> Result<OwnedFd, Errno> {
            if file > 0 {
                return Err(Errno::NOENT);
            }
            Ok(self.file.try_clone().expect("cloned").into())
        }

        fn goes_on(&self) -> bool {
            self.ends.lock().expect("unharmed").len() < self.stop_after
        }

        fn ended(&self, ended: Ended) {
            assert!(ended.start_ns <= ended.end_ns);
            self.ends.lock().expect("unharmed").push(ended);
        }
    }

    fn blocks(count: u64) -> impl Iterator<Item = Block> + Send {
        let block = |n| Block { file: 0, offset: n * 4096, bytes: 4096, least: 4096, wanted: 4096 };
        (0..count).map(block)
    }

    /// By both ways, the ring only where the system allows it.
    fn by_both(make: impl Fn() -> Told, blocks: impl Fn() -> Vec<Block>) -> Vec<Vec<Ended>> {
        let mut all = Vec::new();
        let told = make();
        read_all_by_threads(3, 4096, &told, blocks().into_iter()).expect("threads");
        all.push(told.ends());
        if let Ok(ring) = RingReader::new(8, 4096) {
            let told = make();
            assert_eq!(ring.read_all(&told, blocks().into_iter()).expect("a ring"), 0);
            all.push(told.ends());
        }
        all
    }

    #[test]
    fn every_block_is_read_once() {
        for ends in by_both(|| Told::new(100 * 4096, 1000), || blocks(100).collect()) {
            let mut offsets: Vec<u64> = ends.iter().map(|ended| ended.block.offset).collect();
            offsets.sort_unstable();
            assert_eq!(offsets, (0..100).map(|n| n * 4096).collect::<Vec<u64>>());
            assert!(ends.iter().all(|ended| ended.result == Ok(4096)));
        }
    }

    #[test]
    fn the_end_of_a_file_may_be_less() {
        let tail = Block { file: 0, offset: 4096, bytes: 4096, least: 10, wanted: 10 };
        for ends in by_both(|| Told::new(4106, 1000), || vec![tail]) {
            assert!(ends.len() == 1 && ends[0].is_whole() && ends[0].result == Ok(10));
        }
    }

    #[test]
    fn nothing_begins_after_a_short_read_or_a_file_that_does_not_open() {
        for ends in by_both(|| Told::new(4096, 1000), || blocks(1000).collect()) {
            assert!(ends.iter().any(|ended| !ended.is_whole()));
            assert!(ends.len() < 100, "{}", ends.len());
        }
        let elsewhere = Block { file: 1, offset: 0, bytes: 1, least: 1, wanted: 1 };
        for ends in by_both(|| Told::new(4096, 1000), || vec![elsewhere; 50]) {
            assert!(ends.len() <= 3 && ends.iter().all(|e| e.result == Err(Errno::NOENT)));
        }
    }

    #[test]
    fn a_stop_is_obeyed() {
        for ends in by_both(|| Told::new(1000 * 4096, 20), || blocks(1000).collect()) {
            assert!((20..40).contains(&ends.len()), "{}", ends.len());
        }
    }
}
