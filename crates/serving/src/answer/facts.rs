//! What an answer said: the facts of one chunk, and those of the whole answer.

/// What one event of a stream carried, told the moment it was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkFacts {
    /// Non-empty output text: `delta.content`, `delta.refusal`, `choices[].text`, `message.content`.
    pub content: bool,
    /// Non-empty reasoning text: `reasoning_content`, `reasoning` or a `thinking` part.
    pub reasoning: bool,
    /// A tool or function call with a non-empty id, name or piece of arguments.
    pub tool_call: bool,
    /// A choice in this chunk told why it ended.
    pub finish: bool,
    /// Tokens generated so far by this request, where the server says so with each chunk: `usage`
    /// (vLLM, SGLang `continuous_usage_stats`), else llama.cpp's `timings.predicted_n`.
    pub completion_tokens: Option<u32>,
}

impl ChunkFacts {
    /// Whether the chunk carried output of the model, as opposed to a role, usage or finish chunk.
    pub fn token_bearing(&self) -> bool {
        self.content || self.reasoning || self.tool_call
    }
}

/// Token counts as one source states them; what it did not state is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt, chat template and cached ones included.
    pub prompt_tokens: Option<u32>,
    /// Tokens generated, reasoning included.
    pub completion_tokens: Option<u32>,
    /// Tokens of `completion_tokens` that were reasoning.
    pub reasoning_tokens: Option<u32>,
    /// Tokens of `prompt_tokens` that came from a prefix cache.
    pub cached_tokens: Option<u32>,
}

impl Usage {
    /// Takes over what `newer` states and keeps the rest.
    pub(crate) fn update(&mut self, newer: &Self) {
        self.prompt_tokens = newer.prompt_tokens.or(self.prompt_tokens);
        self.completion_tokens = newer.completion_tokens.or(self.completion_tokens);
        self.reasoning_tokens = newer.reasoning_tokens.or(self.reasoning_tokens);
        self.cached_tokens = newer.cached_tokens.or(self.cached_tokens);
    }
}

/// Why the model stopped. With several choices: that of the choice which told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// End token or stop string.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model calls a tool (or, in the older dialect, a function).
    ToolCalls,
    /// A filter withheld the rest.
    ContentFilter,
    /// Anything else, as the server wrote it.
    Other(String),
}

impl FinishReason {
    /// The reason in the server's own words.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other(text) => text,
        }
    }

    pub(crate) fn from_text(text: &str) -> Self {
        match text {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "tool_calls" | "function_call" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// How the answer came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ended {
    /// It has not ended, or ended in a failure.
    #[default]
    NotYet,
    /// With `[DONE]`.
    DoneMarker,
    /// Without `[DONE]`, but a finish reason was given; also a complete answer in one JSON document.
    Finish,
    /// The body ended properly with neither `[DONE]` nor a finish reason: the answer was cut short.
    WithoutFinish,
}

/// What is known of the whole answer; complete after `Progress::Done`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The answer's id as the server gave it (first one seen); empty when it gave none.
    pub id: String,
    /// The model's name as the server gave it (first one seen); empty when it gave none.
    pub model: String,
    /// Token counts of the `usage` object; the last one seen when there are several.
    pub usage: Usage,
    /// Token counts of llama.cpp's `timings` object; the last one seen.
    pub timings: Usage,
    /// Why the model stopped, when the server said so.
    pub finish_reason: Option<FinishReason>,
    /// Whether `[DONE]` was seen.
    pub done_marker: bool,
    /// Whether the answer came as server-sent events, as opposed to one JSON document.
    pub streamed: bool,
    /// How the answer ended.
    pub ended: Ended,
    /// Number of chunks: events with JSON; 1 for an answer that was not streamed.
    pub events: u32,
    /// Number of chunks that carried output of the model.
    pub token_events: u32,
    /// Output text of choice 0, when it is kept.
    pub text: String,
    /// Reasoning text of choice 0, when text is kept.
    pub reasoning_text: String,
}

impl Facts {
    /// Prompt tokens by `usage`, else by llama.cpp's timings.
    pub fn prompt_tokens(&self) -> Option<u32> {
        self.usage.prompt_tokens.or(self.timings.prompt_tokens)
    }

    /// Generated tokens by `usage`, else by llama.cpp's timings.
    pub fn completion_tokens(&self) -> Option<u32> {
        self.usage.completion_tokens.or(self.timings.completion_tokens)
    }

    /// Reasoning tokens by `usage`.
    pub fn reasoning_tokens(&self) -> Option<u32> {
        self.usage.reasoning_tokens
    }

    /// Prompt tokens from the server's prefix cache by `usage`, else by llama.cpp's timings.
    pub fn cached_tokens(&self) -> Option<u32> {
        self.usage.cached_tokens.or(self.timings.cached_tokens)
    }

    /// Empties everything for the next answer and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.usage = Usage::default();
        self.timings = Usage::default();
        self.finish_reason = None;
        self.done_marker = false;
        self.streamed = false;
        self.ended = Ended::NotYet;
        self.events = 0;
        self.token_events = 0;
        for text in [&mut self.id, &mut self.model, &mut self.text, &mut self.reasoning_text] {
            text.clear();
            text.shrink_to(super::KEPT_CAPACITY);
        }
    }
}
