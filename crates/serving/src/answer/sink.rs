//! Turns events and documents into facts: parse, check for the server's errors, count, remember.

use super::Event;
use super::chunk::{self, Chunk};
use super::facts::{ChunkFacts, Facts, FinishReason};
use super::failure::{self, Failure, FailureKind};
use super::json::BadJson;
use super::message;
use super::sse::SseEvent;
use super::template::{Template, TextPlace};

/// Where events go: facts, template and the caller's events.
pub(crate) struct Sink<'a> {
    pub(crate) template: &'a mut Template,
    pub(crate) facts: &'a mut Facts,
    pub(crate) keep_text: bool,
}

impl Sink<'_> {
    pub(crate) fn event(
        &mut self,
        event: SseEvent<'_>,
        on: &mut impl FnMut(Event),
    ) -> Result<(), Failure> {
        let data = event.data.trim_ascii();
        if data.is_empty() || self.facts.done_marker {
            return Ok(());
        }
        if event.is_error {
            return Err(server_error(message::in_body(data), data));
        }
        if data == b"[DONE]" {
            self.facts.done_marker = true;
            on(Event::DoneMarker);
            return Ok(());
        }
        self.chunk(data, event.raw, on)
    }

    /// An event like the last one but for its text.
    pub(crate) fn repeated(&mut self, text: &[u8], on: &mut impl FnMut(Event)) {
        let (facts, place) = self.template.known();
        if self.keep_text
            && let Some(kept) = self.kept_text(place)
        {
            kept.push_str(&String::from_utf8_lossy(text));
        }
        self.count(facts, on);
    }

    /// A JSON document: of one event, or the whole answer.
    pub(crate) fn chunk(
        &mut self,
        document: &[u8],
        raw: Option<&[u8]>,
        on: &mut impl FnMut(Event),
    ) -> Result<(), Failure> {
        let document = document.trim_ascii();
        let wants_names = self.facts.id.is_empty() || self.facts.model.is_empty();
        let mut chunk = Chunk::default();
        chunk.read(document, wants_names).map_err(|error| bad_json(&error, document))?;
        self.understood(&chunk, document, raw, on)
    }

    fn understood(
        &mut self,
        chunk: &Chunk<'_>,
        document: &[u8],
        raw: Option<&[u8]>,
        on: &mut impl FnMut(Event),
    ) -> Result<(), Failure> {
        if let Some(error) = chunk.error {
            return Err(server_error(message::in_body(error), document));
        }
        for (name, raw_name) in
            [(&mut self.facts.id, chunk.id), (&mut self.facts.model, chunk.model)]
        {
            if let Some(raw_name) = raw_name.filter(|_| name.is_empty()) {
                chunk::push_text(raw_name, name);
            }
        }
        if let Some(usage) = &chunk.usage {
            self.facts.usage.update(usage);
        }
        if let Some(timings) = &chunk.timings {
            self.facts.timings.update(timings);
        }
        if let Some(reason) = chunk.finish_reason {
            let mut text = String::new();
            chunk::push_text(reason, &mut text);
            self.facts.finish_reason = Some(FinishReason::from_text(&text));
        }
        if self.keep_text {
            for (from, to) in [
                (chunk.output, &mut self.facts.text),
                (chunk.reasoning, &mut self.facts.reasoning_text),
            ] {
                if let Some(text) = from {
                    chunk::push_text(text, to);
                }
            }
        }
        if let (Some(raw), Some((text, place))) = (raw, chunk.only_text()) {
            // Both are parts of `raw`, so the distance of their addresses is a place in it.
            let start = text.as_ptr().addr() - raw.as_ptr().addr();
            self.template.learn(raw, start..start + text.len(), chunk.facts, place);
        }
        self.count(chunk.facts, on);
        Ok(())
    }

    fn kept_text(&mut self, place: TextPlace) -> Option<&mut String> {
        match place {
            TextPlace::Output => Some(&mut self.facts.text),
            TextPlace::Reasoning => Some(&mut self.facts.reasoning_text),
            TextPlace::Elsewhere => None,
        }
    }

    fn count(&mut self, chunk: ChunkFacts, on: &mut impl FnMut(Event)) {
        self.facts.events += 1;
        self.facts.token_events += u32::from(chunk.token_bearing());
        on(Event::Chunk(chunk));
    }
}

fn bad_json(error: &BadJson, document: &[u8]) -> Failure {
    let detail = format!("not the JSON of a chunk ({error}): {}", failure::excerpt(document));
    Failure::new(FailureKind::BadJson, detail)
}

/// A failure the server reported inside its answer.
fn server_error(message: Option<String>, document: &[u8]) -> Failure {
    match message {
        Some(message) => Failure::said_by_server(FailureKind::ServerErrorEvent, &message),
        None => Failure::new(FailureKind::ServerErrorEvent, failure::excerpt(document)),
    }
}
