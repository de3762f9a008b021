//! Saves a training checkpoint as its ranks do, all at once, and reads it back.
//!
//! Each rank makes its files new, one after the other, writes them in order and fsyncs each. With
//! O_DIRECT the last block of a file that is no multiple of the alignment is written through the page
//! cache, which the trial notes. The files are gone at the end of the trial.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use loadline_schema::storage::{
    CacheState, Checkpoint, CheckpointFile, Direction, FileOp, FilePass, IoEngine, StorageTrial,
};
use memmap2::MmapMut;
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::at_once::at_once;
use crate::bypass::Bypass;
use crate::course::{Course, Halted, refusal};
use crate::cpu_time::CpuTime;
use crate::page_cache;
use crate::pattern::{Pattern, tag, write_block};
use crate::rank_log::RankLog;
use crate::{Trial, TrialError};

/// Saves, and restores where asked for.
pub(crate) fn run(trial: &Trial<'_>, load: &Checkpoint) -> Result<StorageTrial, TrialError> {
    if load.ranks == 0 || load.ranks > u32::from(u16::MAX) || load.bs_bytes == 0 {
        let message = format!(
            "a checkpoint has 1–65535 ranks and blocks of at least 1 byte, not {} ranks and {} \
             bytes",
            load.ranks, load.bs_bytes
        );
        return Err(TrialError { message });
    }
    let files = load.files();
    remove(trial, &files).map_err(|(file, errno)| refusal(trial, "remove", &file, errno))?;
    let patterns = at_once(load.ranks, |rank| pattern_of(trial, load, rank), || {})?;
    let patterns: Result<Vec<_>, _> = patterns.into_iter().collect();
    let patterns = patterns.map_err(|error| TrialError {
        message: format!("no memory for the blocks of {} ranks: {error}; use fewer", load.ranks),
    })?;
    let job = Job::new(trial, load, files);
    let before = CpuTime::now();
    let result = job.save_and_restore(patterns);
    let cpu = CpuTime::now().since(before);
    if let Err((file, errno)) = remove(trial, &job.files) {
        job.course.fail("remove", &file, errno);
    }
    Ok(job.finish(result?, cpu))
}

/// The number that everything random of a rank comes from.
fn seed_of(trial: &Trial<'_>, rank: u32) -> u64 {
    let id = trial.id;
    tag(&[
        trial.seed,
        id.stage.into(),
        id.point.into(),
        id.trial.into(),
        id.part.into(),
        rank.into(),
    ])
}

fn pattern_of(trial: &Trial<'_>, load: &Checkpoint, rank: u32) -> std::io::Result<Mutex<Pattern>> {
    Pattern::new(seed_of(trial, rank), load.bs_bytes).map(Mutex::new)
}

/// Removes the files of a checkpoint; the error names the file.
fn remove(trial: &Trial<'_>, files: &[CheckpointFile]) -> Result<(), (String, Errno)> {
    files.iter().try_for_each(|file| {
        trial.dir.remove_file(&file.name).map_err(|errno| (file.name.clone(), errno))
    })
}

/// One trial.
struct Job<'a> {
    trial: &'a Trial<'a>,
    load: &'a Checkpoint,
    files: Vec<CheckpointFile>,
    course: Course<'a>,
    bypass: Bypass,
    tails_buffered: AtomicBool,
    measure_ns: u64,
    logs: Vec<Mutex<RankLog<'a>>>,
    passes: Mutex<Vec<FilePass>>,
    moved: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Job<'a> {
    fn new(trial: &'a Trial<'a>, load: &'a Checkpoint, files: Vec<CheckpointFile>) -> Self {
        let measure_ns = trial.now_ns();
        let log = |rank: u32| Mutex::new(RankLog::new(trial, rank as u16, measure_ns));
        Self {
            trial,
            load,
            files,
            course: Course::new(trial),
            bypass: Bypass::decide(load.direct, trial.direct(), load.bs_bytes),
            tails_buffered: AtomicBool::new(false),
            measure_ns,
            logs: (0..load.ranks).map(log).collect(),
            passes: Mutex::default(),
            moved: AtomicU64::new(0),
        }
    }

    /// What the caches were before the restore. The error is a lack of threads.
    fn save_and_restore(&self, patterns: Vec<Mutex<Pattern>>) -> Result<CacheState, TrialError> {
        self.together("saving", &|rank| self.save(rank, &mut locked(&patterns[rank as usize])))?;
        drop(patterns);
        let reason = page_cache::in_memory(self.trial.facts);
        let unread = CacheState { cached: reason.is_some(), reason, ..CacheState::default() };
        if !self.load.restore || self.course.check().is_err() {
            return Ok(unread);
        }
        self.trial.report.doing("emptying the page cache", None);
        let files: Vec<(String, u64)> =
            self.files.iter().map(|file| (file.name.clone(), file.bytes)).collect();
        match page_cache::make_cold(self.trial, &files, self.bypass.on) {
            Ok(cache) => {
                self.together("restoring", &|rank| self.restore(rank))?;
                Ok(cache)
            }
            Err((file, errno)) => {
                self.course.fail("drop from the page cache", &file, errno);
                Ok(unread)
            }
        }
    }

    /// Runs a part of the trial in all ranks at once.
    fn together(
        &self,
        what: &'static str,
        part: &(dyn Fn(u32) -> Result<(), Halted> + Sync),
    ) -> Result<(), TrialError> {
        self.moved.store(0, Ordering::Relaxed);
        let total = self.load.bytes().max(1) as f64;
        let tell = || {
            let share = self.moved.load(Ordering::Relaxed) as f64 / total;
            self.trial.report.doing(what, Some(share.min(1.0)));
        };
        tell();
        let rank = |rank: u32| {
            let before = loadline_clock::thread_cpu_ns();
            // Why it halted is known to the course.
            let _halted = part(rank);
            let mut log = self.log(rank);
            log.cpu(loadline_clock::thread_cpu_ns().saturating_sub(before));
            log.pause(self.trial.now_ns());
        };
        at_once(self.load.ranks, rank, tell)?;
        Ok(())
    }

    fn log(&self, rank: u32) -> MutexGuard<'_, RankLog<'a>> {
        locked(&self.logs[rank as usize])
    }

    fn files_of(&self, rank: u32) -> impl Iterator<Item = (usize, &CheckpointFile)> {
        self.files.iter().enumerate().filter(move |(_, file)| file.rank == rank)
    }

    fn save(&self, rank: u32, pattern: &mut Pattern) -> Result<(), Halted> {
        for (n, file) in self.files_of(rank) {
            self.course.check()?;
            if !self.trial.budget.take(file.bytes) {
                return Err(self.course.out_of_budget());
            }
            let mut written = 0;
            let tag = tag(&[seed_of(self.trial, rank), n as u64]);
            let saved = self.save_file(file, tag, pattern, &mut written);
            if let Err(halted) = saved {
                self.trial.budget.give_back(file.bytes - written);
                return Err(halted);
            }
        }
        Ok(())
    }

    fn save_file(
        &self,
        file: &CheckpointFile,
        tag: u64,
        pattern: &mut Pattern,
        written: &mut u64,
    ) -> Result<(), Halted> {
        let fail = |doing: &str, errno: Errno| self.course.fail(doing, &file.name, errno);
        let start_ns = self.trial.now_ns();
        let fd = self.trial.dir.create_file(&file.name, self.bypass.flags());
        let fd = fd.map_err(|errno| fail("make", errno))?;
        while *written < file.bytes {
            self.course.check()?;
            let bytes = self.load.bs_bytes.min(file.bytes - *written);
            if !bytes.is_multiple_of(self.bypass.align) {
                self.leave_direct(&fd).map_err(|errno| fail("write the end of", errno))?;
            }
            let block = pattern.next(tag, *written, bytes as usize);
            let begun = self.trial.now_ns();
            let result = write_block(&fd, block, *written);
            let ended = self.trial.now_ns();
            if result != Ok(block.len()) {
                self.log(file.rank).failed(Direction::Write, begun, ended);
                return Err(match result {
                    Err(errno) => fail("write", errno),
                    Ok(done) => {
                        self.course.short("write", &file.name, *written, bytes - done as u64)
                    }
                });
            }
            self.log(file.rank).io(Direction::Write, begun, ended, bytes);
            *written += bytes;
            self.moved.fetch_add(bytes, Ordering::Relaxed);
        }
        let begun = self.trial.now_ns();
        let synced = retry_on_intr(|| rustix::fs::fsync(&fd));
        let end_ns = self.trial.now_ns();
        if let Err(errno) = synced {
            self.log(file.rank).failed(Direction::Sync, begun, end_ns);
            return Err(fail("fsync", errno));
        }
        self.log(file.rank).io(Direction::Sync, begun, end_ns, 0);
        self.passed(FileOp::Save, file, (start_ns, end_ns), Some(end_ns - begun));
        Ok(())
    }

    /// The rest of this file goes through the page cache.
    fn leave_direct(&self, fd: &OwnedFd) -> rustix::io::Result<()> {
        self.tails_buffered.store(true, Ordering::Relaxed);
        fcntl_setfl(fd, fcntl_getfl(fd)? - OFlags::DIRECT)
    }

    fn restore(&self, rank: u32) -> Result<(), Halted> {
        let bytes = usize::try_from(self.load.bs_bytes).unwrap_or(usize::MAX);
        // A mapping begins at a page, as O_DIRECT wants it.
        let mut buffer = MmapMut::map_anon(bytes)
            .map_err(|_| self.course.fail("get memory to read", "files", Errno::NOMEM))?;
        for (_, file) in self.files_of(rank) {
            self.course.check()?;
            self.restore_file(file, &mut buffer)?;
        }
        Ok(())
    }

    fn restore_file(&self, file: &CheckpointFile, buffer: &mut [u8]) -> Result<(), Halted> {
        let start_ns = self.trial.now_ns();
        let fd = self.trial.dir.open_file(&file.name, self.bypass.flags());
        let fd = fd.map_err(|errno| self.course.fail("open", &file.name, errno))?;
        let (mut at, mut end_ns) = (0, start_ns);
        while at < file.bytes {
            self.course.check()?;
            let begun = self.trial.now_ns();
            let read = retry_on_intr(|| pread(&fd, &mut *buffer, at));
            end_ns = self.trial.now_ns();
            match read {
                Ok(bytes) if bytes > 0 => {
                    self.log(file.rank).io(Direction::Read, begun, end_ns, bytes as u64);
                    at += bytes as u64;
                    self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
                }
                other => {
                    self.log(file.rank).failed(Direction::Read, begun, end_ns);
                    return Err(match other {
                        Err(errno) => self.course.fail("read", &file.name, errno),
                        Ok(_) => self.course.short("read", &file.name, at, file.bytes - at),
                    });
                }
            }
        }
        self.passed(FileOp::Restore, file, (start_ns, end_ns), None);
        Ok(())
    }

    fn passed(&self, op: FileOp, file: &CheckpointFile, span: (u64, u64), fsync_ns: Option<u64>) {
        locked(&self.passes).push(FilePass {
            rank: file.rank,
            op,
            file: file.name.clone(),
            bytes: file.bytes,
            start_ns: span.0,
            end_ns: span.1,
            fsync_ns,
        });
    }

    fn finish(self, cache: CacheState, cpu: CpuTime) -> StorageTrial {
        let (ended_by, failure) = self.course.ended_by();
        let workers: Vec<_> = self.logs.iter().map(|log| locked(log).end()).collect();
        let last = workers.iter().map(|end| end.last_ns).max();
        let tails = "the end of each file that is no multiple of O_DIRECT's alignment went through \
                     the page cache";
        let tails = self.tails_buffered.into_inner().then(|| tails.to_owned());
        let mut passes = self.passes.into_inner().unwrap_or_else(PoisonError::into_inner);
        passes.sort_by_key(|pass| (pass.start_ns, pass.rank));
        StorageTrial {
            start_ns: self.measure_ns,
            measure_ns: self.measure_ns,
            end_ns: last.unwrap_or(self.measure_ns),
            ended_by,
            failure,
            engine: IoEngine::Psync,
            engine_note: None,
            direct: self.bypass.on,
            direct_note: self.bypass.note.or(tails),
            cache,
            workers,
            cpu_user_ns: cpu.user_ns,
            cpu_system_ns: cpu.system_ns,
            lateness: None,
            verified: None,
            passes,
            slow_left_out: 0,
            imported: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
