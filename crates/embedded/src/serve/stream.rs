//! The body of a streamed answer: server-sent events as the engine tells them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc::Receiver;

use super::engine::Event;
use super::refusal::Refusal;
use super::reply::{Shape, event};

/// Turns the engine's events into bytes. Dropping it, as a client that leaves does, closes the
/// channel: the engine then frees the slot.
pub(super) struct Events {
    shape: Shape,
    told: Receiver<Event>,
    /// Events that are ready.
    ready: VecDeque<String>,
    begun: bool,
    ended: bool,
}

impl Events {
    pub(super) fn new(shape: Shape, told: Receiver<Event>) -> Self {
        Self { shape, told, ready: VecDeque::new(), begun: false, ended: false }
    }

    fn take(&mut self, told: Option<Event>) {
        let usage = match &told {
            Some(Event::Text { usage, .. } | Event::Finished { usage, .. }) => Some(*usage),
            _ => None,
        };
        if let (false, Some(usage)) = (self.begun, usage) {
            self.begun = true;
            self.ready.extend(self.shape.first(usage));
        }
        match told {
            Some(Event::Text { text, usage }) => {
                self.ready.push_back(self.shape.text(&text, usage));
            }
            Some(Event::Finished { text, finish, usage }) => {
                if !text.is_empty() {
                    self.ready.push_back(self.shape.text(&text, usage));
                }
                self.ready.push_back(self.shape.last(finish, usage));
                self.ended = true;
            }
            Some(Event::Failed(message)) => self.fail(message),
            None => self.fail("the engine ended".to_owned()),
        }
    }

    fn fail(&mut self, message: String) {
        self.ready.push_back(event(&Refusal::engine(message).json()));
        self.ended = true;
    }
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event.into())));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.told.poll_recv(context) {
                Poll::Ready(told) => self.take(told),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
