//! Whether a model or a context fits in memory, asked before the kernel would have to kill for it.

use std::fmt;
use std::path::{Path, PathBuf};

use loadline_schema::engine::FlashAttention;

use crate::error::Error;
use crate::llama::{ContextOptions, Model};
use crate::machine::kilobytes;

/// Where the machine's own descriptions lie.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    /// `/proc`.
    pub(crate) proc: PathBuf,
    /// `/sys/fs/cgroup`.
    pub(crate) cgroup: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

/// A number of bytes, as text in GiB or MiB.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.0 as f64 / f64::from(1 << 20);
        if mebibytes >= 1024.0 {
            write!(f, "{:.1} GiB", mebibytes / 1024.0)
        } else {
            write!(f, "{mebibytes:.0} MiB")
        }
    }
}

/// Memory that this process may still take, bytes: the least of what the kernel calls available
/// and what each control group above this process leaves. None: not told.
pub(crate) fn available(roots: &Roots) -> Option<u64> {
    let machine = std::fs::read_to_string(roots.proc.join("meminfo"))
        .ok()
        .and_then(|text| kilobytes(&text, "MemAvailable"));
    groups(roots).into_iter().filter_map(|folder| left_in_group(&folder)).chain(machine).min()
}

/// The folders of the control groups that limit this process's memory, innermost first.
fn groups(roots: &Roots) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(roots.proc.join("self/cgroup")).unwrap_or_default();
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => roots.cgroup.clone(),
            list if list.split(',').any(|name| name == "memory") => roots.cgroup.join("memory"),
            _ => continue,
        };
        let inner = root.join(path.trim_start_matches('/'));
        let inside = |folder: &&Path| folder.starts_with(&root);
        folders.extend(inner.ancestors().take_while(inside).map(Path::to_path_buf));
    }
    folders
}

/// What a group's limit leaves: limit − (use − file pages that can be dropped), bytes. None: it
/// has no limit.
fn left_in_group(folder: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    };
    let (limit, used, droppable) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?, "inactive_file "),
        None => (
            number("memory.limit_in_bytes")?,
            number("memory.usage_in_bytes")?,
            "total_inactive_file ",
        ),
    };
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let droppable = stat
        .lines()
        .find_map(|line| line.strip_prefix(droppable)?.trim().parse().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(droppable)))
}

/// Refuses what needs more than there is.
fn fits(roots: &Roots, what: &'static str, parts: &[(&str, u64)]) -> Result<(), Error> {
    let needed = parts.iter().map(|(_, bytes)| bytes).sum();
    match available(roots) {
        Some(available) if needed > available => {
            let detail = parts.iter().filter(|(_, bytes)| *bytes > 0);
            let detail: Vec<String> =
                detail.map(|(name, bytes)| format!("{name} {}", Bytes(*bytes))).collect();
            Err(Error::Memory { what, detail: detail.join(", "), needed, available })
        }
        _ => Ok(()),
    }
}

/// Refuses a model file that is larger than memory, if it is to be computed on the CPU.
pub(crate) fn model_fits(roots: &Roots, path: &Path, gpu_layers: u32) -> Result<(), Error> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if gpu_layers > 0 && crate::llama::has_gpu() {
        return Ok(());
    }
    fits(roots, "the model", &[("weights", size)])
}

/// Refuses a context whose KV cache and buffers do not fit beside the model's weights.
pub(crate) fn context_fits(
    roots: &Roots,
    model: &Model,
    options: &ContextOptions,
    gpu_layers: u32,
) -> Result<(), Error> {
    if gpu_layers > 0 && crate::llama::has_gpu() {
        return Ok(());
    }
    let tokens = u64::from(options.sequences) * u64::from(options.tokens.next_multiple_of(256));
    let (elements_k, elements_v) = kv_elements(model);
    let cache = model.layers()
        * tokens
        * (options.type_k.bytes(elements_k) + options.type_v.bytes(elements_v));
    let at_once = u64::from(options.n_ubatch.min(options.n_batch)).min(tokens);
    let scores = if options.flash_attention == FlashAttention::Off {
        // Queries × keys of one layer, 32-bit.
        at_once * u64::from(options.tokens) * model.heads().0 * 4
    } else {
        0
    };
    let buffers = at_once * 4 * (u64::from(model.vocabulary_size()) + 8 * model.width()) + scores;
    // Mapped weights count as available until they are in use; those that were repacked for the
    // processor are this process's own already.
    let mapped = if model.is_mapped() {
        let status = std::fs::read_to_string(roots.proc.join("self/status")).unwrap_or_default();
        let own = kilobytes(&status, "RssAnon").unwrap_or(0);
        model.weight_bytes().saturating_sub(own)
    } else {
        0
    };
    let parts = [("KV cache", cache), ("buffers", buffers), ("mapped weights", mapped)];
    fits(roots, "the context", &parts)
}

/// Elements of the keys and of the values of one token in one layer.
fn kv_elements(model: &Model) -> (u64, u64) {
    let (heads, heads_kv) = model.heads();
    let architecture = model.metadata("general.architecture").unwrap_or_default();
    let length = |name: &str| {
        let value = model.metadata(&format!("{architecture}.attention.{name}"));
        value.and_then(|text| text.parse().ok()).unwrap_or(model.width() / heads.max(1))
    };
    (heads_kv * length("key_length"), heads_kv * length("value_length"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn machine(cgroup: &str) -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().expect("a folder");
        let roots =
            Roots { proc: folder.path().join("proc"), cgroup: folder.path().join("cgroup") };
        fs::create_dir_all(roots.proc.join("self")).expect("a folder");
        fs::write(roots.proc.join("meminfo"), "MemTotal: 9 kB\nMemAvailable:    8000 kB\n")
            .expect("a file");
        fs::write(roots.proc.join("self/cgroup"), cgroup).expect("a file");
        (folder, roots)
    }

    #[test]
    fn without_groups_the_kernel_tells() {
        let (_folder, roots) = machine("0::/\n");
        assert_eq!(available(&roots), Some(8_000 * 1024));
    }

    #[test]
    fn the_outer_group_of_version_2_limits() {
        let (_folder, roots) = machine("0::/outer/inner\n");
        let outer = roots.cgroup.join("outer");
        fs::create_dir_all(outer.join("inner")).expect("a folder");
        fs::write(outer.join("inner/memory.max"), "max\n").expect("a file");
        fs::write(outer.join("memory.max"), "5000000\n").expect("a file");
        fs::write(outer.join("memory.current"), "3000000\n").expect("a file");
        fs::write(outer.join("memory.stat"), "anon 7\ninactive_file 1000000\n").expect("a file");
        assert_eq!(available(&roots), Some(3_000_000));
    }

    #[test]
    fn groups_of_version_1_limit() {
        let (_folder, roots) = machine("5:cpu,cpuacct:/a\n4:memory:/job\n");
        let job = roots.cgroup.join("memory/job");
        fs::create_dir_all(&job).expect("a folder");
        fs::write(job.join("memory.limit_in_bytes"), "4096\n").expect("a file");
        fs::write(job.join("memory.usage_in_bytes"), "1096\n").expect("a file");
        assert_eq!(available(&roots), Some(3_000));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_numbers() {
        let (_folder, roots) = machine("");
        assert!(fits(&roots, "the context", &[("KV cache", 8_000 * 1024)]).is_ok());
        let error = fits(&roots, "the context", &[("KV cache", 3 << 30), ("buffers", 0)])
            .expect_err("too much");
        let text = error.to_string();
        assert!(
            text.starts_with("the context needs 3.0 GiB of memory (KV cache 3.0 GiB)"),
            "{text}"
        );
        assert!(text.contains("8 MiB are free"), "{text}");
    }
}
