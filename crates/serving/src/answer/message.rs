//! What a server says about an error, in whatever shape it says it. Runs once per failed answer.

use serde_json::Value;

use super::failure::excerpt;

/// The server's message in an error's body or value: JSON of the usual shapes, or the title of an
/// HTML page.
pub(crate) fn in_body(body: &[u8]) -> Option<String> {
    match serde_json::from_str::<Value>(&String::from_utf8_lossy(body)) {
        Ok(document) => in_json(&document),
        Err(_) => html_title(body),
    }
}

/// What to tell people about a body: the server's message, else how the body begins.
pub(crate) fn or_excerpt(body: &[u8]) -> (String, bool) {
    match in_body(body) {
        Some(message) => (message, true),
        None => (excerpt(body), false),
    }
}

/// `{"error": {"message": …}}`, `{"error": "…"}`, `{"detail": …}`, `{"message": "…"}`,
/// `{"errors": […]}`, a list of FastAPI's `{"loc": […], "msg": "…"}`, or a plain string.
fn in_json(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        Value::Array(items) => {
            let messages: Vec<String> = items.iter().filter_map(in_json).collect();
            (!messages.is_empty()).then(|| messages.join("; "))
        }
        Value::Object(members) => {
            if let Some(text) = members.get("msg").and_then(in_json) {
                return Some(match location(members.get("loc")) {
                    Some(place) => format!("{place}: {text}"),
                    None => text,
                });
            }
            ["error", "message", "detail", "errors", "title"]
                .iter()
                .find_map(|key| members.get(*key).and_then(in_json))
        }
        _ => None,
    }
}

/// `["body", "messages", 0]` as `body.messages.0`.
fn location(value: Option<&Value>) -> Option<String> {
    let words = value?.as_array()?.iter().map(|word| match word {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let place = words.collect::<Vec<_>>().join(".");
    (!place.is_empty()).then_some(place)
}

/// The text of an HTML page's `title`, tags searched without regard to case.
pub(crate) fn html_title(body: &[u8]) -> Option<String> {
    let lower = body.to_ascii_lowercase();
    let tag = memchr::memmem::find(&lower, b"<title")?;
    let start = tag + memchr::memchr(b'>', &lower[tag..])? + 1;
    let length = memchr::memmem::find(&lower[start..], b"</title")?;
    let title = excerpt(&body[start..start + length]);
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_all_usual_shapes_are_found() {
        for (body, message) in [
            (r#"{"error":{"code":400,"message":"bad prompt","type":"x"}}"#, "bad prompt"),
            (r#"{"error":"overloaded"}"#, "overloaded"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (r#"{"object":"error","message":"no such model"}"#, "no such model"),
            (
                r#"{"detail":[{"loc":["body","messages",0],"msg":"field required"},{"msg":"b"}]}"#,
                "body.messages.0: field required; b",
            ),
            (r#""plain""#, "plain"),
            ("<html><HEAD><Title lang=en>502 Bad\n Gateway</TITLE>", "502 Bad Gateway"),
        ] {
            assert_eq!(in_body(body.as_bytes()).as_deref(), Some(message), "{body}");
        }
    }

    #[test]
    fn a_body_without_a_message_is_quoted() {
        assert_eq!(or_excerpt(b"upstream timed out\n"), ("upstream timed out".to_owned(), false));
        assert_eq!(in_body(br#"{"code":7}"#), None);
        assert_eq!(in_body(b"<title></title>"), None);
    }
}
