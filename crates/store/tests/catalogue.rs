//! Listing and finding runs.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use std::fs;
use std::path::Path;

use loadline_schema::manifest::RunStatus;
use loadline_store::{RunState, StoreError, find, list};
use rows::{ORIGIN_UNIX_NS, create, plan, start};

#[test]
fn lists_runs_and_passes_over_everything_else() {
    let out = tempfile::tempdir().unwrap();
    assert_eq!(list(&out.path().join("missing")).unwrap(), []);
    let sealed = create(out.path(), &["a", "b"]);
    let id = sealed.manifest().id.clone();
    let _ = sealed.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    let mut later = start();
    later.unix_ns += 1_000_000_000;
    let running =
        loadline_store::RunWriter::create(out.path(), "x", None, &plan(&["c"]), &later).unwrap();
    for foreign in ["notes", ".new-abcdefgh"] {
        fs::create_dir(out.path().join(foreign)).unwrap();
    }
    fs::write(out.path().join("file"), "").unwrap();
    let broken = out.path().join("20261124T101500Z-test-zzzzzzzz");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("manifest.json"), "{").unwrap();

    let runs = list(out.path()).unwrap();
    let states: Vec<RunState> = runs.iter().map(|run| run.state).collect();
    assert_eq!(states, [RunState::Unreadable, RunState::Sealed, RunState::Running]);
    assert_eq!((runs[0].id.as_str(), &runs[0].directory), ("zzzzzzzz", &broken));
    assert_eq!((&runs[1].id, runs[1].name.as_str()), (&id, "test"));
    assert_eq!(runs[1].stages, ["a", "b"]);
    assert_eq!(runs[1].started, "2026-11-24T10:15:00.000Z");
    assert_eq!(runs[2].directory, running.dir());
}

#[test]
fn finds_by_path_id_and_unique_beginning() {
    let out = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let from = create(out.path(), &["a"]);
        let to = out.path().join(name);
        fs::rename(from.dir(), &to).unwrap();
        let manifest = to.join("manifest.json");
        let text = fs::read_to_string(&manifest).unwrap();
        let id = name.rsplit_once('-').unwrap().1;
        fs::write(manifest, text.replace(&from.manifest().id, id)).unwrap();
        to
    };
    let one = folder("20261124T101500Z-test-abcdefgh");
    let two = folder("20261124T101500Z-test-abcxyzzz");
    let found = |text: &str| find(out.path(), text);
    assert_eq!(found(one.to_str().unwrap()).unwrap(), one);
    assert_eq!(found("abcdefgh").unwrap(), one);
    assert_eq!(found("abcx").unwrap(), two);
    assert_eq!(found("20261124T101500Z-test-abcd").unwrap(), one);
    let text = found("abc").unwrap_err().to_string();
    assert!(text.contains("abcdefgh, ") && text.contains("abcxyzzz"), "{text}");
    let error = found("nothing").unwrap_err();
    assert!(matches!(error, StoreError::NotFound { known: 2, .. }), "{error}");
    assert!(matches!(found("").unwrap_err(), StoreError::NotFound { .. }));
    let foreign = out.path().to_str().unwrap().to_owned();
    assert!(matches!(found(&foreign).unwrap_err(), StoreError::NotARun { .. }));
    assert!(
        find(Path::new("/nowhere/at/all"), "x").unwrap_err().to_string().contains("the 0 runs")
    );
}
