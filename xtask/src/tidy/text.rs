//! Rules about the lines of a file: work left open, tests switched off, unexplained `unsafe`, paths
//! of one machine, registry hosts, secrets.
//!
//! The patterns are put together with `concat!`, or this file would break its own rules.

use super::Violation;
use super::code::{code_only, has_word};
use crate::workspace::SourceFile;

/// Words, in comments too, that say that something is not finished.
const LEFT_OPEN: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Code that must not stay.
const LEFT_OVER: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it"),
    (concat!("unimplemented", "!("), "finish it"),
    (concat!("dbg", "!("), "take it out"),
    (
        concat!("#[", "ignore"),
        "make the test pass, or delete it; one that never runs proves nothing",
    ),
];

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/."),
    concat!("/tm", "p/bash_jobs"),
    concat!("/ro", "ot/targets"),
];

/// Hosts of package registries: packages are named, and the client's settings say where they are.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("npmjs", ".org"),
    concat!("python", "hosted"),
    concat!("pypi", ".org"),
    concat!("deb.", "debian"),
    concat!("security.", "debian"),
];

/// Beginnings of well-known secrets, and how many letters or digits at least follow in a real one.
const SECRETS: &[(&str, usize)] = &[
    (concat!("sk", "-"), 32),
    (concat!("sk-", "proj-"), 20),
    (concat!("hf", "_"), 30),
    (concat!("gh", "p_"), 30),
    (concat!("github_", "pat_"), 22),
    (concat!("AK", "IA"), 16),
    (concat!("xox", "b-"), 10),
];

/// How many lines above an `unsafe` its reason may stand.
const SAFETY_REACH: usize = 6;

/// Every rule of this page for one file.
pub(super) fn check(file: &SourceFile) -> Vec<Violation> {
    let mut found = Findings { path: &file.path, violations: Vec::new() };
    for (number, line) in file.text.lines().enumerate() {
        check_text_line(&mut found, number + 1, line);
    }
    if is_program(&file.path) {
        for (number, line) in file.text.lines().enumerate() {
            check_left_open(&mut found, number + 1, line);
        }
    }
    if file.is_rust() {
        check_code(&mut found, &file.text);
    }
    found.violations
}

struct Findings<'a> {
    path: &'a str,
    violations: Vec<Violation>,
}

impl Findings<'_> {
    fn add(&mut self, line: usize, what: String, advice: &'static str) {
        self.violations.push(Violation {
            path: self.path.to_owned(),
            line: Some(line),
            what,
            advice,
        });
    }
}

/// Rules for text of any kind.
fn check_text_line(found: &mut Findings<'_>, number: usize, line: &str) {
    if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
        found.add(
            number,
            format!("names {path}, a path of one machine"),
            "use a path inside the project, a temporary folder or an argument",
        );
    }
    // The lock file is cargo's, and names where each crate came from.
    let host = REGISTRY_HOSTS.iter().find(|host| line.contains(**host));
    if let Some(host) = host.filter(|_| found.path != "Cargo.lock") {
        found.add(
            number,
            format!("names the registry host {host}"),
            "name the package only; the client's settings say where it comes from",
        );
    }
    if let Some(secret) = secret_in(line) {
        found.add(
            number,
            format!("looks like a secret ({secret}…)"),
            "take it out, withdraw it where it was issued, and read keys from the environment",
        );
    }
}

/// The beginning of the secret that `line` seems to hold, if any.
fn secret_in(line: &str) -> Option<&'static str> {
    if line.contains(concat!("-----BEGI", "N ")) && line.contains(concat!("PRIVATE", " KEY-----")) {
        return Some("a private key");
    }
    SECRETS.iter().find(|secret| has_secret(line, secret.0, secret.1)).map(|secret| secret.0)
}

fn has_secret(line: &str, prefix: &str, length: usize) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let joined = line[..at].ends_with(|c: char| c.is_alphanumeric());
        let body = line[at + prefix.len()..].chars().take_while(char::is_ascii_alphanumeric);
        !joined && body.count() >= length
    })
}

/// Whether the file is a program: code or a script, by its ending or, where it has none, its place.
fn is_program(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let script = path.starts_with("scripts/") || path == ".ci/run" || !path.contains('/');
    match name.rsplit_once('.') {
        Some((_, ending)) => matches!(ending, "rs" | "sh" | "py" | "ts" | "js" | "html" | "toml"),
        None => script,
    }
}

fn check_left_open(found: &mut Findings<'_>, number: usize, line: &str) {
    if let Some(word) = LEFT_OPEN.iter().find(|word| has_word(line, word)) {
        found.add(
            number,
            format!("{word}: something is left open"),
            "finish it, or write it down where it will be found: in plans/",
        );
    }
}

/// Rules for Rust code, blind to comments and texts.
fn check_code(found: &mut Findings<'_>, source: &str) {
    let code = code_only(source);
    let source_lines: Vec<&str> = source.lines().collect();
    for (at, line) in code.lines().enumerate() {
        for (pattern, advice) in LEFT_OVER {
            if line.contains(pattern) {
                found.add(at + 1, format!("{pattern} is left over"), advice);
            }
        }
        let above = &source_lines[at.saturating_sub(SAFETY_REACH)..=at];
        if opens_unsafe(line) && !above.iter().any(|line| line.contains("SAFETY:")) {
            found.add(
                at + 1,
                "unsafe without its reason".to_owned(),
                "write `// SAFETY:` above it and why it is sound, or do without it",
            );
        }
    }
}

/// Whether the line opens an unsafe block or implementation; `unsafe fn` is documented by its callers.
fn opens_unsafe(line: &str) -> bool {
    has_word(line, "unsafe") && !has_word(line, "fn")
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::workspace::SourceFile;

    fn found(path: &str, text: &str) -> Vec<(Option<usize>, String)> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|violation| (violation.line, violation.what)).collect()
    }

    fn one(path: &str, text: &str, line: usize, what: &str) {
        let found = found(path, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].0, Some(line));
        assert!(found[0].1.contains(what), "{found:?}");
    }

    fn none(path: &str, text: &str) {
        assert_eq!(found(path, text), [], "{text}");
    }

    #[test]
    fn work_left_open_is_reported_in_comments_too() {
        one("a.rs", concat!("//! A.\n// TO", "DO: more"), 2, "left open");
        one("scripts/run", concat!("# FIX", "ME"), 1, "left open");
        none("notes.md", concat!("a TO", "DO list"));
        none("scripts/run", "mktemp -d name.XXXXXX");
    }

    #[test]
    fn left_over_code_is_reported_but_words_are_not() {
        one("a.rs", concat!("fn f() { todo", "!() }"), 1, "left over");
        one("a.rs", concat!("\n#[", "ignore = \"slow\"]"), 2, "left over");
        one("a.rs", concat!("let x = dbg", "!(1);"), 1, "left over");
        none("a.rs", concat!("// never dbg", "!(x)"));
    }

    #[test]
    fn unsafe_needs_its_reason_close_above() {
        one("a.rs", "let a = unsafe { f() };", 1, "unsafe");
        one("a.rs", "// SAFETY: far\n\n\n\n\n\n\n\nunsafe impl Send for A {}", 9, "unsafe");
        none("a.rs", "// SAFETY: f has no conditions\nlet a = unsafe { f() };");
        none("a.rs", "#[expect(unsafe_code, reason = \"a system call\")]");
    }

    #[test]
    fn places_of_one_machine_are_reported() {
        one("README.md", concat!("see /wo", "rk/main/README"), 1, "path of one machine");
        none("README.md", "the /work of others");
    }

    #[test]
    fn registry_hosts_are_reported_outside_the_lock_file() {
        let text = concat!("pip install -i https://pypi", ".org/simple x");
        one("scripts/x", text, 1, "registry host");
        none("Cargo.lock", text);
        none("README.md", "published on crates.io");
    }

    #[test]
    fn secrets_are_reported_and_examples_are_not() {
        let key = format!("key = \"sk{}{}\"", "-", "a1".repeat(20));
        one("plan.toml", &key, 1, "secret");
        one("a.pem", concat!("-----BEGIN", " RSA PRIVATE KEY-----"), 1, "a private key");
        none("plan.toml", "key = \"sk-test\"");
        none("plan.toml", &format!("task-{}", "a".repeat(40)));
    }
}
