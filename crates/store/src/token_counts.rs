//! Output tokens that the server's `/tokenize` counted after a trial: they stand for the numbers of
//! chunks in its records, for whoever reads them.

use std::collections::{BTreeMap, HashMap};

use loadline_schema::event::{Event, EventKind};
use loadline_schema::outcome::TokenSource;
use loadline_schema::record::{RequestRecord, TrialId};

/// Output tokens by trial and operation.
#[derive(Debug, Default)]
pub(crate) struct TokenCounts(BTreeMap<TrialId, HashMap<u64, u32>>);

impl TokenCounts {
    /// The counts in an event log; of several for one operation the last.
    pub(crate) fn new(events: Vec<Event>) -> Self {
        let mut counts = Self::default();
        for event in events {
            if let EventKind::TokenCounts { trial, tokens } = event.kind {
                counts.0.entry(trial).or_default().extend(tokens);
            }
        }
        counts
    }

    /// Whether a record has a number of chunks where a count may be known.
    pub(crate) fn may_concern(record: &RequestRecord) -> bool {
        record.token_source == Some(TokenSource::Chunks)
    }

    /// Puts the count of a record in the place of its number of chunks.
    pub(crate) fn apply(&self, record: &mut RequestRecord) {
        let counted = self.0.get(&record.trial).and_then(|counts| counts.get(&record.op));
        if let Some(tokens) = counted
            && Self::may_concern(record)
        {
            record.output_tokens = Some(*tokens);
            record.token_source = Some(TokenSource::Tokenize);
        }
    }
}
