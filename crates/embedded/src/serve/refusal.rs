//! Answers other than 200, in the form of OpenAI's errors.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a request is not fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    /// The field that is wrong.
    parameter: Option<&'static str>,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, parameter: None, message: message.into() }
    }

    /// 400: the request itself is wrong.
    pub(super) fn invalid(parameter: Option<&'static str>, message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        Self { parameter, ..refusal }
    }

    /// 400: prompt and answer are longer than a slot.
    pub(super) fn too_long(prompt: usize, answer: Option<u32>, slot: u32) -> Self {
        let asked = match answer {
            Some(answer) => format!("{prompt} prompt tokens and max_tokens {answer}"),
            None => format!("{prompt} prompt tokens and an answer"),
        };
        let message = format!("the context of a request is {slot} tokens: {asked} do not fit");
        let refusal = Self::new(StatusCode::BAD_REQUEST, "exceed_context_size_error", message);
        Self { code: Some("context_length_exceeded"), ..refusal }
    }

    /// 404: another model was asked for.
    pub(super) fn model(asked: &str, served: &str) -> Self {
        let message = format!("the model {asked:?} does not exist: this server has {served:?}");
        let refusal = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { code: Some("model_not_found"), parameter: Some("model"), ..refusal }
    }

    /// 404: no such path.
    pub(super) fn route(path: &str) -> Self {
        let message = format!("there is no {path} here");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// 405: the path wants another method.
    pub(super) fn method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    /// 413, or what else reading the body gave.
    pub(super) fn body(status: StatusCode, message: String) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    /// 503: not now.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", message)
    }

    /// 500: the engine failed.
    pub(super) fn engine(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The body.
    pub(super) fn json(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.parameter,
            "code": self.code,
        }})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.json())).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_openai_form() {
        let text = Refusal::too_long(30, Some(10), 32).json().to_string();
        assert_eq!(
            text,
            r#"{"error":{"code":"context_length_exceeded","message":"the context of a request is 32 tokens: 30 prompt tokens and max_tokens 10 do not fit","param":null,"type":"exceed_context_size_error"}}"#
        );
        let refusal = Refusal::invalid(Some("n"), "n must be 1");
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
        assert_eq!(refusal.json()["error"]["param"], "n");
    }
}
