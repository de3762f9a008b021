//! What really happened to one request: the truth a client's figures are held against.

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every token was handed to the kernel.
    Completed,
    /// The client closed the connection before that.
    ClientClosed,
}

/// One answered request. Times are ns of CLOCK_REALTIME, so that another process on the same
/// machine can match them; each was read directly before the `send` it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruthRecord {
    /// Number of the connection, from 0 in order of acceptance.
    pub connection: u32,
    /// Number of the request since the last reset; the hex digits of the answer's id.
    pub id: u64,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// Chat (`chatcmpl-…`) or completion (`cmpl-…`).
    pub chat: bool,
    /// Bytes of the request's body.
    pub body_bytes: u32,
    /// When the kernel received the last segment of the request. Where the kernel gives no stamp
    /// (unix sockets) the time at which the server had read it.
    pub arrival_kernel_ns: u64,
    /// When the server had read the request.
    pub arrival_user_ns: u64,
    /// When the answer got a slot: its arrival, or the end of the answer it waited for.
    pub start_ns: u64,
    /// The write of the chunk that carries only the role, where that is a write of its own.
    pub role_ns: Option<u64>,
    /// The first write that held a token; `None` when the client left before.
    pub first_ns: Option<u64>,
    /// The last write that held a token.
    pub last_ns: Option<u64>,
    /// The write of the end of the answer, or the moment the server saw the client gone.
    pub end_ns: u64,
    /// Prompt tokens as told in the usage.
    pub prompt_tokens: u32,
    /// Tokens sent.
    pub tokens: u32,
    /// How many of these, the first ones, were reasoning.
    pub reasoning_tokens: u32,
    /// Tokens in every write but the last one.
    pub tokens_per_write: u32,
    /// Largest delay of a write after its due time.
    pub max_lag_ns: u64,
    /// Time of every write that held tokens; empty when the law does not keep them.
    pub write_times_ns: Vec<u64>,
    /// How the answer ended.
    pub outcome: Outcome,
}

impl TruthRecord {
    /// The `id` field of the answer's chunks.
    pub fn answer_id(&self) -> String {
        let prefix = if self.chat { "chatcmpl" } else { "cmpl" };
        format!("{prefix}-{:016x}", self.id)
    }

    /// First token after arrival, ns.
    pub fn ttft_ns(&self) -> Option<u64> {
        self.first_ns.map(|first| first.saturating_sub(self.arrival_kernel_ns))
    }

    /// End of the answer after arrival, ns.
    pub fn e2e_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.arrival_kernel_ns)
    }

    /// Each kept write with the number of tokens in it.
    pub fn writes(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let width = if self.stream { self.tokens_per_write.max(1) } else { self.tokens };
        self.write_times_ns.iter().enumerate().map(move |(index, time)| {
            let before = width.saturating_mul(index as u32);
            (*time, width.min(self.tokens.saturating_sub(before)))
        })
    }

    /// The time of every token; tokens of one write share it.
    pub fn token_times_ns(&self) -> Vec<u64> {
        self.writes()
            .flat_map(|(time, tokens)| std::iter::repeat_n(time, tokens as usize))
            .collect()
    }

    /// Times between the kept writes, ns.
    pub fn gaps_ns(&self) -> impl Iterator<Item = u64> + '_ {
        self.write_times_ns.windows(2).map(|pair| pair[1].saturating_sub(pair[0]))
    }

    /// The first write that held a token which is not reasoning (known where writes are kept).
    pub fn first_output_ns(&self) -> Option<u64> {
        self.token_times_ns().get(self.reasoning_tokens as usize).copied()
    }
}

#[cfg(test)]
pub(crate) fn example() -> TruthRecord {
    TruthRecord {
        connection: 3,
        id: 0x2a,
        stream: true,
        chat: true,
        body_bytes: 99,
        arrival_kernel_ns: 1_000,
        arrival_user_ns: 1_010,
        start_ns: 1_000,
        role_ns: None,
        first_ns: Some(2_000),
        last_ns: Some(2_300),
        end_ns: 2_310,
        prompt_tokens: 23,
        tokens: 5,
        reasoning_tokens: 2,
        tokens_per_write: 2,
        max_lag_ns: 4,
        write_times_ns: vec![2_000, 2_100, 2_300],
        outcome: Outcome::Completed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_expanded_to_tokens() {
        let record = example();
        assert_eq!(record.answer_id(), "chatcmpl-000000000000002a");
        assert_eq!(record.writes().collect::<Vec<_>>(), [(2_000, 2), (2_100, 2), (2_300, 1)]);
        assert_eq!(record.token_times_ns(), [2_000, 2_000, 2_100, 2_100, 2_300]);
        assert_eq!(record.gaps_ns().collect::<Vec<_>>(), [100, 200]);
        assert_eq!(record.first_output_ns(), Some(2_100));
        assert_eq!(record.ttft_ns(), Some(1_000));
        assert_eq!(record.e2e_ns(), 1_310);
    }
}
