//! What the bare reader found.

use crate::known_answer::{ClientRow, nearest_rank};

/// One read with tokens: its time after the request was sent and the events of the answer so
/// far, in one word, because a reading holds millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRead(u64);

const EVENT_BITS: u32 = 20;

impl TokenRead {
    /// At most 2⁴⁴ ns (4.8 h) and 2²⁰ events; larger values stay at these.
    pub(super) fn new(after_sent_ns: u64, events: u32) -> Self {
        let time = after_sent_ns.min((1 << (64 - EVENT_BITS)) - 1);
        Self(time << EVENT_BITS | u64::from(events.min((1 << EVENT_BITS) - 1)))
    }

    /// Arrival after the request was sent, ns.
    pub fn after_sent_ns(self) -> u64 {
        self.0 >> EVENT_BITS
    }

    /// Events that were whole after this read.
    pub fn events(self) -> u32 {
        (self.0 & ((1 << EVENT_BITS) - 1)) as u32
    }
}

/// One answered request. Times are ns of CLOCK_REALTIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderRow {
    /// The number in the answer's id.
    pub answer: Option<u64>,
    /// When it was due (closed loop: when it was sent).
    pub intended_ns: u64,
    /// Directly before the request was written.
    pub sent_ns: u64,
    /// Arrival of the end of the answer.
    pub end_ns: u64,
    /// Events with tokens.
    pub token_events: u32,
    /// Its reads in [`Reading::reads`]: from, to.
    pub reads: (usize, usize),
}

/// A finished reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// One row for each answer, in order of ending.
    pub rows: Vec<ReaderRow>,
    /// The reads with tokens of all rows.
    pub reads: Vec<TokenRead>,
    /// Seconds from the start (connecting included) to the last answer.
    pub wall_s: f64,
    /// CPU seconds of the whole process in user mode, since it began.
    pub user_s: f64,
    /// The same in the kernel.
    pub system_s: f64,
    /// Receives.
    pub receives: u64,
    /// Bytes received.
    pub bytes: u64,
    /// All events, those without tokens included.
    pub events: u64,
    /// Connections opened.
    pub connections: usize,
    /// Largest resident memory of the process, KiB (`VmHWM`), where the system tells it.
    pub vm_hwm_kib: Option<u64>,
}

impl Reading {
    /// The reads with tokens of a row.
    pub fn reads_of(&self, row: &ReaderRow) -> &[TokenRead] {
        &self.reads[row.reads.0..row.reads.1]
    }

    /// First token after sending, ns.
    pub fn ttft_ns(&self, row: &ReaderRow) -> Option<u64> {
        self.reads_of(row).first().map(|read| read.after_sent_ns())
    }

    /// Times between the reads with tokens of a row, ns.
    pub fn gaps_ns(&self, row: &ReaderRow) -> impl Iterator<Item = u64> + '_ {
        let pairs = self.reads_of(row).windows(2);
        pairs.map(|pair| pair[1].after_sent_ns().saturating_sub(pair[0].after_sent_ns()))
    }

    /// Rows for [`crate::known_answer::compare`]; every event counts as one token, so the law
    /// must put one token in an event. `chat` is whether the answers' ids are chat ids.
    pub fn client_rows(&self, chat: bool) -> Vec<ClientRow> {
        let prefix = if chat { "chatcmpl" } else { "cmpl" };
        let row = |row: &ReaderRow| {
            let answer_id = format!("{prefix}-{:016x}", row.answer?);
            let mut token_times_ns = Vec::with_capacity(row.token_events as usize);
            for read in self.reads_of(row) {
                token_times_ns.resize(read.events() as usize, row.sent_ns + read.after_sent_ns());
            }
            Some(ClientRow { answer_id, sent_ns: row.sent_ns, token_times_ns })
        };
        self.rows.iter().filter_map(row).collect()
    }

    /// The figures as one line of JSON, times in ms, under the traditional names. A percentile
    /// without samples is absent. `rss_kb` is VmHWM.
    pub fn to_json(&self) -> String {
        let mut fields = serde_json::json!({
            "done": self.rows.len(), "wall": self.wall_s, "user": self.user_s,
            "sys": self.system_s, "reads": self.receives, "bytes": self.bytes,
            "events_parsed": self.events, "conns": self.connections,
        });
        let mut add = |name: &str, mut ns: Vec<u64>| {
            ns.sort_unstable();
            for (suffix, share) in [("p50", 0.5), ("p99", 0.99)] {
                if let Some(value) = nearest_rank(&ns, share) {
                    fields[format!("{name}_{suffix}")] = (value as f64 / 1e6).into();
                }
            }
        };
        add("ttft", self.rows.iter().filter_map(|row| self.ttft_ns(row)).collect());
        add("itl", self.rows.iter().flat_map(|row| self.gaps_ns(row)).collect());
        let whole = |row: &ReaderRow| row.end_ns.saturating_sub(row.sent_ns);
        add("e2e", self.rows.iter().map(whole).collect());
        let late = |row: &ReaderRow| row.sent_ns.saturating_sub(row.intended_ns);
        add("sched", self.rows.iter().map(late).collect());
        if let Some(kib) = self.vm_hwm_kib {
            fields["rss_kb"] = kib.into();
        }
        fields.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_keeps_both_numbers() {
        let read = TokenRead::new(123_456_789_012, 70_000);
        assert_eq!((read.after_sent_ns(), read.events()), (123_456_789_012, 70_000));
        let most = TokenRead::new(u64::MAX, u32::MAX);
        assert_eq!((most.after_sent_ns(), most.events()), ((1 << 44) - 1, (1 << 20) - 1));
    }
}
