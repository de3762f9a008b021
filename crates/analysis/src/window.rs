//! The measure window of a trial, who belongs to its cohort, and how many tokens of an answer
//! arrived in it.

use loadline_schema::outcome::Phase;
use loadline_schema::plan::{Extent, Load, ServingStage};
use loadline_schema::record::{ChunkTimes, RequestRecord};

use crate::input::TrialInput;

/// Tokens are summed in millionths, so that sums are exact in any order.
pub(crate) const MICRO: u64 = 1_000_000;

/// A measure window, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    /// Whether `to_ns` belongs to it: by count it is the time of the last answer's end.
    pub(crate) closed: bool,
}

impl Window {
    pub(crate) fn length_ns(&self) -> u64 {
        self.to_ns - self.from_ns
    }

    pub(crate) fn contains(&self, at_ns: u64) -> bool {
        at_ns >= self.from_ns && (at_ns < self.to_ns || (self.closed && at_ns == self.to_ns))
    }

    /// The same window up to an earlier end, which does not belong to it.
    pub(crate) fn until(&self, to_ns: u64) -> Option<Self> {
        (to_ns > self.from_ns && to_ns < self.to_ns).then_some(Self {
            from_ns: self.from_ns,
            to_ns,
            closed: false,
        })
    }
}

/// How a trial's cohort is told from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cohort {
    /// By duration: intended in `[from, to)`.
    Intended(u64, u64),
    /// By count, or where the window is not known: the records of phase *measure*; operations
    /// without a record from the first such intended time on.
    Marked(Option<u64>),
}

impl Cohort {
    pub(crate) fn holds(&self, record: &RequestRecord) -> bool {
        match self {
            Self::Intended(from, to) => (*from..*to).contains(&record.intended_ns),
            Self::Marked(_) => record.phase == Phase::Measure,
        }
    }

    /// Whether an operation that left no record belongs to it.
    pub(crate) fn holds_unrecorded(&self, intended_ns: u64) -> bool {
        match self {
            Self::Intended(from, to) => (*from..*to).contains(&intended_ns),
            Self::Marked(from) => from.is_some_and(|from| intended_ns >= from),
        }
    }
}

/// What is known about a trial's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extents {
    /// The window in which events are counted; absent when the trial never reached it.
    pub(crate) window: Option<Window>,
    /// Who belongs to the cohort.
    pub(crate) cohort: Cohort,
    /// Whether the trial was bounded by count.
    pub(crate) by_count: bool,
}

/// Window and cohort of a trial.
///
/// By duration the window is the planned one; when the trial ended early it reaches to the last
/// thing known at most. By count: first intended to last `done` of the cohort. Where the client was
/// killed, from the start of the phase (or the cohort's first intended time) on.
pub(crate) fn extents(stage: &ServingStage, load: &Load, trial: &TrialInput) -> Extents {
    let planned_count =
        matches!(stage.extent, Extent::Requests { .. }) || matches!(load, Load::Burst { .. });
    let by_count = trial.end.as_ref().map_or(planned_count, |end| end.by_count);
    let measured = || trial.rows.iter().map(|r| &r.record).filter(|r| r.phase == Phase::Measure);
    let first = measured().map(|r| r.intended_ns).min();
    let marked = Cohort::Marked(trial.measure_from_ns.or(first));
    if by_count {
        let last = measured().filter_map(|r| r.done_ns).max();
        let last = last.or_else(|| measured().map(|r| r.ended_ns).max());
        let window = first.zip(last).and_then(|(from, to)| window(from, to, true));
        return Extents { window, cohort: marked, by_count };
    }
    let whole = match &trial.end {
        Some(end) => end.window,
        None => trial.measure_from_ns.or(first).zip(planned_length(stage)).map(|(f, l)| (f, f + l)),
    };
    let Some((from, to)) = whole else {
        return Extents { window: None, cohort: marked, by_count };
    };
    let ended_early = trial.end.as_ref().is_none_or(|end| end.ended_early.is_some());
    let reached = if ended_early { to.min(last_known_ns(trial)) } else { to };
    Extents { window: window(from, reached, false), cohort: Cohort::Intended(from, to), by_count }
}

fn window(from_ns: u64, to_ns: u64, closed: bool) -> Option<Window> {
    (to_ns > from_ns).then_some(Window { from_ns, to_ns, closed })
}

fn planned_length(stage: &ServingStage) -> Option<u64> {
    match stage.extent {
        Extent::Duration { duration_ns } => Some(duration_ns),
        Extent::Requests { .. } => None,
    }
}

/// The latest time that any record or start of the trial tells of.
fn last_known_ns(trial: &TrialInput) -> u64 {
    let ended = trial.rows.iter().map(|r| r.record.ended_ns);
    ended.chain(trial.starts.iter().map(|s| s.started_ns)).max().unwrap_or(0)
}

/// Output tokens of one answer that arrived in the window, in millionths.
///
/// With chunk times each token-bearing event has the tokens that the server told, scaled so that
/// they add up to the answer's count, or an even share of that count. Without chunk times the
/// tokens are spread evenly from the first to the last one. An answer without a count has a token
/// for each token-bearing event.
pub(crate) fn micro_tokens_within(
    record: &RequestRecord,
    chunks: Option<&ChunkTimes>,
    window: &Window,
) -> u64 {
    let Some(first) = record.first_token_ns else { return 0 };
    let tokens = u64::from(record.output_tokens.unwrap_or(record.token_chunks));
    let last = record.last_token_ns.unwrap_or(first);
    if window.contains(first) && window.contains(last) {
        return tokens * MICRO;
    }
    if last < window.from_ns || first > window.to_ns {
        return 0;
    }
    match chunks {
        Some(chunks) => share_of_events(chunks, first, tokens, window),
        None => MICRO * spread(first, last, tokens, window),
    }
}

fn share_of_events(chunks: &ChunkTimes, first_ns: u64, tokens: u64, window: &Window) -> u64 {
    let told: u64 = chunks.tokens.iter().map(|k| u64::from(*k)).sum();
    let (mut inside, mut all) = (0u64, 0u64);
    let mut at_100ns = first_ns / 100;
    for event in 0..=chunks.gaps_100ns.len() {
        if event > 0 {
            at_100ns += u64::from(chunks.gaps_100ns[event - 1]);
        }
        let weight = match chunks.tokens.get(event) {
            Some(k) if told > 0 => u64::from(*k),
            None if told > 0 => 0,
            _ => 1,
        };
        all += weight;
        // The first event has its full time; the others are known to 100 ns.
        let at = if event == 0 { first_ns } else { at_100ns * 100 };
        inside += if window.contains(at) { weight } else { 0 };
    }
    let whole = u128::from(tokens) * u128::from(MICRO) * u128::from(inside);
    (whole / u128::from(all.max(1))) as u64
}

/// Of `tokens` arrivals evenly from `first` to `last`, those in the window.
fn spread(first: u64, last: u64, tokens: u64, window: &Window) -> u64 {
    let length = u128::from(last.saturating_sub(first));
    if tokens < 2 || length == 0 {
        return if window.contains(last) { tokens } else { 0 };
    }
    let steps = u128::from(tokens - 1);
    // Arrival i is at first + length × i / steps: those before a time t have i < (t − first) × steps / length.
    let before = |t: u64| {
        let past = u128::from(t.saturating_sub(first)) * steps;
        past.div_ceil(length).min(u128::from(tokens)) as u64
    };
    let end = if window.closed { window.to_ns + 1 } else { window.to_ns };
    before(end) - before(window.from_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Window = Window { from_ns: 1_000, to_ns: 2_000, closed: false };

    #[test]
    fn a_window_by_count_holds_its_last_moment() {
        assert!(OPEN.contains(1_000) && !OPEN.contains(2_000));
        assert!(Window { closed: true, ..OPEN }.contains(2_000));
        assert_eq!(OPEN.until(2_000), None);
        assert_eq!(OPEN.until(1_500).expect("inside").length_ns(), 500);
    }

    #[test]
    fn events_count_by_their_own_time() {
        // Events at 900, 1000, 1900, 2000: two of four are inside; 8 tokens are 2 each.
        let mut chunks = ChunkTimes { gaps_100ns: vec![1, 9, 1], tokens: vec![], merged: vec![] };
        assert_eq!(share_of_events(&chunks, 900, 8, &OPEN), 4 * MICRO);
        // The server told 1, 2, 3 and 4 tokens: 5 inside. Its usage says 20: scaled to 10.
        chunks.tokens = vec![1, 2, 3, 4];
        assert_eq!(share_of_events(&chunks, 900, 10, &OPEN), 5 * MICRO);
        assert_eq!(share_of_events(&chunks, 900, 20, &OPEN), 10 * MICRO);
        // Counts for the first two events only: the rest has none. One of 1 + 2 lies before.
        chunks.tokens = vec![1, 2];
        assert_eq!(share_of_events(&chunks, 900, 9, &OPEN), 6 * MICRO);
        // The first event has its full time, though the others are floored to 100 ns.
        let window = Window { from_ns: 950, ..OPEN };
        let single = ChunkTimes { gaps_100ns: vec![20], ..ChunkTimes::default() };
        assert_eq!(share_of_events(&single, 960, 2, &window), MICRO);
        // Counts of zero tell nothing: even shares.
        chunks.tokens = vec![0, 0, 0, 0];
        assert_eq!(share_of_events(&chunks, 900, 8, &OPEN), 4 * MICRO);
    }

    #[test]
    fn without_chunk_times_tokens_are_spread() {
        // 11 tokens at 500, 700, 900, …, 2500: inside are 1100, 1300, 1500, 1700, 1900.
        assert_eq!(spread(500, 2_500, 11, &OPEN), 5);
        // 1000 and 2000: only the first lies in a half-open window, both in a closed one.
        assert_eq!(spread(1_000, 2_000, 2, &OPEN), 1);
        assert_eq!(spread(1_000, 2_000, 2, &Window { closed: true, ..OPEN }), 2);
        assert_eq!(spread(1_500, 1_500, 7, &OPEN), 7);
        assert_eq!(spread(2_500, 2_500, 7, &OPEN), 0);
    }
}
