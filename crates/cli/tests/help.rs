//! What `--help` says, of the command and of every verb it knows, at 80 columns. After a wanted
//! change or with a new verb: `INSTA_UPDATE=always cargo test -p loadline-cli --test help`.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;

const WIDTH: usize = 80;

/// The help of a verb; without one that of the command.
fn help(verb: &[&str]) -> String {
    let output = Command::new(cargo_bin("loadline"))
        .args(verb)
        .arg("--help")
        // Where nothing is a terminal the help is as wide as this says.
        .env("COLUMNS", WIDTH.to_string())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{verb:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names in the list of verbs of a help.
fn verbs(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A line that goes on from the one above stands further in.
        .filter_map(|line| line.strip_prefix("  ").filter(|name| !name.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn wide_lines(help: &str) -> Vec<&str> {
    help.lines().filter(|line| line.chars().count() > WIDTH).collect()
}

#[test]
fn every_verb_helps_in_80_columns_as_stored() {
    let whole = help(&[]);
    let verbs = verbs(&whole);
    for known in ["serving", "run", "report", "export", "list", "selftest", "completions"] {
        assert!(verbs.iter().any(|verb| verb == known), "{known} is missing in {verbs:?}");
    }
    let mut names = BTreeSet::from(["loadline".to_owned()]);
    let mut too_wide: Vec<(String, String)> = Vec::new();
    let mut check = |name: &str, text: &str| {
        too_wide.extend(wide_lines(text).iter().map(|line| (name.to_owned(), (*line).to_owned())));
        insta::assert_snapshot!(name, text);
    };
    check("loadline", &whole);
    for verb in &verbs {
        let text = help(&[verb]);
        assert!(text.contains(&format!("Usage: loadline {verb}")), "{verb}: {text}");
        check(verb, &text);
        names.insert(verb.clone());
    }
    assert!(too_wide.is_empty(), "lines of more than {WIDTH} columns: {too_wide:#?}");
    assert_eq!(stored(), names, "a snapshot of a verb that is gone: delete its file");
}

/// Names of the snapshots in the tree.
fn stored() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_prefix("help__")?.strip_suffix(".snap")?.to_owned()))
        .collect()
}
