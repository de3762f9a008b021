//! The process that does the I/O: requests from stdin, replies to stdout. It removes what it made
//! when its stdin closes, so that nothing is left when its parent is killed.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loadline_schema::storage::protocol::{Reply, Request};
use loadline_schema::storage::{
    FilesystemFacts, IoInterval, SlowIo, StorageLimits, StorageLoad, StorageTrial,
};

use crate::trial::{Report, Trial, TrialError, WriteBudget};
use crate::{DirError, Roots, WorkDir, check, find_leftovers, leftovers, look, remove_work_dir};

/// How often the parent hears that this process lives.
const BEAT: Duration = Duration::from_millis(500);

/// Requests that may wait: the parent sends one at a time.
const QUEUE: usize = 16;

/// What the threads of this process share.
struct Shared<W> {
    output: Mutex<W>,
    stop: AtomicBool,
    ended: AtomicU64,
    ended_bytes: AtomicU64,
    doing: Mutex<(&'static str, Option<f64>)>,
}

impl<W: Write> Shared<W> {
    fn reply(&self, reply: &Reply) {
        let mut line = serde_json::to_string(reply).expect("invariant: a reply has a JSON form");
        line.push('\n');
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let written = output.write_all(line.as_bytes()).and_then(|()| output.flush());
        if written.is_err() {
            // Nobody listens any more: what is under way ends, and everything is removed.
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl<W: Write + Send> Report for Shared<W> {
    fn interval(&self, row: IoInterval) {
        self.reply(&Reply::Interval(row));
    }

    fn slow(&self, row: SlowIo) {
        self.reply(&Reply::Slow(row));
    }

    fn doing(&self, what: &'static str, done: Option<f64>) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = (what, done);
    }
}

/// A working directory that is open.
struct Opened {
    dir: WorkDir,
    facts: FilesystemFacts,
    budget: WriteBudget,
    seed: u64,
    drop_caches: bool,
}

/// Serves requests until `input` ends or a `close` comes; then everything is removed.
pub fn child(input: impl BufRead + Send + 'static, output: impl Write + Send + 'static) {
    let shared = Arc::new(Shared {
        output: Mutex::new(output),
        stop: AtomicBool::new(false),
        ended: AtomicU64::new(0),
        ended_bytes: AtomicU64::new(0),
        doing: Mutex::new(("waiting", None)),
    });
    let (sender, requests) = sync_channel(QUEUE);
    let reader = Arc::clone(&shared);
    std::thread::spawn(move || read_requests(input, &sender, &reader.stop));
    let (over, beats) = sync_channel(1);
    let beating = Arc::clone(&shared);
    let beat = std::thread::spawn(move || beat(&beating, &beats));
    serve(&requests, &shared);
    drop(over);
    let _ = beat.join();
}

/// `stop` and the end of the input are obeyed at once, whatever is under way.
fn read_requests(input: impl BufRead, sender: &SyncSender<Request>, stop: &AtomicBool) {
    for line in input.lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Request::Stop) => stop.store(true, Ordering::Relaxed),
            Ok(request) => {
                if sender.send(request).is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    stop.store(true, Ordering::Relaxed);
}

/// Tells what is done, and how fast, twice a second.
fn beat<W: Write + Send>(shared: &Shared<W>, over: &Receiver<()>) {
    let mut last = (shared.ended_bytes.load(Ordering::Relaxed), loadline_clock::monotonic_ns());
    while over.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        let now = (shared.ended_bytes.load(Ordering::Relaxed), loadline_clock::monotonic_ns());
        let seconds = (now.1 - last.1).max(1) as f64 / 1e9;
        let (doing, done) = *shared.doing.lock().unwrap_or_else(PoisonError::into_inner);
        shared.reply(&Reply::Progress {
            doing: doing.to_owned(),
            ios: shared.ended.load(Ordering::Relaxed),
            done,
            bytes_per_s: (now.0 - last.0) as f64 / seconds,
        });
        last = now;
    }
}

fn serve<W: Write + Send>(requests: &Receiver<Request>, shared: &Shared<W>) {
    let mut opened: Option<Opened> = None;
    for request in requests {
        match request {
            Request::Open { remove: Some(path), .. } => {
                let removed = remove_work_dir(Path::new(&path));
                let why = removed.why.unwrap_or_default();
                let left = (!removed.removed).then(|| format!("{}: {why}", removed.path));
                shared.reply(&Reply::Closed { left: left.into_iter().collect() });
                return;
            }
            Request::Open { path, limits, file_bytes, seed, look_only, remove: None } => {
                let asked = Asked { path: &path, limits: &limits, file_bytes, seed, look_only };
                match open(&asked) {
                    Ok((reply, made)) => {
                        opened = made;
                        shared.reply(&reply);
                    }
                    Err(error) => shared.reply(&Reply::Refused { message: error.message }),
                }
            }
            Request::Measure { trial, cell, origin_ns } => {
                let measured = opened.as_ref().map(|opened| {
                    let trial = Trial {
                        id: trial,
                        origin_ns,
                        dir: &opened.dir,
                        facts: &opened.facts,
                        budget: &opened.budget,
                        stop: &shared.stop,
                        ended: &shared.ended,
                        ended_bytes: &shared.ended_bytes,
                        report: shared,
                        // Every trial has its own data and its own offsets.
                        seed: opened.seed ^ (u64::from(trial.trial) << 32 | u64::from(trial.point)),
                        drop_caches: opened.drop_caches,
                    };
                    carry_out(&trial, &cell.load)
                });
                shared.doing("waiting", None);
                shared.reply(&match measured {
                    Some(Ok(measured)) => Reply::Trial { trial, measured: Box::new(measured) },
                    Some(Err(error)) => Reply::Failed { message: error.message },
                    None => Reply::Failed { message: "no directory is open".to_owned() },
                });
            }
            Request::Stop => shared.stop.store(true, Ordering::Relaxed),
            Request::Close => break,
        }
    }
    shared.doing("removing files", None);
    let left = opened.map(|opened| opened.dir.remove()).unwrap_or_default();
    shared.reply(&Reply::Closed { left });
}

/// What is to be opened.
struct Asked<'a> {
    path: &'a str,
    limits: &'a StorageLimits,
    file_bytes: u64,
    seed: u64,
    look_only: bool,
}

fn open(asked: &Asked<'_>) -> Result<(Reply, Option<Opened>), DirError> {
    let (path, roots) = (Path::new(asked.path), Roots::default());
    // First, so that what they take is free again.
    let leftovers = if asked.look_only { find_leftovers(path) } else { leftovers(path) };
    // What a look finds may take the space that is needed: then the run itself says whether it fits.
    let is_final = !asked.look_only || leftovers.is_empty();
    check(path, asked.limits, if is_final { asked.file_bytes } else { 0 }, &roots)?;
    let mut facts = look(path, &roots)?;
    let mut opened = None;
    let mut work_dir = None;
    if !asked.look_only {
        let dir = WorkDir::create(path)?;
        facts.direct = dir.direct_io();
        work_dir = Some(dir.path().display().to_string());
        opened = Some(Opened {
            dir,
            facts: facts.clone(),
            budget: WriteBudget::new(asked.limits.max_write_bytes),
            seed: asked.seed,
            drop_caches: asked.limits.drop_caches,
        });
    }
    Ok((Reply::Opened { facts: Box::new(facts), work_dir, leftovers }, opened))
}

fn carry_out(trial: &Trial<'_>, load: &StorageLoad) -> Result<StorageTrial, TrialError> {
    match load {
        StorageLoad::Io(load) => crate::io::run(trial, load),
        StorageLoad::Checkpoint(load) => crate::checkpoint::run(trial, load),
        StorageLoad::ModelLoad(load) => crate::model_load::run(trial, load),
    }
}
