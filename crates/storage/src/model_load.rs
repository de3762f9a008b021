//! Reads the weights of a model as a server does when it starts: by page faults, pread or past the
//! page cache, by one or several readers of one or several ranks at once.
//!
//! The model's files are made once for each working directory and size, and stay for later trials.
//! A mapped file that is truncated or cannot be read ends the process with SIGBUS, as it ends a server
//! that loads weights this way; since the I/O runs in a child process, that costs the trial and not
//! the run.

mod files;
mod layout;
mod parts;
mod read;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use loadline_schema::storage::{
    CacheState, EndedBy, FileOp, FilePass, IoEngine, IoFailure, LoadMethod, ModelLoad, StorageTrial,
};

use self::layout::ModelFile;
use self::parts::Span;
use crate::at_once::at_once;
use crate::bypass::Bypass;
use crate::course::{Course, Halted, refusal};
use crate::cpu_time::CpuTime;
use crate::page_cache;
use crate::rank_log::RankLog;
use crate::ring_reader::RingReader;
use crate::{Trial, TrialError};

/// Lays the files out where they are not there, empties or fills the page cache, and loads.
pub(crate) fn run(trial: &Trial<'_>, load: &ModelLoad) -> Result<StorageTrial, TrialError> {
    check(load)?;
    let files = layout::files(load).map_err(|message| TrialError { message })?;
    let course = Course::new(trial);
    if files::lay_out(trial, &course, &files)? == Err(Halted) {
        return Ok(interrupted(trial, load, course.ended_by()));
    }
    let asked = load.method == LoadMethod::Direct;
    let bypass = Bypass::decide(asked, trial.direct(), load.bs_bytes);
    let Ok(cache) = prepare_cache(trial, load, &course, &files, bypass.on)? else {
        return Ok(interrupted(trial, load, course.ended_by()));
    };
    let job = Job::new(trial, load, files, course, bypass);
    let before = CpuTime::now();
    job.load_all()?;
    let cpu = CpuTime::now().since(before);
    Ok(job.finish(cache, cpu))
}

fn check(load: &ModelLoad) -> Result<(), TrialError> {
    let threads = u64::from(load.ranks) * u64::from(load.readers);
    let whole = load.ranks > 0 && load.readers > 0 && threads <= 65_535;
    if whole && load.bs_bytes > 0 && load.bs_bytes <= 1 << 30 && load.iodepth > 0 {
        return Ok(());
    }
    let message = format!(
        "a model is loaded by 1–65535 readers in blocks of 1 byte to 1 GiB with an iodepth of at \
         least 1, not by {} ranks of {} readers in blocks of {} bytes with iodepth {}",
        load.ranks, load.readers, load.bs_bytes, load.iodepth
    );
    Err(TrialError { message })
}

/// What the page cache holds at the begin: nothing for a cold start, all of it for a warm one.
fn prepare_cache(
    trial: &Trial<'_>,
    load: &ModelLoad,
    course: &Course<'_>,
    files: &[ModelFile],
    direct: bool,
) -> Result<Result<CacheState, Halted>, TrialError> {
    let names: Vec<(String, u64)> =
        files.iter().map(|file| (file.name.clone(), file.bytes)).collect();
    if load.cold {
        trial.report.doing("emptying the page cache", None);
        let cache = page_cache::make_cold(trial, &names, direct);
        let refused =
            |(file, errno): (String, _)| refusal(trial, "drop from the page cache", &file, errno);
        return cache.map(Ok).map_err(refused);
    }
    trial.report.doing("filling the page cache", None);
    for (name, bytes) in &names {
        let fd = trial.dir.open_file(name, rustix::fs::OFlags::empty());
        let fd = fd.map_err(|errno| refusal(trial, "open", name, errno))?;
        if page_cache::populate(trial, course, fd, name, *bytes).is_err() {
            return match course.ended_by() {
                (EndedBy::Failure, Some(failure)) => Err(TrialError { message: failure.message }),
                _ => Ok(Err(Halted)),
            };
        }
    }
    let memory = page_cache::in_memory(trial.facts);
    let warm = || "a warm start: all files were read right before".to_owned();
    let reason = memory.or_else(|| (!direct).then(warm));
    let resident_before = page_cache::resident_of(trial, &names);
    Ok(Ok(CacheState { cached: reason.is_some(), reason, resident_before, dropped: false }))
}

/// A pass over a file by one or several readers of a rank.
#[derive(Debug, Clone, Copy)]
struct Pass {
    start_ns: u64,
    end_ns: u64,
    bytes: u64,
}

/// One trial.
struct Job<'a> {
    trial: &'a Trial<'a>,
    load: &'a ModelLoad,
    files: Vec<ModelFile>,
    sizes: Vec<u64>,
    course: Course<'a>,
    bypass: Bypass,
    /// Of every reader, rank by rank.
    parts: Vec<Vec<Span>>,
    engine: IoEngine,
    notes: Mutex<Vec<String>>,
    measure_ns: u64,
    logs: Vec<Mutex<RankLog<'a>>>,
    passes: Mutex<BTreeMap<(u32, usize), Pass>>,
    moved: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Job<'a> {
    fn new(
        trial: &'a Trial<'a>,
        load: &'a ModelLoad,
        files: Vec<ModelFile>,
        course: Course<'a>,
        bypass: Bypass,
    ) -> Self {
        let of_rank = |rank| parts::dealt(&parts::of_rank(&files, load, rank), load.readers);
        let parts = (0..load.ranks).flat_map(of_rank).collect();
        let sizes = files.iter().map(|file| file.bytes).collect();
        let mut notes = Vec::new();
        let engine = match load.method {
            LoadMethod::Direct => match RingReader::new(1, 4096) {
                Ok(_) => IoEngine::IoUring,
                Err(error) => {
                    notes.push(format!(
                        "the system refuses io_uring ({error}): pread by {} threads for each reader",
                        load.iodepth
                    ));
                    IoEngine::Psync
                }
            },
            LoadMethod::Mmap | LoadMethod::Pread => IoEngine::Psync,
        };
        let measure_ns = trial.now_ns();
        let log = |rank: u32| Mutex::new(RankLog::new(trial, rank as u16, measure_ns));
        Self {
            trial,
            load,
            files,
            sizes,
            course,
            bypass,
            parts,
            engine,
            notes: Mutex::new(notes),
            measure_ns,
            logs: (0..load.ranks).map(log).collect(),
            passes: Mutex::default(),
            moved: AtomicU64::new(0),
        }
    }

    fn load_all(&self) -> Result<(), TrialError> {
        let total = self.load.bytes.max(1) as f64;
        let tell = || {
            let share = self.moved.load(Ordering::Relaxed) as f64 / total;
            self.trial.report.doing("loading", Some(share.min(1.0)));
        };
        tell();
        let work = |reader: u32| {
            let rank = reader / self.load.readers;
            let before = loadline_clock::thread_cpu_ns();
            // Why it halted is known to the course.
            let _halted = self.read_part(rank, &self.parts[reader as usize]);
            let cpu = loadline_clock::thread_cpu_ns().saturating_sub(before);
            self.log(rank).cpu(cpu);
        };
        at_once(self.load.ranks * self.load.readers, work, tell)?;
        for log in &self.logs {
            let mut log = locked(log);
            let last = log.end().last_ns;
            log.pause(last);
        }
        Ok(())
    }

    fn log(&self, rank: u32) -> MutexGuard<'_, RankLog<'a>> {
        locked(&self.logs[rank as usize])
    }

    /// Bytes that a rank wants of a file.
    fn wanted(&self) -> BTreeMap<(u32, usize), u64> {
        let mut wanted = BTreeMap::new();
        for (reader, part) in self.parts.iter().enumerate() {
            let rank = reader as u32 / self.load.readers;
            for span in part {
                *wanted.entry((rank, span.file)).or_insert(0) += span.bytes;
            }
        }
        wanted
    }

    fn finish(self, cache: CacheState, cpu: CpuTime) -> StorageTrial {
        let (ended_by, failure) = self.course.ended_by();
        let workers: Vec<_> = self.logs.iter().map(|log| locked(log).end()).collect();
        let (passes, wanted) = (locked(&self.passes), self.wanted());
        // A file that a rank did not get to the end of is no pass.
        let whole = passes.iter().filter(|(of, pass)| wanted.get(of) == Some(&pass.bytes));
        let pass = |((rank, file), pass): (&(u32, usize), &Pass)| FilePass {
            rank: *rank,
            op: FileOp::Load,
            file: self.files[*file].name.clone(),
            bytes: pass.bytes,
            start_ns: pass.start_ns,
            end_ns: pass.end_ns,
            fsync_ns: None,
        };
        let mut notes = locked(&self.notes).clone();
        notes.sort();
        notes.dedup();
        StorageTrial {
            end_ns: workers.iter().map(|end| end.last_ns).max().unwrap_or(self.measure_ns),
            ended_by,
            failure,
            engine: self.engine,
            engine_note: (!notes.is_empty()).then(|| notes.join("; ")),
            direct: self.bypass.on,
            direct_note: self.bypass.note.clone(),
            cache,
            workers,
            cpu_user_ns: cpu.user_ns,
            cpu_system_ns: cpu.system_ns,
            passes: whole.map(pass).collect(),
            ..nothing(self.measure_ns)
        }
    }
}

/// The trial where it ended before the first read.
fn interrupted(
    trial: &Trial<'_>,
    load: &ModelLoad,
    (ended_by, failure): (EndedBy, Option<IoFailure>),
) -> StorageTrial {
    let engine = match load.method {
        LoadMethod::Direct => IoEngine::IoUring,
        LoadMethod::Mmap | LoadMethod::Pread => IoEngine::Psync,
    };
    StorageTrial { ended_by, failure, engine, ..nothing(trial.now_ns()) }
}

/// A trial in which nothing was done.
fn nothing(now_ns: u64) -> StorageTrial {
    StorageTrial {
        start_ns: now_ns,
        measure_ns: now_ns,
        end_ns: now_ns,
        ended_by: EndedBy::Size,
        failure: None,
        engine: IoEngine::Psync,
        engine_note: None,
        direct: false,
        direct_note: None,
        cache: CacheState::default(),
        workers: Vec::new(),
        cpu_user_ns: 0,
        cpu_system_ns: 0,
        lateness: None,
        verified: None,
        passes: Vec::new(),
        slow_left_out: 0,
        imported: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
