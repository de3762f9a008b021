//! A trial as the client saw it, in the figures that a server's own can be held against.

use loadline_schema::outcome::Outcome;
use loadline_schema::plan::{Prompt, ServingStage};
use loadline_schema::record::{RequestRecord, TrialId};

use crate::input::TrialInput;
use crate::window::Window;

/// A figure that is known to lie between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// One trial, warm-up and drain included.
#[derive(Debug)]
pub(crate) struct ClientSide {
    pub(crate) id: TrialId,
    pub(crate) window: Option<Window>,
    /// Whether every started operation has a record.
    pub(crate) is_whole: bool,
    /// Output tokens of all requests; `None` where an answer did not tell.
    pub(crate) output: Option<Bounds>,
    /// Prompt tokens, likewise.
    pub(crate) prompt: Option<Bounds>,
    /// Σ (first token − sent), ns, and requests with a first token.
    pub(crate) ttft: (f64, u64),
    /// When requests were sent, ns, ascending.
    begins: Vec<u64>,
    /// When they ended, ns, ascending.
    ends: Vec<u64>,
}

impl ClientSide {
    pub(crate) fn of(stage: &ServingStage, trial: &TrialInput, window: Option<Window>) -> Self {
        let mut rows: Vec<&RequestRecord> =
            trial.rows.iter().map(|row| &row.record).filter(|r| r.trial == trial.id).collect();
        rows.sort_by_key(|record| record.op);
        rows.dedup_by_key(|record| record.op);
        let started = trial.starts.iter().filter(|start| start.trial == trial.id);
        let is_whole = started
            .into_iter()
            .all(|start| rows.binary_search_by_key(&start.op, |record| record.op).is_ok());
        let most_prompt = match &stage.prompt {
            Prompt::Synthetic { tokens, .. } => Some(tokens.most()),
            Prompt::File { .. } => None,
        };
        let most_output = stage.output.tokens.most();
        let output = bounds(&rows, |record| {
            let most = record.asked_tokens.map_or(most_output, f64::from);
            (record.output_tokens, Some(most))
        });
        let prompt = bounds(&rows, |record| (record.input_tokens, most_prompt));
        let first_token = |record: &&RequestRecord| {
            Some(record.first_token_ns?.saturating_sub(record.write_begin_ns?))
        };
        let firsts: Vec<u64> = rows.iter().filter_map(first_token).collect();
        let sent = || rows.iter().filter(|record| record.write_begin_ns.is_some());
        let mut begins: Vec<u64> = sent().filter_map(|record| record.write_begin_ns).collect();
        let mut ends: Vec<u64> = sent().map(|record| record.ended_ns).collect();
        begins.sort_unstable();
        ends.sort_unstable();
        let n = firsts.len() as u64;
        let sum: u128 = firsts.into_iter().map(u128::from).sum();
        let ttft = (sum as f64, n);
        Self { id: trial.id, window, is_whole, output, prompt, ttft, begins, ends }
    }

    /// Requests in flight at a moment: sent and not ended.
    pub(crate) fn in_flight(&self, at_ns: u64) -> u64 {
        let until = |times: &[u64]| times.partition_point(|time| *time <= at_ns);
        (until(&self.begins) - until(&self.ends)) as u64
    }
}

/// Tokens of answers that ended ok, and the most that the others may have had. `of` gives what a
/// record tells and the most that it can be.
fn bounds(
    rows: &[&RequestRecord],
    of: impl Fn(&RequestRecord) -> (Option<u32>, Option<f64>),
) -> Option<Bounds> {
    let mut sum = Bounds { low: 0.0, high: 0.0 };
    for record in rows.iter().filter(|record| record.write_begin_ns.is_some()) {
        let (told, most) = of(record);
        if record.outcome == Outcome::Ok {
            let tokens = f64::from(told?);
            (sum.low, sum.high) = (sum.low + tokens, sum.high + tokens);
        } else {
            sum.high += most?.max(told.map_or(0.0, f64::from));
        }
    }
    Some(sum)
}
