//! Understands the JSON of one chunk: a typed parse that borrows, folds `choices` as it goes and
//! builds no tree. Fields of unexpected type are skipped, never guessed.

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::facts::{ChunkFacts, Usage};
use super::json::{Array, Count, Elements, Key, Members, Object, is_filled, is_text, skip_value};
use super::template::TextPlace;

/// What one chunk (or one whole answer in a single document) holds.
#[derive(Debug, Default)]
pub(crate) struct Chunk<'de> {
    pub(crate) facts: ChunkFacts,
    pub(crate) id: Option<&'de RawValue>,
    pub(crate) model: Option<&'de RawValue>,
    pub(crate) usage: Option<Usage>,
    pub(crate) timings: Option<Usage>,
    /// A string, as it stands in the document.
    pub(crate) finish_reason: Option<&'de str>,
    /// The server's report of an error.
    pub(crate) error: Option<&'de RawValue>,
    /// Output of choice 0: a string or a list of parts.
    pub(crate) output: Option<&'de RawValue>,
    /// Reasoning of choice 0.
    pub(crate) reasoning: Option<&'de RawValue>,
    /// The last non-empty text, quotes included, and where it belongs.
    last_text: Option<(&'de str, TextPlace)>,
    /// Number of non-empty texts, a list of parts counting as two.
    texts: u32,
    object: Option<&'de RawValue>,
    message: Option<&'de RawValue>,
}

impl<'de> Chunk<'de> {
    /// Parses a document. `wants_names`: whether id and model are asked for.
    pub(crate) fn parse(document: &'de [u8], wants_names: bool) -> serde_json::Result<Self> {
        if document.first() != Some(&b'{') {
            return Err(serde_json::Error::custom("a chunk is a JSON object"));
        }
        let mut top = Top { chunk: Self::default(), wants_names };
        let mut deserializer = serde_json::Deserializer::from_slice(document);
        Object(&mut top).deserialize(&mut deserializer)?;
        deserializer.end()?;
        let mut chunk = top.chunk;
        if chunk.error.is_none() && chunk.object.is_some_and(|object| object.get() == "\"error\"") {
            chunk.error = chunk.message.or(chunk.object);
        }
        let counted = |usage: Option<Usage>| usage.and_then(|usage| usage.completion_tokens);
        chunk.facts.completion_tokens = counted(chunk.usage).or(counted(chunk.timings));
        Ok(chunk)
    }

    /// The chunk's text without its quotes, when it has exactly one and its whole effect on the
    /// answer is that text and its kind.
    pub(crate) fn only_text(&self) -> Option<(&'de str, TextPlace)> {
        let plain = self.texts == 1
            && self.usage.is_none()
            && self.timings.is_none()
            && self.finish_reason.is_none()
            && self.error.is_none();
        let (quoted, place) = self.last_text.filter(|_| plain)?;
        Some((quoted.get(1..quoted.len() - 1)?, place))
    }

    /// Folds in one choice.
    fn take(&mut self, choice: &Choice<'de>) {
        let is_first = choice.index.unwrap_or(0) == 0;
        let place = |place| if is_first { place } else { TextPlace::Elsewhere };
        self.facts.tool_call |= choice.tool_call;
        if let Some(reason) = choice.finish_reason.filter(|reason| is_text(reason.get())) {
            self.facts.finish = true;
            self.finish_reason = Some(reason.get());
        }
        // Some servers send the same reasoning under both names.
        let reasoning = [choice.reasoning_content, choice.reasoning];
        for (raw, main) in [
            (choice.text, TextPlace::Output),
            (choice.content, TextPlace::Output),
            (choice.refusal, TextPlace::Output),
            (reasoning[0], TextPlace::Reasoning),
            (reasoning[1], TextPlace::Reasoning),
        ] {
            let Some(raw) = raw else { continue };
            let found = self.text(raw, place(main), main);
            if !found || !is_first {
                continue;
            }
            let kept =
                if main == TextPlace::Output { &mut self.output } else { &mut self.reasoning };
            kept.get_or_insert(raw);
        }
    }

    /// Notes a text; whether there was any.
    fn text(&mut self, raw: &'de RawValue, place: TextPlace, main: TextPlace) -> bool {
        let text = raw.get();
        let is_output = main == TextPlace::Output;
        if is_text(text) {
            self.texts += 1;
            self.last_text = Some((text, place));
            self.facts.content |= is_output;
            self.facts.reasoning |= !is_output;
            return true;
        }
        if !text.starts_with('[') {
            return false;
        }
        let mut parts = Parts::default();
        if Array(&mut parts).deserialize(&mut serde_json::Deserializer::from_str(text)).is_err() {
            return false;
        }
        self.texts += 2;
        self.facts.content |= parts.text && is_output;
        self.facts.reasoning |= parts.thinking || parts.text && !is_output;
        parts.text || parts.thinking
    }
}

/// The document's own members.
struct Top<'de> {
    chunk: Chunk<'de>,
    wants_names: bool,
}

impl<'de> Members<'de> for Top<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Choices => map.next_value_seed(Array(self))?,
            Key::Id if self.wants_names => self.chunk.id = Some(map.next_value()?),
            Key::Model if self.wants_names => self.chunk.model = Some(map.next_value()?),
            Key::Object => self.chunk.object = Some(map.next_value()?),
            Key::Message => self.chunk.message = Some(map.next_value()?),
            Key::Error => {
                self.chunk.error = Some(map.next_value()?).filter(|raw: &&RawValue| is_filled(raw));
            }
            Key::Usage => self.chunk.usage = tokens(map)?.or(self.chunk.usage),
            Key::Timings => self.chunk.timings = tokens(map)?.or(self.chunk.timings),
            _ => skip_value(map)?,
        }
        Ok(())
    }
}

impl<'de> Elements<'de> for Top<'de> {
    fn element<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        let mut choice = Choice::default();
        let more = seq.next_element_seed(Object(&mut choice))?.is_some();
        self.chunk.take(&choice);
        Ok(more)
    }
}

/// One choice and its `delta` or `message`.
#[derive(Default)]
struct Choice<'de> {
    index: Option<u32>,
    finish_reason: Option<&'de RawValue>,
    text: Option<&'de RawValue>,
    content: Option<&'de RawValue>,
    refusal: Option<&'de RawValue>,
    reasoning: Option<&'de RawValue>,
    reasoning_content: Option<&'de RawValue>,
    tool_call: bool,
}

impl<'de> Members<'de> for Choice<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Index => self.index = map.next_value_seed(Count)?,
            Key::FinishReason => self.finish_reason = Some(map.next_value()?),
            Key::Text => self.text = Some(map.next_value()?),
            Key::Delta | Key::Message => map.next_value_seed(Object(&mut Delta(self)))?,
            _ => skip_value(map)?,
        }
        Ok(())
    }
}

struct Delta<'c, 'de>(&'c mut Choice<'de>);

impl<'de> Members<'de> for Delta<'_, 'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Content => self.0.content = Some(map.next_value()?),
            Key::Refusal => self.0.refusal = Some(map.next_value()?),
            Key::Reasoning => self.0.reasoning = Some(map.next_value()?),
            Key::ReasoningContent => self.0.reasoning_content = Some(map.next_value()?),
            Key::ToolCalls => map.next_value_seed(Array(&mut ToolCalls(&mut self.0.tool_call)))?,
            Key::FunctionCall => {
                map.next_value_seed(Object(&mut ToolCalls(&mut self.0.tool_call)))?;
            }
            _ => skip_value(map)?,
        }
        Ok(())
    }
}

/// Whether any tool call says something: its id, name or arguments.
struct ToolCalls<'f>(&'f mut bool);

impl<'de> Members<'de> for ToolCalls<'_> {
    fn member<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Id | Key::Name | Key::Arguments => {
                *self.0 |= is_filled(map.next_value::<&RawValue>()?);
                Ok(())
            }
            Key::Function => map.next_value_seed(Object(self)),
            _ => skip_value(map),
        }
    }
}

impl<'de> Elements<'de> for ToolCalls<'_> {
    fn element<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        Ok(seq.next_element_seed(Object(self))?.is_some())
    }
}

/// Parts of a content that is a list.
#[derive(Default)]
struct Parts {
    text: bool,
    thinking: bool,
}

impl<'de> Members<'de> for Parts {
    fn member<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Text | Key::Refusal => self.text |= is_filled(map.next_value::<&RawValue>()?),
            Key::Thinking => self.thinking |= is_filled(map.next_value::<&RawValue>()?),
            _ => skip_value(map)?,
        }
        Ok(())
    }
}

impl<'de> Elements<'de> for Parts {
    fn element<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        Ok(seq.next_element_seed(Object(self))?.is_some())
    }
}

/// Reads `usage` or `timings`; `None` when it states no count.
fn tokens<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Usage>, A::Error> {
    let mut tokens = Tokens::default();
    map.next_value_seed(Object(&mut tokens))?;
    if let (Some(cached), Some(prompt)) = (tokens.cache_n, tokens.prompt_n) {
        tokens.usage.prompt_tokens = Some(cached.saturating_add(prompt));
    }
    tokens.usage.cached_tokens = tokens.usage.cached_tokens.or(tokens.cache_n);
    Ok(Some(tokens.usage).filter(|usage| *usage != Usage::default()))
}

/// Counts of `usage` (and its details) or of llama.cpp's `timings`, whose `prompt_n` leaves out the
/// `cache_n` tokens that came from its cache.
#[derive(Default)]
struct Tokens {
    usage: Usage,
    cache_n: Option<u32>,
    prompt_n: Option<u32>,
}

impl<'de> Members<'de> for Tokens {
    fn member<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        let count = match key {
            Key::PromptTokens => &mut self.usage.prompt_tokens,
            Key::CompletionTokens | Key::PredictedN => &mut self.usage.completion_tokens,
            Key::ReasoningTokens => &mut self.usage.reasoning_tokens,
            Key::CachedTokens | Key::PromptCacheHitTokens => &mut self.usage.cached_tokens,
            Key::CacheN => &mut self.cache_n,
            Key::PromptN => &mut self.prompt_n,
            Key::CompletionTokensDetails | Key::PromptTokensDetails => {
                return map.next_value_seed(Object(self));
            }
            _ => return skip_value(map),
        };
        *count = map.next_value_seed(Count)?.or(*count);
        Ok(())
    }
}

/// Appends the text of a JSON string, or those of a list of parts.
pub(crate) fn push_text(raw: &str, to: &mut String) {
    if let Some(inner) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        if !inner.contains('\\') {
            to.push_str(inner);
            return;
        }
        match serde_json::from_str::<String>(raw) {
            Ok(text) => to.push_str(&text),
            // Half a surrogate pair is no text: what the server sent stands as it is.
            Err(_) => to.push_str(inner),
        }
        return;
    }
    for part in serde_json::from_str::<Vec<Part<'_>>>(raw).unwrap_or_default() {
        for text in [part.text, part.refusal, part.thinking].into_iter().flatten() {
            push_text(text.get(), to);
        }
    }
}

/// A part of a content that is a list.
#[derive(serde::Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
}
