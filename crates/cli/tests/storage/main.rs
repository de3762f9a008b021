//! `loadline storage` on this machine's own disk: the contract, and that nothing is left behind, however
//! a run ends.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

mod measured;
mod refused;
mod stopped;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// A folder on a disk: the one for temporary files may be in memory.
fn on_disk() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("storage-test-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

/// A scratch folder with `work`, which is measured; runs are kept beside it.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let dir = on_disk();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("loadline"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    fn loadline(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The document of a command that ends with this code.
    fn document(&self, arguments: &[&str], expected: i32) -> Value {
        let (code, text, words) = self.loadline(&[arguments, &["--json"]].concat());
        assert_eq!(code, Some(expected), "{words}");
        serde_json::from_str(&text).unwrap()
    }

    fn only_run(&self) -> String {
        let runs = names(&self.path().join("runs"));
        assert_eq!(runs.len(), 1, "{runs:?}");
        format!("runs/{}", runs[0])
    }

    fn nothing_is_left(&self) {
        assert_eq!(names(&self.work()), Vec::<String>::new());
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
