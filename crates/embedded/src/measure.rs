//! One cell measured trial by trial, number for number what llama-bench (one sequence) and
//! llama-batched-bench (several) measure: prompt processing and generation, each from a KV cache
//! that holds `context` tokens of each sequence.

use std::sync::Arc;

use loadline_schema::engine::{EngineCell, EngineTrial};

use crate::error::Error;
use crate::llama::{self, Batch, Context, ContextOptions, KvType, Model, Token};
use crate::machine::{self, Spent};
use crate::memory::{self, Roots};
use crate::random::Random;

/// Measures a cell and tells each trial as it ends.
pub(crate) fn measure(
    model: &Arc<Model>,
    cell: &EngineCell,
    trials: u32,
    roots: &Roots,
    mut tell: impl FnMut(u32, EngineTrial) -> Result<(), Error>,
) -> Result<(), Error> {
    let options = check(model, cell, trials)?;
    memory::context_fits(roots, model, &options, cell.gpu_layers)?;
    let context = Context::new(Arc::clone(model), options)?;
    let mut bench = Bench::new(context, cell);
    bench.fill()?;
    bench.warm_up()?;
    for index in 0..trials {
        tell(index, bench.trial(roots)?)?;
    }
    Ok(())
}

/// What the cell wants of a context, or why it cannot be measured.
fn check(model: &Model, cell: &EngineCell, trials: u32) -> Result<ContextOptions, Error> {
    let positive: [(&'static str, u32); 5] = [
        ("batch", cell.batch),
        ("threads", cell.threads),
        ("n_batch", cell.n_batch),
        ("n_ubatch", cell.n_ubatch),
        ("trials", trials),
    ];
    if let Some((setting, value)) = positive.into_iter().find(|(_, value)| *value == 0) {
        return Err(Error::setting(setting, value, "at least 1 is needed"));
    }
    if cell.prompt_tokens == 0 && cell.output_tokens == 0 {
        return Err(Error::setting("output_tokens", 0, "with prompt_tokens 0 nothing is measured"));
    }
    let most = llama::most_sequences();
    if cell.batch as usize > most {
        return Err(Error::setting("batch", cell.batch, format!("llama.cpp takes at most {most}")));
    }
    if cell.threads > llama::MOST_THREADS {
        let reason = format!("llama.cpp takes at most {}", llama::MOST_THREADS);
        return Err(Error::setting("threads", cell.threads, reason));
    }
    let timed = cell.prompt_tokens.max(cell.output_tokens);
    let needed = u64::from(cell.context) + u64::from(timed);
    let trained = model.trained_context();
    if trained > 0 && needed > trained {
        return Err(Error::Context { needed, trained });
    }
    let tokens = u32::try_from(needed)
        .map_err(|_| Error::setting("context", cell.context, "llama.cpp cannot count so far"))?;
    Ok(ContextOptions {
        sequences: cell.batch,
        tokens,
        n_batch: cell.n_batch,
        n_ubatch: cell.n_ubatch,
        n_outputs: 0,
        threads: cell.threads,
        flash_attention: cell.flash_attention,
        type_k: KvType::of_name("type_k", &cell.type_k)?,
        type_v: KvType::of_name("type_v", &cell.type_v)?,
    })
}

/// A context in which one cell is measured.
struct Bench {
    context: Context,
    cell: EngineCell,
    random: Random,
    batch: Batch,
    /// State of a sequence with its `context` tokens, where sequences cannot be cut back to them.
    filled: Option<Vec<u8>>,
}

impl Bench {
    fn new(context: Context, cell: &EngineCell) -> Self {
        Self {
            context,
            cell: cell.clone(),
            random: Random::new(1),
            batch: Batch::default(),
            filled: None,
        }
    }

    fn token(&mut self) -> Token {
        self.random.below(self.context.model().vocabulary_size()) as Token
    }

    /// Lists `count` random tokens of each of `sequences` from `position` on, one sequence after
    /// the other, with the logits of each sequence's last token, and, as llama-bench, of each
    /// call's last token where there is one sequence.
    fn list_prompt(&mut self, sequences: u32, position: u32, count: u32) {
        self.batch.clear();
        let each_call = self.context.n_batch();
        for sequence in 0..sequences {
            for index in 0..count {
                let token = self.token();
                let ends_call =
                    self.cell.batch == 1 && (index as usize + 1).is_multiple_of(each_call);
                let logits = index + 1 == count || ends_call;
                self.batch.add(token, position + index, sequence, logits);
            }
        }
    }

    /// Puts `context` tokens of each sequence into the KV cache: those of the first are computed,
    /// the others' are copies.
    fn fill(&mut self) -> Result<(), Error> {
        let context = self.cell.context;
        if context == 0 {
            return Ok(());
        }
        self.list_prompt(1, 0, context);
        self.context.decode(&self.batch)?;
        self.context.synchronize();
        if !self.context.model().can_cut_back() {
            self.filled = Some(self.context.save(0)?);
            return self.rewind();
        }
        for sequence in 1..self.cell.batch {
            self.context.copy(0, sequence);
        }
        // The copies are made by the next call: that must not be a timed one.
        self.generate(1, 1)?;
        self.rewind()
    }

    /// Back to `context` tokens of each sequence.
    fn rewind(&mut self) -> Result<(), Error> {
        if self.cell.context == 0 {
            self.context.clear();
            return Ok(());
        }
        if let Some(state) = &self.filled {
            self.context.clear();
            for sequence in 0..self.cell.batch {
                self.context.restore(sequence, state)?;
            }
            return Ok(());
        }
        for sequence in 0..self.cell.batch {
            if !self.context.remove(sequence, self.cell.context) {
                return Err(Error::State { sequence, done: "cut back" });
            }
        }
        Ok(())
    }

    /// `steps` steps of generation at the cell's context: one random token of each of `sequences`,
    /// its logits, and the end of the computation awaited.
    fn generate(&mut self, sequences: u32, steps: u32) -> Result<(), Error> {
        for step in 0..steps {
            self.batch.clear();
            for sequence in 0..sequences {
                let token = self.token();
                self.batch.add(token, self.cell.context + step, sequence, true);
            }
            self.context.decode(&self.batch)?;
            self.context.synchronize();
        }
        Ok(())
    }

    /// As llama-bench before its first trial: a prompt (of one sequence), one step.
    fn warm_up(&mut self) -> Result<(), Error> {
        if self.cell.prompt_tokens > 0 {
            self.list_prompt(1, self.cell.context, self.cell.prompt_tokens);
            self.context.decode(&self.batch)?;
            self.context.synchronize();
            self.rewind()?;
        }
        if self.cell.output_tokens > 0 {
            self.generate(self.cell.batch, 1)?;
        }
        self.rewind()
    }

    fn trial(&mut self, roots: &Roots) -> Result<EngineTrial, Error> {
        let sequences = self.cell.batch;
        let mut trial = EngineTrial::default();
        let mut spent = Spent::default();
        if self.cell.prompt_tokens > 0 {
            self.list_prompt(sequences, self.cell.context, self.cell.prompt_tokens);
            let part = machine::timed(&roots.proc, || {
                self.context.decode(&self.batch)?;
                self.context.synchronize();
                Ok::<(), Error>(())
            })?;
            trial.prompt_tokens = u64::from(sequences) * u64::from(self.cell.prompt_tokens);
            trial.prompt_ns = Some(part.wall_ns);
            spent.add(part);
            self.rewind()?;
        }
        if self.cell.output_tokens > 0 {
            let steps = self.cell.output_tokens;
            let part = machine::timed(&roots.proc, || self.generate(sequences, steps))?;
            trial.decode_tokens = u64::from(sequences) * u64::from(steps);
            trial.decode_ns = Some(part.wall_ns);
            spent.add(part);
            self.rewind()?;
        }
        trial.memory_bytes = machine::resident_bytes(&roots.proc);
        trial.cpu_ns = Some(spent.cpu_ns);
        if let Some((others, steal)) = spent.others() {
            trial.others_cpu = Some(others);
            trial.steal = Some(steal);
        }
        Ok(trial)
    }
}
