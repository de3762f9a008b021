//! The files of a trial: opened, written out in full before they are read, and known again by later
//! trials in the same directory.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;

use loadline_schema::storage::{CacheState, DataShape, IoLoad, SyncMode};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::failure::{What, in_words};
use super::memory::Buffers;
use super::pattern::Pattern;
use super::permutation::random;
use super::setup::Setup;
use crate::{Trial, TrialError, page_cache};

/// Bytes of a write when files are laid out.
const LAYOUT_BYTES: u64 = 4 << 20;
/// Files count as cached when more than this share of them is in the page cache.
const CACHED_SHARE: f64 = 0.01;

/// How much of a file is written out from its beginning, by the file's path, and in what shape.
/// Length alone does not tell: a file that was written at random has holes.
static WRITTEN: Mutex<Option<HashMap<PathBuf, (u64, DataShape)>>> = Mutex::new(None);

fn with_written<T>(use_it: impl FnOnce(&mut HashMap<PathBuf, (u64, DataShape)>) -> T) -> T {
    let mut written = match WRITTEN.lock() {
        Ok(written) => written,
        Err(poisoned) => poisoned.into_inner(),
    };
    use_it(written.get_or_insert_default())
}

/// The files of a trial, ready.
pub(super) struct Files {
    /// Each with its path.
    pub(super) open: Vec<(OwnedFd, String)>,
    /// Whether they are open with O_DIRECT.
    pub(super) direct: bool,
    /// Why not, where it was asked for.
    pub(super) direct_note: Option<String>,
    /// What is known of caches before the first I/O.
    pub(super) cache: CacheState,
}

fn failed(message: String) -> TrialError {
    TrialError { message }
}

/// The name of a job's file.
fn name(job: u32) -> String {
    format!("job-{job}")
}

/// Makes the files of a trial ready; `None` when the user stopped it meanwhile.
///
/// # Errors
/// The system says no, or the budget does not suffice.
pub(super) fn prepare(
    trial: &Trial<'_>,
    load: &IoLoad,
    setup: &Setup,
) -> Result<Option<Files>, TrialError> {
    if let Some(path) = &load.special_file {
        return special(load, setup, path).map(Some);
    }
    if load.reads() && !lay_out(trial, load, setup)? {
        return Ok(None);
    }
    if load.reads() && trial.drop_caches {
        let advice = "run as root, or leave --drop-caches out";
        page_cache::drop_all()
            .map_err(|why| failed(format!("the page cache was not dropped: {why}; {advice}")))?;
    }
    let mut files = Files {
        open: Vec::new(),
        direct: setup.direct,
        direct_note: setup.direct_note.clone(),
        cache: CacheState { dropped: load.reads() && trial.drop_caches, ..CacheState::default() },
    };
    for job in 0..load.numjobs {
        let path = trial.dir.path().join(name(job)).display().to_string();
        let file = open(trial, load, job, &mut files)
            .map_err(|errno| failed(format!("cannot open {path}: {}", in_words(errno))))?;
        if !load.reads() {
            make_room(&file, setup.file_bytes).map_err(|errno| {
                failed(format!("cannot make room for {path}: {}", in_words(errno)))
            })?;
        }
        files.open.push((file, path));
    }
    look_at_cache(load, setup, &mut files);
    Ok(Some(files))
}

fn special(load: &IoLoad, setup: &Setup, path: &str) -> Result<Files, TrialError> {
    let open = || rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let files: Result<Vec<_>, Errno> =
        (0..load.numjobs).map(|_| Ok((open()?, path.to_owned()))).collect();
    let files =
        files.map_err(|errno| failed(format!("cannot open {path}: {}", in_words(errno))))?;
    let reason = Some(format!("{path} is read as it is"));
    let cache = CacheState { cached: true, reason, ..CacheState::default() };
    Ok(Files { open: files, direct: false, direct_note: setup.direct_note.clone(), cache })
}

/// Opens a job's file, made if need be; without O_DIRECT where the file system refuses it.
fn open(
    trial: &Trial<'_>,
    load: &IoLoad,
    job: u32,
    files: &mut Files,
) -> rustix::io::Result<OwnedFd> {
    let dsync = if load.sync == SyncMode::Dsync { OFlags::DSYNC } else { OFlags::empty() };
    loop {
        let direct = if files.direct { OFlags::DIRECT } else { OFlags::empty() };
        match open_or_make(trial, &name(job), dsync | direct) {
            Err(Errno::INVAL) if files.direct => {
                files.direct = false;
                let note = "the file system refuses to open files with O_DIRECT";
                files.direct_note = Some(note.to_owned());
                // All alike, or the result would be a mixture.
                for (number, (file, _)) in files.open.iter_mut().enumerate() {
                    *file = trial.dir.open_file(&name(number as u32), dsync)?;
                }
            }
            opened => return opened,
        }
    }
}

fn open_or_make(trial: &Trial<'_>, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match trial.dir.open_file(name, flags) {
        Err(Errno::NOENT) => {
            // A file that is new has nothing written, whatever had its name before.
            with_written(|written| written.remove(&trial.dir.path().join(name)));
            trial.dir.create_file(name, flags)
        }
        opened => opened,
    }
}

/// Room for a file that is to be written, as fio makes it: writes within the length of a file need
/// no lock of the whole file. Where the file system cannot, the length alone is set.
fn make_room(file: &OwnedFd, bytes: u64) -> rustix::io::Result<()> {
    if rustix::fs::fstat(file)?.st_size as u64 >= bytes {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => rustix::fs::ftruncate(file, bytes),
        made => made,
    }
}

/// Writes files out as far as they are not; `false` when the user stopped it.
fn lay_out(trial: &Trial<'_>, load: &IoLoad, setup: &Setup) -> Result<bool, TrialError> {
    let there: Vec<u64> = (0..load.numjobs).map(|job| written(trial, load, job)).collect();
    let missing: u64 = there.iter().map(|there| setup.file_bytes.saturating_sub(*there)).sum();
    if missing == 0 {
        return Ok(true);
    }
    if !trial.budget.take(missing) {
        return Err(failed(format!(
            "the files to read take {missing} bytes of writes, and only {} may still be written: \
             raise --max-write, or use a smaller size or fewer jobs",
            trial.budget.left()
        )));
    }
    let mut done = 0;
    for (job, there) in (0..).zip(there) {
        let laid = LayOut { trial, setup, shape: load.data, job, missing };
        if !laid.write(there, &mut done)? {
            trial.budget.give_back(missing - done);
            return Ok(false);
        }
    }
    Ok(true)
}

/// How much of a job's file is written out, in the shape that is asked for.
fn written(trial: &Trial<'_>, load: &IoLoad, job: u32) -> u64 {
    let path = trial.dir.path().join(name(job));
    let Some((bytes, shape)) = with_written(|written| written.get(&path).copied()) else {
        return 0;
    };
    let length = trial.dir.open_file(&name(job), OFlags::empty()).and_then(rustix::fs::fstat);
    let length = length.map_or(0, |stat| stat.st_size as u64);
    if shape == load.data { bytes.min(length) } else { 0 }
}

/// Notes that a job's file was written from its beginning by a trial, so far at least.
pub(super) fn note_written(trial: &Trial<'_>, load: &IoLoad, job: u32, bytes: u64) {
    with_written(|written| {
        let known = written.entry(trial.dir.path().join(name(job))).or_insert((0, load.data));
        if known.1 == load.data {
            known.0 = known.0.max(bytes);
        } else if bytes >= known.0 {
            *known = (bytes, load.data);
        }
    });
}

struct LayOut<'a> {
    trial: &'a Trial<'a>,
    setup: &'a Setup,
    shape: DataShape,
    job: u32,
    missing: u64,
}

impl LayOut<'_> {
    /// Writes a file from `from` on; `false` when the user stopped it.
    fn write(&self, from: u64, done: &mut u64) -> Result<bool, TrialError> {
        let end = self.setup.file_bytes;
        if from >= end {
            return Ok(true);
        }
        let path = self.trial.dir.path().join(name(self.job)).display().to_string();
        let file = self
            .open(from)
            .map_err(|errno| failed(format!("cannot open {path}: {}", in_words(errno))))?;
        let seed = random(self.trial.seed, u64::from(self.job));
        let pattern = Pattern::new(LAYOUT_BYTES as usize, self.shape, self.trial.seed);
        let pattern = pattern.with_key(random(seed, 5));
        let mut buffers = Buffers::new(1, LAYOUT_BYTES as usize, 4096)
            .map_err(|errno| failed(format!("no memory to lay out {path}: {errno}")))?;
        let buffer = buffers.buffer(0);
        pattern.prefill(buffer);
        let mut at = from;
        while at < end {
            if self.trial.is_stopped() {
                return Ok(false);
            }
            self.trial.report.doing("laying out files", Some(*done as f64 / self.missing as f64));
            let bytes = LAYOUT_BYTES.min(end - at);
            let block = at / LAYOUT_BYTES;
            pattern.fill(buffer, pattern.content(block, block));
            let what = What {
                direction: loadline_schema::storage::Direction::Write,
                bytes,
                offset: at,
                path: &path,
            };
            let moved = rustix::io::pwrite(&file, &buffer[..bytes as usize], at)
                .map_err(|errno| failed(what.failed(errno).message))?;
            if moved as u64 != bytes {
                return Err(failed(what.short(moved as u64).message));
            }
            at += bytes;
            *done += bytes;
            self.trial.ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.trial.ended_bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        }
        rustix::fs::fsync(&file)
            .map_err(|errno| failed(format!("fsync of {path} failed: {}", in_words(errno))))?;
        self.note();
        Ok(true)
    }

    fn note(&self) {
        let path = self.trial.dir.path().join(name(self.job));
        let bytes = self.setup.file_bytes;
        with_written(|written| written.insert(path, (bytes, self.shape)));
    }

    /// Past the page cache where that works: what is laid out shall not be in memory when it is
    /// read, nor push other things out of it.
    fn open(&self, from: u64) -> rustix::io::Result<OwnedFd> {
        let facts = self.trial.direct();
        let align = u64::from(facts.offset_align.max(1));
        let fits = from.is_multiple_of(align) && self.setup.file_bytes.is_multiple_of(align);
        if facts.supported && fits {
            match open_or_make(self.trial, &name(self.job), OFlags::DIRECT) {
                Err(Errno::INVAL) => {}
                opened => return opened,
            }
        }
        open_or_make(self.trial, &name(self.job), OFlags::empty())
    }
}

/// Empties the page cache of the files before buffered I/O, as fio does (`invalidate`), and notes
/// what stayed.
fn look_at_cache(load: &IoLoad, setup: &Setup, files: &mut Files) {
    if files.direct {
        return;
    }
    let mut shares = Vec::new();
    for (file, _) in &files.open {
        // A file system that cannot do it is seen below, by what is resident.
        let _ = page_cache::evict(file);
        if load.reads() {
            shares.extend(page_cache::resident_share(file, setup.file_bytes));
        }
    }
    if shares.is_empty() {
        return;
    }
    let share = shares.iter().sum::<f64>() / shares.len() as f64;
    files.cache.resident_before = Some(share);
    if share > CACHED_SHARE {
        files.cache.cached = true;
        files.cache.reason = Some(format!(
            "{:.0} % of the files were in the page cache of this machine before the reads",
            100.0 * share
        ));
    }
}
