//! Understands the JSON of one chunk: folds `choices` as it goes and builds no tree. Members of an
//! unexpected type are skipped, never guessed.

use std::borrow::Cow;

use super::facts::{ChunkFacts, Usage};
use super::json::{Json, Parsed};
use super::template::TextPlace;

/// What one chunk (or one whole answer in a single document) holds. Raw values are the bytes as they
/// stand in the document.
#[derive(Debug, Default)]
pub(crate) struct Chunk<'de> {
    pub(crate) facts: ChunkFacts,
    pub(crate) id: Option<&'de [u8]>,
    pub(crate) model: Option<&'de [u8]>,
    pub(crate) usage: Option<Usage>,
    pub(crate) timings: Option<Usage>,
    /// A non-empty string.
    pub(crate) finish_reason: Option<&'de [u8]>,
    /// The server's report of an error.
    pub(crate) error: Option<&'de [u8]>,
    /// Output of choice 0: a string or a list of parts.
    pub(crate) output: Option<&'de [u8]>,
    /// Reasoning of choice 0.
    pub(crate) reasoning: Option<&'de [u8]>,
    /// The last non-empty text, quotes included, and where it belongs.
    last_text: Option<(&'de [u8], TextPlace)>,
    /// Number of non-empty texts, a list of parts counting as two.
    texts: u32,
    is_error_object: bool,
    message: Option<&'de [u8]>,
}

impl<'de> Chunk<'de> {
    /// Reads a document into this empty chunk (which is large enough that moving it would cost).
    /// `wants_names`: whether id and model are asked for.
    ///
    /// # Errors
    /// When the document is not a JSON object.
    pub(crate) fn read(&mut self, document: &'de [u8], wants_names: bool) -> Parsed {
        let mut json = Json::new(document);
        json.object()?;
        json.members(|json, name| self.member(json, name, wants_names))?;
        json.end()?;
        if self.is_error_object && self.error.is_none() {
            self.error = self.message.or(Some(b"{}"));
        }
        let counted = |usage: Option<Usage>| usage.and_then(|usage| usage.completion_tokens);
        self.facts.completion_tokens = counted(self.usage).or(counted(self.timings));
        Ok(())
    }

    fn member(&mut self, json: &mut Json<'de>, name: &[u8], wants_names: bool) -> Parsed {
        match name {
            b"choices" => json.elements(|json| {
                let mut choice = Choice::default();
                json.members(|json, name| choice.member(json, name))?;
                self.take(&choice)
            })?,
            b"id" if wants_names => self.id = Some(json.raw()?),
            b"model" if wants_names => self.model = Some(json.raw()?),
            b"usage" => self.usage = tokens(json)?.or(self.usage),
            b"timings" => self.timings = tokens(json)?.or(self.timings),
            b"object" => self.is_error_object = json.raw()? == b"\"error\"",
            b"message" => self.message = Some(json.raw()?),
            b"error" => self.error = Some(json.raw()?).filter(|raw| is_filled(raw)),
            _ => json.skip()?,
        }
        Ok(())
    }

    /// The chunk's text without its quotes, when it has exactly one and its whole effect on the
    /// answer is that text and its kind.
    pub(crate) fn only_text(&self) -> Option<(&'de [u8], TextPlace)> {
        let plain = self.texts == 1
            && self.usage.is_none()
            && self.timings.is_none()
            && self.finish_reason.is_none()
            && self.error.is_none();
        let (quoted, place) = self.last_text.filter(|_| plain)?;
        Some((&quoted[1..quoted.len() - 1], place))
    }

    /// Folds in one choice.
    fn take(&mut self, choice: &Choice<'de>) -> Parsed {
        let is_first = choice.index.unwrap_or(0) == 0;
        self.facts.tool_call |= choice.tool_call;
        if let Some(reason) = choice.finish_reason.filter(|reason| is_text(reason)) {
            self.facts.finish = true;
            self.finish_reason = Some(reason);
        }
        for raw in [choice.text, choice.content, choice.refusal].into_iter().flatten() {
            if self.text(raw, TextPlace::Output, is_first)? && is_first {
                self.output.get_or_insert(raw);
            }
        }
        // Some servers send the same reasoning under both names.
        for raw in [choice.reasoning_content, choice.reasoning].into_iter().flatten() {
            if self.text(raw, TextPlace::Reasoning, is_first)? && is_first {
                self.reasoning.get_or_insert(raw);
            }
        }
        Ok(())
    }

    /// Notes a text of this kind; whether there was any.
    fn text(&mut self, raw: &'de [u8], kind: TextPlace, is_first: bool) -> Parsed<bool> {
        let is_output = kind == TextPlace::Output;
        if is_text(raw) {
            self.texts += 1;
            self.last_text = Some((raw, if is_first { kind } else { TextPlace::Elsewhere }));
            self.facts.content |= is_output;
            self.facts.reasoning |= !is_output;
            return Ok(true);
        }
        if !raw.starts_with(b"[") {
            return Ok(false);
        }
        let (mut text, mut thinking) = (false, false);
        Json::new(raw).elements(|json| {
            json.members(|json, name| {
                match name {
                    b"text" | b"refusal" => text |= is_filled(json.raw()?),
                    b"thinking" => thinking |= is_filled(json.raw()?),
                    _ => json.skip()?,
                }
                Ok(())
            })
        })?;
        self.texts += 2;
        self.facts.content |= text && is_output;
        self.facts.reasoning |= thinking || text && !is_output;
        Ok(text || thinking)
    }
}

/// One choice and its `delta` or `message`.
#[derive(Default)]
struct Choice<'de> {
    index: Option<u32>,
    finish_reason: Option<&'de [u8]>,
    text: Option<&'de [u8]>,
    content: Option<&'de [u8]>,
    refusal: Option<&'de [u8]>,
    reasoning: Option<&'de [u8]>,
    reasoning_content: Option<&'de [u8]>,
    tool_call: bool,
}

impl<'de> Choice<'de> {
    fn member(&mut self, json: &mut Json<'de>, name: &[u8]) -> Parsed {
        match name {
            b"index" => self.index = json.count()?,
            b"finish_reason" => self.finish_reason = Some(json.raw()?),
            b"text" => self.text = Some(json.raw()?),
            b"delta" | b"message" => json.members(|json, name| self.delta(json, name))?,
            _ => json.skip()?,
        }
        Ok(())
    }

    fn delta(&mut self, json: &mut Json<'de>, name: &[u8]) -> Parsed {
        match name {
            b"content" => self.content = Some(json.raw()?),
            b"refusal" => self.refusal = Some(json.raw()?),
            b"reasoning" => self.reasoning = Some(json.raw()?),
            b"reasoning_content" => self.reasoning_content = Some(json.raw()?),
            b"tool_calls" => json.elements(|json| self.call(json))?,
            b"function_call" => self.call(json)?,
            _ => json.skip()?,
        }
        Ok(())
    }

    /// A tool call says something when its id, name or arguments do.
    fn call(&mut self, json: &mut Json<'de>) -> Parsed {
        json.members(|json, name| {
            match name {
                b"id" | b"name" | b"arguments" => self.tool_call |= is_filled(json.raw()?),
                b"function" => self.call(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })
    }
}

/// Reads `usage` (and its details) or llama.cpp's `timings`, whose `prompt_n` leaves out the
/// `cache_n` tokens that came from its cache. `None` when no count is stated.
fn tokens(json: &mut Json<'_>) -> Parsed<Option<Usage>> {
    let mut usage = Usage::default();
    let (mut cache_n, mut prompt_n) = (None, None);
    json.members(|json, name| {
        let count = match name {
            b"prompt_tokens" => &mut usage.prompt_tokens,
            b"completion_tokens" | b"predicted_n" => &mut usage.completion_tokens,
            b"reasoning_tokens" => &mut usage.reasoning_tokens,
            b"prompt_cache_hit_tokens" => &mut usage.cached_tokens,
            b"cache_n" => &mut cache_n,
            b"prompt_n" => &mut prompt_n,
            b"prompt_tokens_details" => {
                return detail(json, b"cached_tokens", &mut usage.cached_tokens);
            }
            b"completion_tokens_details" => {
                return detail(json, b"reasoning_tokens", &mut usage.reasoning_tokens);
            }
            _ => return json.skip(),
        };
        *count = json.count()?.or(*count);
        Ok(())
    })?;
    if let (Some(cached), Some(prompt)) = (cache_n, prompt_n) {
        usage.prompt_tokens = Some(u32::saturating_add(cached, prompt));
    }
    usage.cached_tokens = usage.cached_tokens.or(cache_n);
    Ok(Some(usage).filter(|usage| *usage != Usage::default()))
}

/// Reads one count out of an object.
fn detail(json: &mut Json<'_>, wanted: &[u8], count: &mut Option<u32>) -> Parsed {
    json.members(|json, name| {
        if name != wanted {
            return json.skip();
        }
        *count = json.count()?.or(*count);
        Ok(())
    })
}

/// A non-empty JSON string.
fn is_text(raw: &[u8]) -> bool {
    raw.len() > 2 && raw[0] == b'"'
}

/// Anything that says something: not `null`, `false`, `""`, `[]` or `{}`.
fn is_filled(raw: &[u8]) -> bool {
    !matches!(raw, b"null" | b"false" | b"\"\"" | b"[]" | b"{}")
}

/// Appends the text of a JSON string, or those of a list of parts; wrong UTF-8 is replaced.
pub(crate) fn push_text(raw: &[u8], to: &mut String) {
    let raw = String::from_utf8_lossy(raw);
    if let Some(inner) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        to.push_str(&unescaped(inner, &raw));
        return;
    }
    // The list was read before, so that nothing in it can be wrong.
    let _read = Json::new(raw.as_bytes()).elements(|json| {
        json.members(|json, name| {
            match name {
                b"text" | b"refusal" | b"thinking" => push_text(json.raw()?, to),
                _ => json.skip()?,
            }
            Ok(())
        })
    });
}

fn unescaped<'a>(inner: &'a str, quoted: &str) -> Cow<'a, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    // Half a surrogate pair is no text: what the server sent stands as it is.
    serde_json::from_str(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
}
