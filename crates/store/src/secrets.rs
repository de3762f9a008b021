//! Takes secrets out of plans and URLs before anything is written.
//!
//! Masked are: values of header lines, user names and passwords in URLs, values of query keys and
//! of body keys that are named like a secret (`api_key`, `token`, `password`, …). Names of
//! environment variables and files that hold a key stay, since they are needed to run again.

use std::ops::Range;

use loadline_schema::observe::{GpuChoice, MetricsPages, ObservePlan};
use loadline_schema::plan::{Plan, Stage};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Words that make a key's name the name of a secret.
const SECRET_WORDS: [&str; 14] = [
    "key",
    "apikey",
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "auth",
    "authorization",
    "bearer",
    "sig",
    "signature",
    "credential",
    "credentials",
];

/// Last words of names that say where a secret is, not what it is.
const SOURCE_WORDS: [&str; 2] = ["env", "file"];

/// Whether a key of this name holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = || name.split(|c: char| !c.is_ascii_alphanumeric());
    let is_source = words().next_back().is_some_and(|last| SOURCE_WORDS.contains(&last));
    !is_source && words().any(|word| SECRET_WORDS.contains(&word))
}

/// A URL without user name, password and secret query values; other text as it is.
pub fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_len);
    let host = authority.rsplit_once('@').map(|(_, host)| host);
    let authority = host.map_or_else(|| authority.to_owned(), |host| format!("{MASK}@{host}"));
    let (tail, fragment) = match tail.find('#') {
        Some(at) => tail.split_at(at),
        None => (tail, ""),
    };
    let tail = match tail.split_once('?') {
        Some((path, query)) => format!("{path}?{}", masked_query(query)),
        None => tail.to_owned(),
    };
    format!("{scheme}://{authority}{tail}{fragment}")
}

fn masked_query(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={MASK}"),
        _ => pair.to_owned(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

/// A plan that may be stored and shown.
pub fn masked_plan(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for url in observed_urls(&mut plan.observe) {
        *url = masked_url(url);
    }
    for stage in &mut plan.stages {
        let Stage::Serving(serving) = stage else { continue };
        for endpoint in &mut serving.endpoints {
            *endpoint = masked_url(endpoint);
        }
        for header in &mut serving.headers {
            MASK.clone_into(&mut header.value);
        }
        for (key, value) in serving.extra_body.iter_mut().flatten() {
            mask_json(is_secret(key), value);
        }
    }
    plan
}

/// Addresses of pages that observers read.
fn observed_urls(observe: &mut ObservePlan) -> Vec<&mut String> {
    let mut urls = Vec::new();
    if let MetricsPages::Urls(pages) = &mut observe.metrics {
        urls.extend(pages);
    }
    if let GpuChoice::Exporter(url) = &mut observe.gpu {
        urls.push(url);
    }
    urls
}

/// Where a plan has the mask in the place of a secret, as a copy from a run directory does: such a
/// plan cannot be carried out before the secret is given again.
pub fn masked_place(plan: &Plan) -> Option<String> {
    let is_masked = |url: &str| url.contains(&format!("{MASK}@")) || is_masked_query(url);
    let mut observe = plan.observe.clone();
    let masked = observed_urls(&mut observe).into_iter().find(|url| is_masked(url));
    if let Some(url) = masked {
        return Some(format!("the URL {}", masked_url(url)));
    }
    plan.stages.iter().find_map(|stage| {
        let serving = stage.serving()?;
        let header = serving.headers.iter().find(|header| has_mask(&header.value));
        if let Some(header) = header {
            return Some(format!("the header {}", header.name));
        }
        if let Some(url) = serving.endpoints.iter().find(|url| is_masked(url)) {
            return Some(format!("the URL {}", masked_url(url)));
        }
        let mut body = serving.extra_body.iter().flatten();
        body.find_map(|(key, value)| masked_key(key, is_secret(key), value))
            .map(|key| format!("\"{key}\" in extra_body"))
    })
}

/// The mask alone, or behind the kind of a key as in `Bearer ***`.
fn has_mask(text: &str) -> bool {
    text.split_whitespace().next_back() == Some(MASK)
}

fn is_masked_query(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    query.split('&').filter_map(|pair| pair.split_once('=')).any(|(_, value)| value == MASK)
}

/// The key of a masked text in a body.
fn masked_key(key: &str, secret: bool, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (secret && text == MASK).then(|| key.to_owned()),
        Value::Array(items) => items.iter().find_map(|item| masked_key(key, secret, item)),
        Value::Object(map) => {
            map.iter().find_map(|(key, value)| masked_key(key, secret || is_secret(key), value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Masks texts under keys named like a secret.
fn mask_json(secret: bool, value: &mut Value) {
    match value {
        Value::String(text) if secret => MASK.clone_into(text),
        Value::String(text) => *text = masked_url(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask_json(secret, item)),
        Value::Object(map) => {
            map.iter_mut().for_each(|(key, value)| mask_json(secret || is_secret(key), value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A plan file that may be stored: the text as given, only the secrets in it replaced. Lines that
/// are comments are treated like the lines they may have been. Text that is not TOML is not stored.
pub fn masked_toml(text: &str) -> String {
    let Some(masked) = masked_tables(text) else {
        return "# The plan file was not TOML and is not stored.\n".to_owned();
    };
    let line = |line: &str| {
        let comment = line.trim_start().strip_prefix('#');
        let masked = comment.and_then(|was| Some((masked_tables(was.trim())?, was.trim())));
        match masked {
            Some((masked, was)) if masked != was => line.replace(was, &masked),
            _ => line.to_owned(),
        }
    };
    masked.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn masked_tables(text: &str) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut edits = Vec::new();
    let top = Place { key: "", secret: false, headers: false };
    walk_table(table.get_ref(), top, &mut edits);
    edits.sort_by_key(|(span, _): &(Range<usize>, String)| span.start);
    let mut out = text.to_owned();
    for (span, replacement) in edits.into_iter().rev() {
        out.replace_range(span, &replacement);
    }
    Some(out)
}

/// Where a value stands in a plan file.
#[derive(Clone, Copy)]
struct Place<'a> {
    key: &'a str,
    secret: bool,
    headers: bool,
}

fn walk_table<'a>(
    table: &'a DeTable<'_>,
    place: Place<'a>,
    edits: &mut Vec<(Range<usize>, String)>,
) {
    for (key, value) in table {
        let key: &str = key.get_ref();
        let place = Place {
            key,
            // A table named like a secret says where it comes from; its own keys decide.
            secret: is_secret(key),
            headers: place.headers || ["header", "headers"].contains(&key),
        };
        walk(value.get_ref(), value.span(), place, edits);
    }
}

fn walk<'a>(
    value: &'a DeValue<'_>,
    span: Range<usize>,
    place: Place<'a>,
    edits: &mut Vec<(Range<usize>, String)>,
) {
    match value {
        DeValue::String(text) => {
            let masked = masked_text(text, place);
            if masked != text.as_ref() {
                edits.push((span, toml::Value::String(masked).to_string()));
            }
        }
        DeValue::Array(items) => {
            for item in items {
                walk(item.get_ref(), item.span(), place, edits);
            }
        }
        DeValue::Table(table) => walk_table(table, place, edits),
        _ => {}
    }
}

fn masked_text(text: &str, place: Place<'_>) -> String {
    if place.headers {
        let in_list = ["header", "headers"].contains(&place.key);
        return match text.split_once(':') {
            Some((name, _)) if in_list => format!("{name}: {MASK}"),
            _ => MASK.to_owned(),
        };
    }
    if place.secret {
        return MASK.to_owned();
    }
    if place.key == "extra_body"
        && let Ok(mut body) = serde_json::from_str::<Value>(text)
    {
        let before = body.clone();
        mask_json(false, &mut body);
        return if body == before { text.to_owned() } else { body.to_string() };
    }
    masked_url(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_user_password_and_keys() {
        for (given, stored) in [
            ("http://host:8000/v1", "http://host:8000/v1"),
            ("https://me:pa@ss@host/x?a=1&api_key=k#f", "https://***@host/x?a=1&api_key=***#f"),
            (
                "http://host?access-token=t&max_tokens=5",
                "http://host?access-token=***&max_tokens=5",
            ),
            ("unix:/run/llm.sock", "unix:/run/llm.sock"),
            ("http://host/a@b?next=c@d", "http://host/a@b?next=c@d"),
        ] {
            assert_eq!(masked_url(given), stored);
        }
    }

    #[test]
    fn pages_of_observers_lose_their_secrets() {
        let text = "[observe]\nprometheus = [\"http://u:SECRET@h:1/metrics?token=SECRET\"]\n\
                    gpu = \"http://u:SECRET@h:9400\"\n[[serving]]\nendpoint = \"http://h:1\"\n";
        let file = loadline_schema::plan_file::PlanFile::parse(text).unwrap();
        let plan = file.resolve(1).unwrap();
        assert_eq!(masked_place(&plan), None);
        let stored = masked_plan(&plan);
        let json = serde_json::to_string(&stored).unwrap();
        assert!(!json.contains("SECRET") && json.contains("***@h:9400"), "{json}");
        assert!(masked_place(&stored).is_some_and(|place| place.contains("/metrics")));
        assert!(!masked_toml(text).contains("SECRET"), "{}", masked_toml(text));
    }

    #[test]
    fn plan_files_keep_everything_but_secrets() {
        let given = r#"
name = "a: b"   # stays
[[serving]]
endpoint = ["http://u:SECRET@h:1", "http://h:2"]
headers = { Authorization = 'Bearer SECRET', "x-org" = """SECRET
SECRET""" }
header = ["X-Key: SECRET"]
api_key = { env = "OPENAI_API_KEY" }
api_key_env = "OPENAI_API_KEY"
# api_key = "SECRET"
#   headers = { a = "SECRET" }
extra_body = '{"api_key": "SECRET", "stop_token": "x", "user": "u"}'
"#;
        let tables = "[serving.headers]\nname = \"SECRET\"\n";
        for text in [given, tables] {
            let stored = masked_toml(text);
            assert!(!stored.contains("SECRET"), "{stored}");
            assert_eq!(stored.contains("# stays"), text.contains("# stays"));
            assert_eq!(stored.matches("OPENAI").count(), text.matches("OPENAI").count());
            DeTable::parse(&stored).unwrap();
        }
        assert!(masked_toml(given).contains("X-Key: ***"));
        assert!(!masked_toml("key = SECRET").contains("SECRET"));
    }

    #[test]
    fn texts_without_secrets_are_stored_as_given() {
        let text = "# comment\nname = 'x' # y\nload = { concurrency = [1, 4] }\nmax_tokens = 5\n";
        assert_eq!(masked_toml(text), text);
    }

    #[test]
    fn a_masked_plan_names_the_place_and_a_plan_with_secrets_does_not() {
        let plan = |url: &str, header: &str, body: Value| -> Plan {
            let mut file = loadline_schema::plan_file::ServingFile {
                endpoint: vec![url.to_owned()],
                extra_body: body.as_object().cloned(),
                ..Default::default()
            };
            file.headers.insert("x-org".to_owned(), header.to_owned());
            loadline_schema::plan_file::PlanFile::of_stage(file).resolve(1).unwrap()
        };
        let body = |key: &str| serde_json::json!({"user": {"api_key": key}, "stop": "***"});
        let whole = plan("http://u:p@h:1/?key=k", "a", body("k"));
        assert_eq!(masked_place(&whole), None);
        assert_eq!(masked_place(&masked_plan(&whole)).as_deref(), Some("the header x-org"));
        for (plan, place) in [
            (plan("http://h:1", "Bearer ***", body("k")), "the header x-org"),
            (plan("http://***@h:1", "a", body("k")), "the URL http://***@h:1"),
            (plan("http://h:1/?key=***", "a", body("k")), "the URL http://h:1/?key=***"),
            (plan("http://h:1", "a", body("***")), "\"api_key\" in extra_body"),
        ] {
            assert_eq!(masked_place(&plan).as_deref(), Some(place));
        }
    }
}
