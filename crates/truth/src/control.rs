//! Dispatch of requests, and every endpoint that is not an answer.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

use crate::ask::{self, TokenizeShape};
use crate::connection::Key;
use crate::frame::{self, MODEL};
use crate::metrics::Now;
use crate::parameters;
use crate::request::{self, Parsed, Request};
use crate::serve::Arrival;
use crate::server::Truth;
use crate::wire::realtime_ns;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const MAX_MODEL_LEN: u32 = 32_768;

/// An OpenAI-style error body.
pub(crate) fn error_body(message: &str) -> String {
    serde_json::json!({"error": {"message": message, "type": "server_error", "code": null}})
        .to_string()
}

/// A number for a word, the same each time, as a tokenizer would give.
fn token_of(index: usize) -> u64 {
    (index as u64).wrapping_mul(2_654_435_761) % 32_000
}

impl Truth {
    /// Handles the whole requests in a connection's inbox, up to the first that takes time.
    pub(crate) fn process(&mut self, key: Key, kernel_ns: u64, user_ns: u64) {
        loop {
            let Some(connection) = self.connection(key) else { return };
            if connection.is_busy() || connection.inbox.is_empty() {
                return;
            }
            match request::parse(&connection.inbox) {
                Parsed::Incomplete { wants_continue } => {
                    if wants_continue && !connection.continued {
                        connection.continued = true;
                        connection.outbox.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                        self.flush(key);
                    }
                    return;
                }
                Parsed::Bad => {
                    connection.close_after = true;
                    connection.inbox.clear();
                    let body = error_body("this is not an HTTP/1.1 request");
                    return self.reply(key, "400 Bad Request", JSON, "", body.as_bytes());
                }
                Parsed::Whole(request) => {
                    connection.inbox.drain(..request.length);
                    connection.close_after |= request.close;
                    connection.continued = false;
                    self.dispatch(key, &request, Arrival { kernel_ns, user_ns });
                }
            }
        }
    }

    /// Sends a whole response.
    pub(crate) fn reply(&mut self, key: Key, status: &str, kind: &str, extra: &str, body: &[u8]) {
        let Some(connection) = self.connection(key) else { return };
        frame::response(&mut connection.outbox, status, kind, extra, body);
        self.flush(key);
    }

    fn reply_ok(&mut self, key: Key, kind: &str, body: &str) {
        self.reply(key, "200 OK", kind, "", body.as_bytes());
    }

    fn reply_error(&mut self, key: Key, status: &str, message: &str) {
        self.reply(key, status, JSON, "", error_body(message).as_bytes());
    }

    fn dispatch(&mut self, key: Key, request: &Request, arrival: Arrival) {
        let path = request.path.as_str();
        let chat = path.ends_with("/chat/completions");
        if chat || path.ends_with("/completions") {
            return self.generate(key, request, chat, arrival);
        }
        // Reading the figures does not change them.
        self.book.other += u64::from(!matches!(path, "/stats" | "/dump" | "/reset"));
        match path {
            "/stats" => {
                let stats = serde_json::to_string(&self.book.stats());
                self.reply_ok(key, JSON, &(stats.unwrap_or_default() + "\n"));
            }
            "/reset" => self.reset(key, &request.query),
            "/dump" => self.dump(key, &request.query),
            "/metrics" => self.ask_metrics(key),
            "/version" => {
                let version = env!("CARGO_PKG_VERSION");
                let body = format!("{{\"version\":\"{version}\",\"server\":\"loadline-truth\"}}\n");
                self.reply_ok(key, JSON, &body);
            }
            "/health" | "/" | "/v1" | "/v1/" => self.reply_ok(key, TEXT, "ok\n"),
            _ if path.ends_with("/models") => {
                let body = format!(
                    "{{\"object\":\"list\",\"data\":[{{\"id\":\"{MODEL}\",\"object\":\"model\",\
                     \"created\":1764000000,\"owned_by\":\"{MODEL}\",\"root\":\"{MODEL}\",\
                     \"max_model_len\":{MAX_MODEL_LEN}}}]}}"
                );
                self.reply_ok(key, JSON, &body);
            }
            _ if path.ends_with("/tokenize") => self.tokenize(key, &request.body),
            _ => self.reply_error(key, "404 Not Found", "there is nothing at this path"),
        }
    }

    fn generate(&mut self, key: Key, request: &Request, chat: bool, arrival: Arrival) {
        if request.method != "POST" {
            return self.reply_error(key, "405 Method Not Allowed", "generation needs POST");
        }
        match ask::parse(&request.body) {
            Ok(ask) => self.take_up(key, chat, &ask, request.body.len(), arrival),
            Err(error) => {
                let message = format!("the body is not a request in JSON: {error}");
                self.reply_error(key, "400 Bad Request", &message);
            }
        }
    }

    fn reset(&mut self, key: Key, query: &str) {
        let mut law = (*self.law).clone();
        let mut max_records = self.book.max_records;
        match parameters::apply_query(&mut law, &mut max_records, query) {
            Ok(()) => {
                self.law = Arc::new(law);
                self.book.reset();
                self.book.max_records = max_records;
                self.reply_ok(key, JSON, "{}\n");
            }
            Err(error) => self.reply_error(key, "400 Bad Request", &error.to_string()),
        }
    }

    fn dump(&mut self, key: Key, query: &str) {
        let mut path = None;
        let mut all = false;
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("path", value)) => path = Some(value),
                Some(("all", value)) => all = value == "1",
                _ => {}
            }
        }
        let Some(path) = path else {
            return self.reply_error(key, "400 Bad Request", "/dump needs ?path=FILE");
        };
        match self.book.dump(Path::new(path), all) {
            Ok(()) => self.reply_ok(key, TEXT, "ok\n"),
            Err(error) => {
                let message = format!("cannot write {path}: {error}");
                self.reply_error(key, "500 Internal Server Error", &message);
            }
        }
    }

    fn tokenize(&mut self, key: Key, body: &[u8]) {
        let (shape, words) = match ask::parse_tokenize(body) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("the body is not a request in JSON: {error}");
                return self.reply_error(key, "400 Bad Request", &message);
            }
        };
        let template = match shape {
            TokenizeShape::VllmChat => self.law.template_tokens as usize,
            TokenizeShape::LlamaCpp | TokenizeShape::VllmPrompt => 0,
        };
        let tokens: Vec<u64> = (0..words + template).map(token_of).collect();
        let body = match shape {
            TokenizeShape::LlamaCpp => serde_json::json!({"tokens": tokens}),
            TokenizeShape::VllmPrompt | TokenizeShape::VllmChat => serde_json::json!({
                "count": tokens.len(), "max_model_len": MAX_MODEL_LEN, "tokens": tokens,
                "token_strs": null
            }),
        };
        self.reply_ok(key, JSON, &body.to_string());
    }

    /// Answers `/metrics`, at once or when its delay is over.
    fn ask_metrics(&mut self, key: Key) {
        match self.law.told.delay_ns {
            0 => self.reply_metrics(key),
            delay_ns => {
                let due = realtime_ns().saturating_add(delay_ns);
                let Some(connection) = self.connection(key) else { return };
                connection.page_due_ns = Some(due);
                self.due.push(Reverse((due, key)));
            }
        }
    }

    fn reply_metrics(&mut self, key: Key) {
        let now = Now { running: self.running, waiting: self.waiting.len() as u64 };
        let (status, kind, body) = self.book.metrics.page(&self.law.told, now);
        self.reply(key, status, kind, "", body.as_bytes());
    }

    /// Sends the page that was due at `due` and goes on with what came meanwhile; false when no
    /// page was due on this connection.
    pub(crate) fn send_page_due(&mut self, key: Key, due: u64) -> bool {
        let Some(connection) = self.connection(key) else { return false };
        if connection.page_due_ns != Some(due) {
            return false;
        }
        connection.page_due_ns = None;
        self.reply_metrics(key);
        let now = realtime_ns();
        self.process(key, now, now);
        true
    }
}
