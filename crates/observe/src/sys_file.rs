//! Small files of sysfs, procfs and cgroups: their text or number, or why it is missing.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use loadline_schema::gpu::{Missing, MissingKind};

/// The text of a file without the blanks at its end.
pub(crate) fn text(path: &Path) -> Result<String, Missing> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
        Err(error) => Err(missing(path, &error)),
    }
}

/// The first word of a file as a number.
pub(crate) fn number<T: FromStr>(path: &Path) -> Result<T, Missing> {
    let text = text(path)?;
    text.split_whitespace().next().and_then(|word| word.parse().ok()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Missing::new(MissingKind::Failed, format!("{}: “{shown}” is no number", path.display()))
    })
}

/// Why a file could not be read.
pub(crate) fn missing(path: &Path, error: &io::Error) -> Missing {
    let reason = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Missing::new(MissingKind::Unsupported, format!("{}: not there", path.display()))
        }
        io::ErrorKind::PermissionDenied => {
            Missing::denied(reason, format!("sudo chmod a+r {}", path.display()))
        }
        _ => Missing::new(MissingKind::Failed, reason),
    }
}

/// The entries of a folder whose names begin so, in the order of the number behind it. A folder that
/// is not there has none.
pub(crate) fn numbered(folder: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_odd_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("energy_uj");
        assert_eq!(text(&path).expect_err("not there").kind, MissingKind::Unsupported);
        std::fs::write(&path, "12345 rest\n").expect("writes");
        assert_eq!(number::<u64>(&path), Ok(12345));
        std::fs::write(&path, "N/A\n").expect("writes");
        let odd = number::<u64>(&path).expect_err("no number");
        assert_eq!(odd.kind, MissingKind::Failed);
        assert!(odd.reason.contains("energy_uj") && odd.reason.contains("N/A"), "{}", odd.reason);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let denied = missing(&path, &denied);
        assert_eq!(denied.kind, MissingKind::Denied);
        assert!(denied.grant.is_some_and(|grant| grant.starts_with("sudo chmod a+r /")));
    }

    #[test]
    fn numbered_folders_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["node10", "node2", "nodes", "node"] {
            std::fs::create_dir(folder.path().join(name)).expect("makes");
        }
        let found: Vec<u32> = numbered(folder.path(), "node").iter().map(|(n, _)| *n).collect();
        assert_eq!(found, [2, 10]);
        assert!(numbered(Path::new("/nowhere/at/all"), "node").is_empty());
    }
}
