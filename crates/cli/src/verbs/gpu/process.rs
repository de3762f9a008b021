//! The GPUs that a process and its children compute on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use loadline_observe::gpu::{Nvml, NvmlSettings};
use loadline_schema::event::Warning;

use crate::exit::Failure;

/// A process that is watched.
pub(super) struct Followed {
    pid: u32,
    proc: PathBuf,
    started: String,
    nvml: Result<Nvml, String>,
    /// The most memory that it held on each GPU, bytes; 0: the driver does not tell.
    pub(super) gpus: BTreeMap<u32, u64>,
}

/// What the kernel says of a process.
struct Stat {
    is_zombie: bool,
    parent: u32,
    started: String,
}

impl Followed {
    /// Finds the process.
    pub(super) fn new(pid: u32, proc: &Path, library: &Path) -> Result<Self, Failure> {
        let found = stat(proc, pid).filter(|stat| !stat.is_zombie);
        let Some(found) = found else {
            let folder = proc.join(pid.to_string());
            return Err(Failure::usage(format!(
                "there is no process {pid} ({} was looked for)",
                folder.display()
            )));
        };
        let nvml = Nvml::open(library, NvmlSettings::default()).map_err(|error| error.to_string());
        Ok(Self { pid, proc: proc.to_owned(), started: found.started, nvml, gpus: BTreeMap::new() })
    }

    /// Whether it has ended; another process may have its number by now.
    pub(super) fn has_ended(&self) -> bool {
        stat(&self.proc, self.pid).is_none_or(|stat| stat.is_zombie || stat.started != self.started)
    }

    /// Notes the GPUs that it is on now.
    pub(super) fn look(&mut self) {
        let Ok(nvml) = &self.nvml else { return };
        match nvml.processes() {
            Err(error) => self.nvml = Err(error.to_string()),
            Ok(processes) => {
                let family = family(&self.proc, self.pid);
                let mut held: BTreeMap<u32, u64> = BTreeMap::new();
                for process in processes.iter().filter(|process| family.contains(&process.pid)) {
                    *held.entry(process.index).or_default() += process.memory_bytes.unwrap_or(0);
                }
                for (gpu, bytes) in held {
                    let most = self.gpus.entry(gpu).or_default();
                    *most = bytes.max(*most);
                }
            }
        }
    }

    /// Why all GPUs are shown, where they are.
    pub(super) fn warning(&self) -> Option<Warning> {
        let pid = self.pid;
        let (why, advice) = match &self.nvml {
            Err(reason) => (
                format!("the driver does not tell which GPUs process {pid} is on: {reason}"),
                "choose the rows of its GPUs yourself",
            ),
            Ok(_) if self.gpus.is_empty() => (
                format!("process {pid} and its children were on no GPU"),
                "in a container the driver may know the process by another number: watch from the host",
            ),
            Ok(_) => return None,
        };
        Some(Warning::new("gpu_process_unseen", format!("{why}; all GPUs are shown"), advice))
    }

    /// "Process 4242 and its children held 1.00 GiB on GPU 0, 2.00 GiB on GPU 1 at most."
    pub(super) fn sentence(&self) -> Option<String> {
        let held: Vec<String> = self
            .gpus
            .iter()
            .map(|(gpu, bytes)| match bytes {
                0 => format!("memory that the driver does not tell on GPU {gpu}"),
                bytes => {
                    format!("{} on GPU {gpu}", loadline_report::quantity::binary_bytes(*bytes))
                }
            })
            .collect();
        (!held.is_empty()).then(|| {
            format!("Process {} and its children held {} at most.", self.pid, held.join(", "))
        })
    }
}

/// A process and all that descend from it.
fn family(proc: &Path, pid: u32) -> BTreeSet<u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().filter_map(Result::ok);
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|child| Some((child, stat(proc, child)?.parent)))
        .collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let before = family.len();
        let children = parents.iter().filter(|(_, parent)| family.contains(parent));
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        family.extend(children);
        if family.len() == before {
            return family;
        }
    }
}

fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    let text = std::fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name in brackets may hold anything, brackets too.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        started: (*fields.get(19)?).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: u32, parent: u32, state: char) {
        let folder = proc.join(pid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let rest = (0..17).map(|at| at.to_string()).collect::<Vec<_>>().join(" ");
        let text = format!("{pid} (a) b) {state} {parent} {rest} 777 0\n");
        std::fs::write(folder.join("stat"), text).unwrap();
    }

    #[test]
    fn a_family_is_all_that_descend() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, parent) in [(10, 1), (30, 20), (20, 10), (40, 1)] {
            process(dir.path(), pid, parent, 'S');
        }
        assert_eq!(family(dir.path(), 10), BTreeSet::from([10, 20, 30]));
        assert_eq!(stat(dir.path(), 10).map(|stat| stat.started), Some("777".to_owned()));
    }

    #[test]
    fn the_dead_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), 10, 1, 'R');
        let followed = Followed::new(10, dir.path(), Path::new("/nowhere/nvml.so")).unwrap();
        assert!(!followed.has_ended());
        assert!(followed.warning().is_some_and(|w| w.message.contains("/nowhere/nvml.so")));
        process(dir.path(), 10, 1, 'Z');
        assert!(followed.has_ended());
        let gone = Followed::new(11, dir.path(), Path::new("/nowhere/nvml.so"));
        assert!(gone.is_err_and(|failure| failure.message.contains("no process 11")));
    }
}
