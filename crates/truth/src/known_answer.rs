//! The error of a client, request by request: its rows matched with the truth by answer id.

use std::collections::HashMap;

use crate::record::{Outcome, TruthRecord};

/// What a client says about one request. Times are ns of CLOCK_REALTIME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// The `id` field of the answer's chunks.
    pub answer_id: String,
    /// When the client began to write the request.
    pub sent_ns: u64,
    /// When each token arrived; tokens of one event share a time.
    pub token_times_ns: Vec<u64>,
}

/// Signed errors, client minus server, of everything that could be matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Per request: the client's (first token − sent) minus the server's (first write − arrival),
    /// ns.
    pub ttft_ns: Vec<i64>,
    /// Per gap between neighbouring tokens, ns, of the requests whose token counts agree.
    pub gap_ns: Vec<i64>,
    /// Rows found in the log of completed answers.
    pub matched: usize,
    /// Answer ids of rows that the log does not have as completed.
    pub unknown_ids: Vec<String>,
    /// Completed answers of the log without a row.
    pub missing_ids: Vec<String>,
    /// Matched answers for which client and server counted different numbers of tokens: their
    /// gaps cannot be paired and are left out.
    pub token_mismatches: Vec<String>,
}

/// Statistics of absolute errors, ns; nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorSummary {
    /// Number of errors.
    pub n: usize,
    /// Median of |error|.
    pub p50_ns: u64,
    /// P99 of |error|.
    pub p99_ns: u64,
    /// Largest |error|.
    pub max_ns: u64,
}

impl Errors {
    /// The TTFT errors; `None` when no request was matched.
    pub fn ttft(&self) -> Option<ErrorSummary> {
        summary(&self.ttft_ns)
    }

    /// The gap errors; `None` when there were none to pair.
    pub fn gap(&self) -> Option<ErrorSummary> {
        summary(&self.gap_ns)
    }

    /// Whether every row has its record, every record its row, and all token counts agree.
    pub fn is_complete(&self) -> bool {
        self.unknown_ids.is_empty()
            && self.missing_ids.is_empty()
            && self.token_mismatches.is_empty()
    }
}

/// Nearest rank: the smallest of `sorted` with at least `share` (0 to 1) of all at or below it.
pub fn nearest_rank(sorted: &[u64], share: f64) -> Option<u64> {
    // 1e-9 keeps 0.07 × 100 = 7.000000000000001 at rank 7.
    let rank = (share * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).checked_sub(1)?).copied()
}

/// Summarises the absolute values of `errors_ns`; `None` when there are none.
pub fn summary(errors_ns: &[i64]) -> Option<ErrorSummary> {
    let mut sizes: Vec<u64> = errors_ns.iter().map(|error| error.unsigned_abs()).collect();
    sizes.sort_unstable();
    Some(ErrorSummary {
        n: sizes.len(),
        p50_ns: nearest_rank(&sizes, 0.5)?,
        p99_ns: nearest_rank(&sizes, 0.99)?,
        max_ns: *sizes.last()?,
    })
}

fn minus(left: u64, right: u64) -> i64 {
    left.wrapping_sub(right).cast_signed()
}

/// Matches `rows` with `log` by answer id. Gap errors need a log whose law keeps every write.
pub fn compare(rows: &[ClientRow], log: &[TruthRecord]) -> Errors {
    let completed = log.iter().filter(|record| record.outcome == Outcome::Completed);
    let mut open: HashMap<String, &TruthRecord> =
        completed.map(|record| (record.answer_id(), record)).collect();
    let mut errors = Errors::default();
    for row in rows {
        let Some(record) = open.remove(&row.answer_id) else {
            errors.unknown_ids.push(row.answer_id.clone());
            continue;
        };
        errors.matched += 1;
        if let (Some(first), Some(truth)) = (row.token_times_ns.first(), record.ttft_ns()) {
            errors.ttft_ns.push(minus(*first, row.sent_ns) - truth.cast_signed());
        }
        if row.token_times_ns.len() != record.tokens as usize {
            errors.token_mismatches.push(row.answer_id.clone());
            continue;
        }
        let truth = record.token_times_ns();
        let pairs = row.token_times_ns.windows(2).zip(truth.windows(2));
        errors.gap_ns.extend(
            pairs.map(|(client, server)| minus(client[1], client[0]) - minus(server[1], server[0])),
        );
    }
    errors.missing_ids = open.into_keys().collect();
    errors.missing_ids.sort_unstable();
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_follows_its_definition() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(nearest_rank(&values, 0.99), Some(99));
        assert_eq!(nearest_rank(&values, 0.07), Some(7));
        assert_eq!(nearest_rank(&values, 1.0), Some(100));
        assert_eq!(nearest_rank(&values, 0.0), Some(1));
        assert_eq!(nearest_rank(&[5, 6], 0.5), Some(5));
        assert_eq!(nearest_rank(&[], 0.5), None);
    }

    #[test]
    fn errors_are_client_minus_server_per_request() {
        let record = crate::record::example();
        let row = ClientRow {
            answer_id: record.answer_id(),
            sent_ns: 990,
            token_times_ns: vec![2_020, 2_020, 2_110, 2_110, 2_320],
        };
        let stranger = ClientRow { answer_id: "chatcmpl-x".to_owned(), ..row.clone() };
        let lost = TruthRecord { id: 7, ..record.clone() };
        let errors = compare(&[row, stranger], &[record, lost]);
        // Client: 2_020 − 990 = 1_030; server: 2_000 − 1_000 = 1_000.
        assert_eq!(errors.ttft_ns, [30]);
        assert_eq!(errors.gap_ns, [0, -10, 0, 10]);
        assert_eq!(errors.unknown_ids, ["chatcmpl-x"]);
        assert_eq!(errors.missing_ids, ["chatcmpl-0000000000000007"]);
        assert!(!errors.is_complete());
        let gaps = errors.gap().expect("gaps");
        assert_eq!((gaps.n, gaps.p50_ns, gaps.p99_ns, gaps.max_ns), (4, 0, 10, 10));
    }

    #[test]
    fn a_lost_token_is_a_mismatch_and_not_a_shifted_gap() {
        let record = crate::record::example();
        let row = ClientRow {
            answer_id: record.answer_id(),
            sent_ns: 1_000,
            token_times_ns: vec![2_000, 2_100],
        };
        let errors = compare(&[row], std::slice::from_ref(&record));
        assert_eq!(errors.ttft_ns, [0]);
        assert!(errors.gap_ns.is_empty());
        assert_eq!(errors.token_mismatches, [record.answer_id()]);
    }
}
