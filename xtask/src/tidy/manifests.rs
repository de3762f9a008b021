//! Rules about each crate's Cargo.toml: its name, and that the workspace's lints hold in it.

use toml::Table;

use super::Violation;
use crate::workspace::SourceFile;

/// Every rule of this page, over the Cargo.toml of each crate.
pub(super) fn check(files: &[SourceFile]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files {
        let folder = file.path.strip_suffix("/Cargo.toml");
        let crate_folder = folder.and_then(|folder| folder.strip_prefix("crates/"));
        if crate_folder.is_some() || folder == Some("xtask") {
            violations.extend(check_manifest(file, crate_folder));
        }
    }
    violations
}

fn check_manifest(file: &SourceFile, crate_folder: Option<&str>) -> Vec<Violation> {
    let report =
        |what: String, advice| Violation { path: file.path.clone(), line: None, what, advice };
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![report(format!("not TOML: {error}"), "correct it")],
    };
    let mut violations = Vec::new();
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if lints.and_then(toml::Value::as_bool) != Some(true) {
        violations.push(report(
            "the workspace's lints do not hold in this crate".to_owned(),
            "add [lints] with workspace = true",
        ));
    }
    let name = manifest.get("package").and_then(|package| package.get("name"));
    let name = name.and_then(toml::Value::as_str).unwrap_or_default();
    if let Some(folder) = crate_folder {
        let expected = format!("loadline-{folder}");
        if name != expected {
            violations.push(report(
                format!("the crate in crates/{folder} is named \"{name}\""),
                "name it loadline- and its folder",
            ));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::workspace::SourceFile;

    fn whats(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        check(&[file]).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn a_proper_manifest_passes() {
        let text = "[package]\nname = \"loadline-store\"\n[lints]\nworkspace = true\n";
        assert_eq!(whats("crates/store/Cargo.toml", text), Vec::<String>::new());
    }

    #[test]
    fn missing_lints_and_other_names_are_reported() {
        let text = "[package]\nname = \"store\"\n";
        assert_eq!(
            whats("crates/store/Cargo.toml", text),
            [
                "the workspace's lints do not hold in this crate",
                "the crate in crates/store is named \"store\""
            ]
        );
        assert!(whats("crates/store/Cargo.toml", "[")[0].starts_with("not TOML"));
        assert_eq!(whats("Cargo.toml", text), Vec::<String>::new());
    }
}
