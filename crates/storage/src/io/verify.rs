//! Reads back what was written, and compares it byte by byte.

use loadline_schema::storage::{Direction, Verified};

use super::job::Job;
use super::ledger::Ledger;
use super::memory::Buffers;
use super::pattern::Pattern;
use crate::{Trial, page_cache};

/// Bytes that are read at once, if blocks are smaller.
const SPAN_BYTES: u64 = 1 << 20;

/// Compares all blocks of all jobs that are known to have been written.
pub(super) fn verify(trial: &Trial<'_>, jobs: &[Job], blocks: u64, direct: bool) -> Verified {
    let mut verified = Verified::default();
    let mut note = |job: &Job, offset: u64, result: Result<(), String>| {
        verified.blocks += 1;
        if let Err(wrong) = result {
            verified.bad += 1;
            let first = || format!("{}, offset {offset}: {wrong}", job.path);
            verified.first_bad.get_or_insert_with(first);
        }
    };
    for (number, job) in jobs.iter().enumerate() {
        let (Some(ledger), Some(pattern)) = (&job.ledger, &job.pattern) else { continue };
        if !direct {
            // What stays in memory is compared there: the first failure of eviction is its own
            // matter, and a file that cannot be synced has failed its fsync before.
            let _ = page_cache::evict(&job.file);
        }
        let share = |done: f64| (number as f64 + done) / jobs.len() as f64;
        let reader = Reader { trial, job, ledger, pattern, blocks };
        reader.read_all(&mut note, &|done| trial.report.doing("verifying", Some(share(done))));
        if trial.is_stopped() {
            break;
        }
    }
    verified
}

struct Reader<'a> {
    trial: &'a Trial<'a>,
    job: &'a Job,
    ledger: &'a Ledger,
    pattern: &'a Pattern,
    blocks: u64,
}

impl Reader<'_> {
    fn read_all(&self, note: &mut impl FnMut(&Job, u64, Result<(), String>), doing: &dyn Fn(f64)) {
        let bs = self.job.bs();
        let span = (SPAN_BYTES / bs).max(1);
        let mut buffers = match Buffers::new(1, (span * bs) as usize, 4096) {
            Ok(buffers) => buffers,
            Err(errno) => return note(self.job, 0, Err(format!("no memory to read it: {errno}"))),
        };
        let mut first = 0;
        while first < self.blocks && !self.trial.is_stopped() {
            let end = (first + span).min(self.blocks);
            let known: Vec<u64> =
                (first..end).filter(|block| self.ledger.is_known(*block)).collect();
            if !known.is_empty() {
                doing(first as f64 / self.blocks as f64);
                let buffer = &mut buffers.buffer(0)[..((end - first) * bs) as usize];
                self.compare(buffer, first, &known, note);
            }
            first = end;
        }
    }

    fn compare(
        &self,
        buffer: &mut [u8],
        first: u64,
        known: &[u64],
        note: &mut impl FnMut(&Job, u64, Result<(), String>),
    ) {
        let bs = self.job.bs();
        let (mut done, mut failure) = (0, None);
        while done < buffer.len() {
            let offset = first * bs + done as u64;
            match rustix::io::pread(&self.job.file, &mut buffer[done..], offset) {
                // A file may end within the span, where later blocks were never written.
                Ok(0) => break,
                Ok(moved) => done += moved,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    failure = Some(self.job.what(Direction::Read, offset).failed(errno).message);
                    break;
                }
            }
            self.trial.ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        for block in known {
            let at = ((block - first) * bs) as usize;
            let result = match buffer[..done].get(at..at + bs as usize) {
                Some(read) => self.ledger.check(*block, read, self.pattern),
                None => {
                    Err(failure.clone().unwrap_or_else(|| "the file ends before it".to_owned()))
                }
            };
            note(self.job, block * bs, result);
        }
    }
}
