//! Words for what the TOML reader refuses: unknown keys get the nearest allowed one, or the key
//! that does here what another tool's key does there.

use super::nearest::nearest;

/// Keys that people bring along from elsewhere, or that come later, and what to write here.
const KNOWN_ELSEWHERE: [(&str, &str); 24] = [
    (
        "api_key",
        "a key never stands in a plan: name its source with `api_key_env` or `api_key_file`",
    ),
    ("base_url", "the target is `endpoint`"),
    ("endpoints", "`endpoint` takes one URL or a list of them"),
    ("url", "the target is `endpoint`"),
    ("urls", "`endpoint` takes one URL or a list of them"),
    ("host", "the target is `endpoint`, a URL"),
    (
        "server",
        "starting servers is not supported by this version: name a running one by `endpoint`",
    ),
    ("find", "searching the load line is not supported by this version: name loads to measure"),
    ("trace", "replaying a trace is not supported by this version"),
    ("concurrency", "it belongs into the load: `load = { concurrency = [1, 4, 16] }`"),
    ("max_concurrency", "write `load = { concurrency = [1, 4, 16] }`"),
    ("rate", "it belongs into the load: `load = { rate = [1, 2, 4] }`"),
    ("request_rate", "write `load = { rate = [1, 2, 4] }`"),
    ("qps", "write `load = { rate = [1, 2, 4] }`"),
    ("burst", "it belongs into the load: `load = { burst = [32] }`"),
    ("arrival", "it belongs into the load: `load = { rate = 2, arrival = \"poisson\" }`"),
    ("burstiness", "write `arrival = \"gamma:0.5\"` (the shape) in `load`"),
    ("num_prompts", "the number of requests is `requests`"),
    ("prompt_tokens", "write `prompt = { tokens = 512 }`"),
    ("max_tokens", "write `output = { tokens = 128 }`"),
    ("output_tokens", "write `output = { tokens = 128 }`"),
    ("ignore_eos", "write `output = { tokens = 128, ignore_eos = true }`"),
    ("timeout", "write `timeouts = { total = \"600s\" }`"),
    ("runs", "the number of repetitions is `trials`"),
];

/// Message and help for an error of the TOML reader about the key that `keys` lead to.
pub(super) fn told(message: &str, keys: Option<&[String]>) -> (String, String) {
    for (start, what) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        if let Some(rest) = message.strip_prefix(start) {
            return unknown(rest, what, keys);
        }
    }
    let message = message.trim().replace('\n', "; ");
    (message, String::new())
}

/// `rest` is the reader's "name`, expected one of `a`, `b`".
fn unknown(rest: &str, what: &str, keys: Option<&[String]>) -> (String, String) {
    let (name, expected) = rest.split_once('`').unwrap_or((rest, ""));
    let allowed: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let table = keys.and_then(|keys| table_name(&keys[..keys.len().saturating_sub(1)]));
    let place = table.filter(|_| what == "key").map(|name| format!(" in {name}"));
    let message = format!("unknown {what} `{name}`{}", place.unwrap_or_default());

    let known = KNOWN_ELSEWHERE.iter().filter(|_| what == "key").find(|(key, _)| *key == name);
    let hint = match (nearest(name, &allowed), known) {
        (_, Some((_, hint))) => format!("{hint}; "),
        (Some(near), None) => format!("did you mean `{near}`? "),
        (None, None) => String::new(),
    };
    (message, format!("{hint}allowed here: {}", allowed.join(", ")))
}

/// The table that a key stands in, as it is written: `[[serving]]`, `load`; `None` at the root.
fn table_name(keys: &[String]) -> Option<String> {
    match keys {
        [] => None,
        [list, index] if index.bytes().all(|b| b.is_ascii_digit()) => Some(format!("[[{list}]]")),
        [.., last] => Some(format!("`{last}`")),
    }
}
