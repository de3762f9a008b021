//! The three ways to read.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use loadline_schema::storage::{Direction, IoEngine, LoadMethod};
use memmap2::{Mmap, MmapMut};
use rustix::io::{Errno, pread, retry_on_intr};

use super::parts::{self, Span};
use super::{Job, Pass, locked};
use crate::course::Halted;
use crate::ring_reader::{Ended, RingReader, Source, read_all_by_threads};

impl Job<'_> {
    /// Reads the part of one reader.
    pub(super) fn read_part(&self, rank: u32, part: &[Span]) -> Result<(), Halted> {
        match self.load.method {
            LoadMethod::Mmap => self.by_page_faults(rank, part),
            LoadMethod::Pread => self.by_pread(rank, &parts::joined(part)),
            LoadMethod::Direct => self.past_the_cache(rank, &parts::joined(part)),
        }
    }

    /// Tensor by tensor out of a mapping into a buffer, as for a copy to the GPU.
    fn by_page_faults(&self, rank: u32, part: &[Span]) -> Result<(), Halted> {
        let mut buffer = self.buffer()?;
        let mut mapped: Option<(usize, Mmap)> = None;
        for span in part {
            if mapped.as_ref().is_none_or(|(file, _)| *file != span.file) {
                mapped = Some((span.file, self.map(span.file)?));
            }
            let Some((_, map)) = &mapped else { continue };
            let mut at = span.offset;
            while at < span.offset + span.bytes {
                self.course.check()?;
                let bytes = self.load.bs_bytes.min(span.offset + span.bytes - at) as usize;
                let begun = self.trial.now_ns();
                let Some(piece) = map.get(at as usize..at as usize + bytes) else {
                    let missing = self.sizes[span.file] - at;
                    return Err(self.course.short("map", self.name(span.file), at, missing));
                };
                buffer[..bytes].copy_from_slice(piece);
                std::hint::black_box(&buffer);
                self.took(rank, span.file, (begun, self.trial.now_ns()), bytes as u64);
                at += bytes as u64;
            }
        }
        Ok(())
    }

    fn map(&self, file: usize) -> Result<Mmap, Halted> {
        let fd = self.open(file).map_err(|e| self.course.fail("open", self.name(file), e))?;
        // SAFETY: the file lies in a directory of ours and nothing of ours changes it. Were it
        // truncated by somebody else, or unreadable, the process would get SIGBUS and end.
        #[expect(unsafe_code, reason = "maps a file")]
        let map = unsafe { Mmap::map(&fd) };
        map.map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::NOMEM, Errno::from_raw_os_error);
            self.course.fail("map", self.name(file), errno)
        })
    }

    fn by_pread(&self, rank: u32, part: &[Span]) -> Result<(), Halted> {
        let mut buffer = self.buffer()?;
        let mut open: Option<(usize, OwnedFd)> = None;
        for span in part {
            let name = self.name(span.file);
            if open.as_ref().is_none_or(|(file, _)| *file != span.file) {
                let fd = self.open(span.file).map_err(|e| self.course.fail("open", name, e))?;
                open = Some((span.file, fd));
            }
            let Some((_, fd)) = &open else { continue };
            let mut at = span.offset;
            while at < span.offset + span.bytes {
                self.course.check()?;
                let bytes = self.load.bs_bytes.min(span.offset + span.bytes - at) as usize;
                let begun = self.trial.now_ns();
                let read = retry_on_intr(|| pread(fd, &mut buffer[..bytes], at));
                let times = (begun, self.trial.now_ns());
                match read {
                    Ok(bytes) if bytes > 0 => {
                        self.took(rank, span.file, times, bytes as u64);
                        at += bytes as u64;
                    }
                    other => {
                        self.log(rank).failed(Direction::Read, times.0, times.1);
                        return Err(match other {
                            Err(errno) => self.course.fail("read", name, errno),
                            Ok(_) => self.course.short("read", name, at, bytes as u64),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Several reads in flight, by io_uring or threads; through the page cache only where the file
    /// system takes no O_DIRECT.
    fn past_the_cache(&self, rank: u32, part: &[Span]) -> Result<(), Halted> {
        let blocks = parts::blocks(part, &self.sizes, self.load.bs_bytes, self.bypass.align);
        let source = Reader { job: self, rank };
        let bytes = self.load.bs_bytes as usize;
        let ring = match self.engine {
            IoEngine::IoUring => RingReader::new(self.load.iodepth, bytes),
            _ => Err(std::io::Error::other("not asked for")),
        };
        let result = match ring {
            Ok(ring) => {
                locked(&self.notes).extend(ring.note.clone());
                ring.read_all(&source, blocks).map(|unknown| self.log(rank).unknown(unknown))
            }
            Err(error) => {
                if self.engine == IoEngine::IoUring {
                    let note = format!("some readers used pread, since they got no ring: {error}");
                    locked(&self.notes).push(note);
                }
                read_all_by_threads(self.load.iodepth, bytes, &source, blocks)
            }
        };
        if let Err(error) = result {
            let errno = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
            return Err(self.course.fail("read several blocks at once of", "the model", errno));
        }
        self.course.check()
    }

    /// A buffer that begins at a page.
    fn buffer(&self) -> Result<MmapMut, Halted> {
        MmapMut::map_anon(self.load.bs_bytes as usize)
            .map_err(|_| self.course.fail("get memory to read", "the model", Errno::NOMEM))
    }

    fn open(&self, file: usize) -> rustix::io::Result<OwnedFd> {
        self.trial.dir.open_file(self.name(file), self.bypass.flags())
    }

    fn name(&self, file: usize) -> &str {
        &self.files[file].name
    }

    fn took(&self, rank: u32, file: usize, (start_ns, end_ns): (u64, u64), bytes: u64) {
        self.log(rank).io(Direction::Read, start_ns, end_ns, bytes);
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        let mut passes = locked(&self.passes);
        let pass = passes.entry((rank, file)).or_insert(Pass { start_ns, end_ns, bytes: 0 });
        pass.start_ns = pass.start_ns.min(start_ns);
        pass.end_ns = pass.end_ns.max(end_ns);
        pass.bytes += bytes;
    }
}

/// What the reads in flight of a rank tell.
struct Reader<'a, 'b> {
    job: &'a Job<'b>,
    rank: u32,
}

impl Source for Reader<'_, '_> {
    fn open(&self, file: usize) -> Result<OwnedFd, Errno> {
        self.job.trial.dir.open_file(self.job.name(file), self.job.bypass.flags())
    }

    fn goes_on(&self) -> bool {
        self.job.course.check().is_ok()
    }

    fn ended(&self, ended: Ended) {
        let since = |ns: u64| ns.wrapping_sub(self.job.trial.origin_ns);
        let times = (since(ended.start_ns), since(ended.end_ns));
        let (block, job) = (ended.block, self.job);
        if ended.is_whole() {
            job.took(self.rank, block.file, times, block.wanted);
            return;
        }
        job.log(self.rank).failed(Direction::Read, times.0, times.1);
        let name = job.name(block.file);
        match ended.result {
            Err(errno) => job.course.fail("read", name, errno),
            Ok(bytes) => {
                let missing = block.least.saturating_sub(bytes) as u64;
                job.course.short("read", name, block.offset + bytes as u64, missing)
            }
        };
    }
}
