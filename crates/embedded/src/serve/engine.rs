//! The thread that computes: takes requests, runs one step of all of them at a time, and tells
//! each its tokens as they come.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};

use loadline_clock::monotonic_ns;
use tokio::sync::mpsc::Sender;

use super::reply::Usage;
use super::sampler::Sampler;
use super::slots::{Entry, Slots};
use super::text::{Text, Told};
use super::{ServeOptions, Shared};
use crate::error::Error;
use crate::llama::{Batch, Context, ContextOptions, Model, Token};
use crate::memory::{self, Roots};

/// A request on its way to the engine.
pub(super) struct Job {
    /// Tokens; not empty, all of them in the vocabulary.
    pub(super) prompt: Vec<Token>,
    pub(super) max_tokens: u32,
    pub(super) min_tokens: u32,
    pub(super) ignore_eos: bool,
    pub(super) sampler: Sampler,
    pub(super) stops: Vec<String>,
    /// When it came, on the monotonic clock in ns.
    pub(super) arrived_ns: u64,
    /// Where its tokens go: room for all of them; closed when the client has left.
    pub(super) events: Sender<Event>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// A stop string or a token that ends the text.
    Stop,
    /// `max_tokens`.
    Length,
}

impl Finish {
    /// As OpenAI names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// What the engine tells of a request.
#[derive(Debug)]
pub(super) enum Event {
    /// Text of one token, or of several whose text was held back; `usage`: all tokens so far.
    Text { text: String, usage: Usage },
    /// The end, with the text that was held back.
    Finished { text: String, finish: Finish, usage: Usage },
    /// The engine could not go on.
    Failed(String),
}

/// Loads the model, tells so, and works until nobody can ask any more.
pub(super) fn run(
    options: &ServeOptions,
    context: ContextOptions,
    shared: &Shared,
    jobs: &Receiver<Job>,
) -> Result<(), Error> {
    let roots = Roots::default();
    memory::model_fits(&roots, &options.model, options.gpu_layers)?;
    let model = Arc::new(Model::load(&options.model, options.mmap, options.gpu_layers)?);
    let (needed, trained) = (u64::from(options.context_per_slot), model.trained_context());
    if trained > 0 && needed > trained {
        return Err(Error::Context { needed, trained });
    }
    memory::context_fits(&roots, &model, &context, options.gpu_layers)?;
    let context = Context::new(Arc::clone(&model), context)?;
    let mut engine = Engine::new(context, shared);
    engine.warm_up()?;
    let _ = shared.loaded.set(model);
    while engine.take_jobs(jobs) {
        engine.step();
    }
    Ok(())
}

/// A request in the engine.
struct Running {
    job: Job,
    text: Text,
    usage: Usage,
    /// When its last token was told; 0: none yet.
    told_ns: u64,
}

/// The context with the requests that it computes.
struct Engine<'a> {
    context: Context,
    shared: &'a Shared,
    slots: Slots<Running>,
    batch: Batch,
    /// Tokens that end a text.
    ends: Vec<Token>,
}

impl<'a> Engine<'a> {
    fn new(context: Context, shared: &'a Shared) -> Self {
        let model = Arc::clone(context.model());
        let tokens = 0..model.vocabulary_size() as Token;
        let ends = tokens.filter(|token| model.is_end(*token)).collect();
        let slots = Slots::new(shared.parallel);
        Self { context, shared, slots, batch: Batch::default(), ends }
    }

    /// Reads the weights once, so that the first request does not.
    fn warm_up(&mut self) -> Result<(), Error> {
        self.batch.clear();
        self.batch.add(0, 0, 0, true);
        self.context.decode(&self.batch)?;
        self.context.synchronize();
        self.context.clear();
        Ok(())
    }

    /// Takes what was asked for, and waits for it where nothing else is to be done. False: nobody
    /// can ask any more, and nothing is left.
    fn take_jobs(&mut self, jobs: &Receiver<Job>) -> bool {
        let mut can_ask = true;
        if self.slots.running() + self.slots.waiting() == 0 {
            match jobs.recv() {
                Ok(job) => self.enqueue(job),
                Err(_) => return false,
            }
        }
        loop {
            match jobs.try_recv() {
                Ok(job) => self.enqueue(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    can_ask = false;
                    break;
                }
            }
        }
        can_ask || self.slots.running() + self.slots.waiting() > 0
    }

    fn enqueue(&mut self, mut job: Job) {
        let text = Text::new(std::mem::take(&mut job.stops), self.shared.every_token_visible);
        let prompt = std::mem::take(&mut job.prompt);
        let usage = Usage { prompt: prompt.len() as u32, completion: 0 };
        self.slots.enqueue(Running { job, text, usage, told_ns: 0 }, prompt);
    }

    /// One step of all running requests.
    fn step(&mut self) {
        self.drop_unwanted();
        let metrics = &self.shared.metrics;
        let now_ns = monotonic_ns();
        self.slots.admit(|running| {
            metrics.waiting.fetch_sub(1, Ordering::AcqRel);
            metrics.queued.observe(now_ns.saturating_sub(running.job.arrived_ns));
        });
        let entries = self.slots.plan(self.context.n_batch());
        self.show();
        if entries.is_empty() {
            return;
        }
        self.batch.clear();
        for entry in &entries {
            self.batch.add(entry.token, entry.position, entry.slot, entry.draws);
        }
        if let Err(error) = self.context.decode(&self.batch) {
            self.fail(&error.to_string());
            return;
        }
        self.slots.computed(&entries);
        for (index, entry) in entries.iter().enumerate() {
            if entry.draws {
                self.draw(index, *entry);
            }
        }
        self.show();
    }

    /// Puts the present numbers into the metrics.
    fn show(&self) {
        let metrics = &self.shared.metrics;
        metrics.running.store(self.slots.running() as u64, Ordering::Relaxed);
        metrics.held_tokens.store(self.slots.held() as u64, Ordering::Relaxed);
    }

    /// Frees the slots of clients that have left, and of all when the server must end.
    fn drop_unwanted(&mut self) {
        let end = self.shared.must_end_now();
        let waiting_ends = self.shared.is_ending();
        let taken = self.slots.take(|running| end || running.job.events.is_closed());
        for (slot, running) in taken {
            let message = "the server is shutting down";
            self.ended_early(slot, &running, message);
        }
        if waiting_ends && !end {
            self.end_waiting();
        }
    }

    /// While the server is ending, nobody who still waits gets a slot.
    fn end_waiting(&mut self) {
        let running = self.slots.running();
        let mut seen = 0;
        // Slots are looked at before the queue.
        let taken = self.slots.take(|_| {
            seen += 1;
            seen > running
        });
        for (slot, running) in taken {
            self.ended_early(slot, &running, "the server is shutting down");
        }
    }

    fn ended_early(&mut self, slot: Option<u32>, running: &Running, message: &str) {
        let metrics = &self.shared.metrics;
        match slot {
            Some(slot) => {
                self.context.remove(slot, 0);
            }
            None => {
                metrics.waiting.fetch_sub(1, Ordering::AcqRel);
            }
        }
        metrics.aborted.fetch_add(1, Ordering::Relaxed);
        let _ = running.job.events.try_send(Event::Failed(message.to_owned()));
    }

    /// Ends all running requests: their step could not be computed.
    fn fail(&mut self, message: &str) {
        for slot in 0..self.shared.parallel {
            if let Some(running) = self.slots.free(slot) {
                self.ended_early(Some(slot), &running, message);
            }
        }
        self.context.clear();
        self.show();
    }

    /// Draws the token after the batch's entry at `index`, and tells it.
    fn draw(&mut self, index: usize, entry: Entry) {
        let Some(running) = self.slots.request(entry.slot) else { return };
        let Some(logits) = self.context.logits(index) else { return };
        let no_end = running.job.ignore_eos || running.usage.completion < running.job.min_tokens;
        let banned: &[Token] = if no_end { &self.ends } else { &[] };
        let token = running.job.sampler.draw(logits, banned);
        running.usage.completion += 1;
        let model = self.context.model();
        let is_end = !running.job.ignore_eos && self.ends.contains(&token);
        let (text, stopped) = if is_end {
            (running.text.finish(), true)
        } else {
            match running.text.push(&model.piece(token)) {
                Told::Text(text) => (text, false),
                Told::Stopped(text) => (text, true),
            }
        };
        let full = running.usage.completion >= running.job.max_tokens;
        let finish = match (stopped, full) {
            (true, _) => Some(Finish::Stop),
            (false, true) => Some(Finish::Length),
            (false, false) => None,
        };
        observe(self.shared, running);
        let usage = running.usage;
        let Some(finish) = finish else {
            if !text.is_empty() {
                let _ = running.job.events.try_send(Event::Text { text, usage });
            }
            self.slots.drawn(entry.slot, token);
            return;
        };
        let text = text + &running.text.finish();
        let _ = running.job.events.try_send(Event::Finished { text, finish, usage });
        let metrics = &self.shared.metrics;
        metrics.whole.observe(running.told_ns.saturating_sub(running.job.arrived_ns));
        match finish {
            Finish::Stop => metrics.stopped.fetch_add(1, Ordering::Relaxed),
            Finish::Length => metrics.full_length.fetch_add(1, Ordering::Relaxed),
        };
        self.slots.free(entry.slot);
        self.context.remove(entry.slot, 0);
    }
}

/// Counts a token that is told now.
fn observe(shared: &Shared, running: &mut Running) {
    let metrics = &shared.metrics;
    let now_ns = monotonic_ns();
    if running.told_ns == 0 {
        metrics.first_token.observe(now_ns.saturating_sub(running.job.arrived_ns));
        metrics.prompt_tokens.fetch_add(u64::from(running.usage.prompt), Ordering::Relaxed);
    } else {
        metrics.between.observe(now_ns.saturating_sub(running.told_ns));
    }
    metrics.generation_tokens.fetch_add(1, Ordering::Relaxed);
    running.told_ns = now_ns;
}
