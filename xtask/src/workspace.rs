//! What the chores need to know about the checkout: its root, its files, its crates.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The root of the checkout that this program was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("invariant: xtask lies under the root")
}

/// One text file of the checkout.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Path from the root, with `/` between the parts.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether the file is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

/// Every text file that git tracks or would add, in order of path. Binary files are left out.
pub(crate) fn source_files(root: &Path) -> Result<Vec<SourceFile>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git could not be started; it tells which files belong to the project")?;
    ensure!(
        listing.status.success(),
        "git ls-files failed in {}: {}",
        root.display(),
        String::from_utf8_lossy(&listing.stderr).trim()
    );
    let listing = String::from_utf8(listing.stdout).context("a file name is not UTF-8")?;
    let mut paths: Vec<&str> = listing.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        let full = root.join(path);
        // A file that is tracked but deleted in the working tree is still listed.
        if !full.is_file() {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| format!("{path} could not be read"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

/// How one crate uses another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Linked into the crate itself.
    Normal,
    /// Linked into its tests and examples only.
    Dev,
    /// Run while it is built.
    Build,
}

/// One resolved crate with what it uses.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Name as in its Cargo.toml.
    pub(crate) name: String,
    /// Whether it is a member of this workspace.
    pub(crate) ours: bool,
    /// Folder of its Cargo.toml.
    pub(crate) folder: PathBuf,
    /// Indices into the graph's packages, with the kind of use.
    pub(crate) uses: Vec<(usize, Use)>,
}

/// Every crate that the workspace's lock file resolves to on Linux.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrateGraph {
    /// In the order of `cargo metadata`.
    pub(crate) packages: Vec<Package>,
}

impl CrateGraph {
    /// Asks cargo for the resolved graph of Linux on this processor.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // Loadline runs on Linux; without the filter cargo would fetch every other system's crates.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", &platform])
            .current_dir(root)
            .output()
            .context("cargo metadata could not be started")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self::parse(&output.stdout)
    }

    /// Reads the document that `cargo metadata --format-version 1` prints.
    pub(crate) fn parse(document: &[u8]) -> Result<Self> {
        let document: Value =
            serde_json::from_slice(document).context("cargo metadata printed no JSON")?;
        let members: Vec<&str> = list(&document["workspace_members"], "workspace_members")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let packages = list(&document["packages"], "packages")?;
        let ids: Vec<&str> =
            packages.iter().map(|package| text(&package["id"], "id")).collect::<Result<_>>()?;
        let mut graph = Self::default();
        for (package, id) in packages.iter().zip(&ids) {
            let manifest = Path::new(text(&package["manifest_path"], "manifest_path")?);
            graph.packages.push(Package {
                name: text(&package["name"], "name")?.to_owned(),
                ours: members.contains(id),
                folder: manifest.parent().unwrap_or(manifest).to_owned(),
                uses: Vec::new(),
            });
        }
        let index_of = |id: &str| {
            ids.iter()
                .position(|known| *known == id)
                .with_context(|| format!("cargo metadata resolves to an unknown package {id}"))
        };
        for node in list(&document["resolve"]["nodes"], "resolve.nodes")? {
            let user = index_of(text(&node["id"], "node id")?)?;
            for dependency in list(&node["deps"], "deps")? {
                let used = index_of(text(&dependency["pkg"], "pkg")?)?;
                for kind in list(&dependency["dep_kinds"], "dep_kinds")? {
                    graph.packages[user].uses.push((used, use_of(&kind["kind"])));
                }
            }
        }
        Ok(graph)
    }
}

fn use_of(kind: &Value) -> Use {
    match kind.as_str() {
        Some("dev") => Use::Dev,
        Some("build") => Use::Build,
        _ => Use::Normal,
    }
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    value.as_array().with_context(|| format!("cargo metadata has no list \"{name}\""))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.as_str().with_context(|| format!("cargo metadata has no text \"{name}\""))
}
