//! The one writer of the run directory: a thread that takes batches from reactors and events from
//! the runner in the order in which they come.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use loadline_schema::event::{EndedEarly, Event};
use loadline_schema::outcome::Outcome;
use loadline_schema::record::RequestRow;
use loadline_schema::sample::Sample;
use loadline_schema::storage::{IoInterval, SlowIo};
use loadline_serving::trial::Stop;
use loadline_serving::{Batch, Sink};
use loadline_store::{RunWriter, StoreError};

/// Batches that may wait: with two a second from each reactor, seconds of a slow disk.
const QUEUE: usize = 64;
/// Of them, those of observers: the rest is the slack of the load.
const QUEUE_OF_SAMPLES: usize = 8;

enum Message {
    Batch(Batch),
    Event(Box<Event>),
    Io(Vec<IoInterval>, Vec<SlowIo>),
    Samples(Vec<Sample>),
    /// Nothing more comes, though an observer that is stuck may still hold its way here.
    End,
    /// Everything before this is written.
    Flush(SyncSender<()>),
}

/// What the writer saw go by, for live views and for the pace of the next trial.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    answers: AtomicU64,
    answer_ns_sum: AtomicU64,
    /// Prompt and output tokens of the whole part.
    tokens: AtomicU64,
    first_tokens: Mutex<Vec<u64>>,
    texts: Mutex<Vec<(u64, Box<str>)>>,
}

impl Seen {
    /// Forgets the last trial.
    pub(crate) fn reset(&self) {
        self.answers.store(0, Ordering::Relaxed);
        self.answer_ns_sum.store(0, Ordering::Relaxed);
        self.first_tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Mean time of an answer, ns.
    pub(crate) fn mean_answer_ns(&self) -> Option<u64> {
        let answers = self.answers.load(Ordering::Relaxed);
        self.answer_ns_sum.load(Ordering::Relaxed).checked_div(answers)
    }

    /// The texts kept since the last call, by operation.
    pub(crate) fn take_texts(&self) -> Vec<(u64, Box<str>)> {
        std::mem::take(&mut *self.texts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prompt and output tokens used so far in this part of the run.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Median time to first token of the last answers, ns.
    pub(crate) fn first_token_p50_ns(&self) -> Option<u64> {
        let mut times = self.first_tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if times.is_empty() {
            return None;
        }
        let middle = times.len() / 2;
        Some(*times.select_nth_unstable(middle).1)
    }

    /// Keeps texts up to a limit; answers beyond it stay counted by their chunks.
    fn keep_texts(&self, texts: Vec<(u64, Box<str>)>) {
        const MOST: usize = 20_000;
        let mut kept = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(kept.len());
        kept.extend(texts.into_iter().take(room));
    }

    fn take(&self, rows: &[RequestRow]) {
        const KEPT: usize = 256;
        let mut times = self.first_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        for record in rows.iter().map(|row| &row.record) {
            let used = record.input_tokens.unwrap_or(0) + record.output_tokens.unwrap_or(0);
            self.tokens.fetch_add(u64::from(used), Ordering::Relaxed);
            let (Some(sent), Outcome::Ok) = (record.write_begin_ns, record.outcome) else {
                continue;
            };
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.answer_ns_sum.fetch_add(record.ended_ns - sent, Ordering::Relaxed);
            if let Some(first) = record.first_token_ns {
                times.push(first - sent);
            }
        }
        let surplus = times.len().saturating_sub(KEPT);
        times.drain(..surplus);
    }
}

/// The writer's thread and the way to it.
pub(crate) struct Recorder {
    sender: SyncSender<Message>,
    thread: JoinHandle<(RunWriter, Option<StoreError>)>,
    pub(crate) seen: Arc<Seen>,
    /// Samples that wait.
    waiting: Arc<AtomicUsize>,
}

impl Recorder {
    /// Starts the thread. A failed write stops the run through `stop`.
    pub(crate) fn start(writer: RunWriter, stop: Arc<Stop>) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let seen = Arc::new(Seen::default());
        let watched = Arc::clone(&seen);
        let waiting = Arc::new(AtomicUsize::new(0));
        let queued = Arc::clone(&waiting);
        let thread =
            std::thread::spawn(move || write_all(writer, &receiver, &stop, &watched, &queued));
        Self { sender, thread, seen, waiting }
    }

    /// Appends an event after everything handed in so far.
    pub(crate) fn event(&self, event: &Event) {
        self.send(Message::Event(Box::new(event.clone())));
    }

    /// Appends rows of a storage trial.
    pub(crate) fn io(&self, intervals: Vec<IoInterval>, slow: Vec<SlowIo>) {
        if !intervals.is_empty() || !slow.is_empty() {
            self.send(Message::Io(intervals, slow));
        }
    }

    /// Waits until everything handed in so far is written.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        self.send(Message::Flush(done));
        // The thread answers each flush, also after a failed write.
        let _ = written.recv();
    }

    /// A sink for one reactor.
    pub(crate) fn sink(&self) -> QueueSink {
        QueueSink(self.sender.clone())
    }

    /// A way for one observer.
    pub(crate) fn samples(&self) -> SampleSink {
        SampleSink { sender: self.sender.clone(), waiting: Arc::clone(&self.waiting) }
    }

    /// Ends the thread once everything is written. Returns the writer and the first failure.
    pub(crate) fn finish(self) -> (RunWriter, Option<StoreError>) {
        self.send(Message::End);
        self.thread.join().expect("invariant: the writer's thread does not panic")
    }

    fn send(&self, message: Message) {
        self.sender.send(message).expect("invariant: the thread lives as long as its senders");
    }
}

/// Hands batches of one reactor to the writer's thread.
pub(crate) struct QueueSink(SyncSender<Message>);

impl Sink for QueueSink {
    fn batch(&mut self, batch: Batch) -> bool {
        match self.0.try_send(Message::Batch(batch)) {
            Ok(()) => false,
            Err(TrySendError::Full(message)) => {
                self.0.send(message).expect("invariant: the thread lives as long as its senders");
                true
            }
            Err(TrySendError::Disconnected(_)) => {
                unreachable!("invariant: the thread lives as long as its senders")
            }
        }
    }
}

/// Hands samples of one observer to the writer's thread.
#[derive(Clone)]
pub(crate) struct SampleSink {
    sender: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
}

impl SampleSink {
    /// Hands them over and returns how many there was no room for: records of the load go first.
    pub(crate) fn put(&self, samples: Vec<Sample>) -> u64 {
        let n = samples.len() as u64;
        if self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE_OF_SAMPLES
            && self.sender.try_send(Message::Samples(samples)).is_ok()
        {
            return 0;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        n
    }
}

fn write_all(
    mut writer: RunWriter,
    receiver: &Receiver<Message>,
    stop: &Stop,
    seen: &Seen,
    waiting: &AtomicUsize,
) -> (RunWriter, Option<StoreError>) {
    let mut failure = None;
    for message in receiver {
        if matches!(message, Message::Samples(_)) {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
        let result = match message {
            Message::Flush(done) => {
                let _ = done.send(());
                continue;
            }
            // Rows after a failed write would leave a hole before them: their starts are stored,
            // so that they count as unknown.
            Message::Batch(_) | Message::Io(..) | Message::Samples(_) if failure.is_some() => {
                continue;
            }
            Message::Batch(batch) => {
                seen.take(&batch.rows);
                seen.keep_texts(batch.texts);
                let starts = writer.append_starts(&batch.starts);
                starts.and_then(|()| writer.append_requests(&batch.rows))
            }
            Message::Io(intervals, slow) => {
                writer.append_intervals(&intervals).and_then(|()| writer.append_slow(&slow))
            }
            Message::End => break,
            Message::Samples(samples) => writer.append_samples(&samples),
            Message::Event(event) => writer.event(&event),
        };
        if let Err(error) = result
            && failure.is_none()
        {
            stop.stop(EndedEarly::StoreFailed);
            failure = Some(error);
        }
    }
    (writer, failure)
}
