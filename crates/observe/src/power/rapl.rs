//! RAPL: energy counters of processors in `/sys/class/powercap`. Each package counts with its memory;
//! cores and graphics are inside the package, and `psys` is the whole platform: none of them is added.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use loadline_schema::gpu::{Missing, MissingKind};

use crate::sys_file::{number, text};

/// What lets every user read the counters until the next start.
const GRANT: &str = "sudo chmod -R a+r /sys/class/powercap/";

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaplZone {
    /// Its folder's name: `intel-rapl:0:1`.
    pub id: String,
    /// Its name: `package-0`, `dram`, `core`, `uncore`, `psys`.
    pub name: String,
    /// Whether it belongs in a sum.
    pub counted: bool,
    /// At this value the counter begins anew, µJ; 0: not told.
    pub max_energy_range_uj: u64,
    folder: PathBuf,
}

/// One look at the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaplReading {
    /// When, run-relative monotonic ns.
    pub at_ns: u64,
    /// Each zone's counter, µJ, in the order of [`Rapl::zones`].
    pub energy_uj: Vec<Result<u64, Missing>>,
}

/// The counters of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rapl {
    zones: Vec<RaplZone>,
}

impl Rapl {
    /// Looks for zones under `sys` (usually `/sys`) and reads each once.
    ///
    /// # Errors
    ///
    /// Where there is none, or none may be read; with the command that grants it.
    pub fn open(sys: &Path) -> Result<Self, Missing> {
        let folder = sys.join("class/powercap");
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with("intel-rapl") && name.contains(':'))
            .collect();
        // The registers themselves before their repetition in memory, which ":" and "-" would turn round.
        names.sort_by_key(|name| (name.starts_with("intel-rapl-mmio"), name.clone()));
        let mut seen = BTreeSet::new();
        let zones: Vec<RaplZone> =
            names.into_iter().filter_map(|id| zone(&folder.join(&id), id, &mut seen)).collect();
        if zones.is_empty() {
            let reason = format!(
                "{}: no RAPL counters; virtual machines have none, and elsewhere the module \
                 intel_rapl_msr may be missing",
                folder.display()
            );
            return Err(Missing::new(MissingKind::Unsupported, reason));
        }
        let rapl = Self { zones };
        let first = rapl.read(0);
        match first.energy_uj.iter().find_map(|zone| zone.as_ref().err()) {
            Some(why) if first.energy_uj.iter().all(Result::is_err) => Err(why.clone()),
            _ => Ok(rapl),
        }
    }

    /// The zones.
    pub fn zones(&self) -> &[RaplZone] {
        &self.zones
    }

    /// Reads all counters.
    pub fn read(&self, now_ns: u64) -> RaplReading {
        let read = |zone: &RaplZone| {
            number(&zone.folder.join("energy_uj")).map_err(|mut why: Missing| {
                if why.kind == MissingKind::Denied {
                    why.grant = Some(GRANT.to_owned());
                }
                why
            })
        };
        RaplReading { at_ns: now_ns, energy_uj: self.zones.iter().map(read).collect() }
    }
}

/// A zone, unless it is the same counter over another way: `intel-rapl-mmio` repeats packages.
fn zone(folder: &Path, id: String, seen: &mut BTreeSet<String>) -> Option<RaplZone> {
    let name = text(&folder.join("name")).ok()?;
    let is_package = name.starts_with("package");
    if is_package && !seen.insert(name.clone()) {
        return None;
    }
    if id.starts_with("intel-rapl-mmio") && !is_package {
        return None;
    }
    let counted = is_package || name == "dram";
    let max_energy_range_uj = number(&folder.join("max_energy_range_uj")).unwrap_or_default();
    Some(RaplZone { id, name, counted, max_energy_range_uj, folder: folder.to_owned() })
}

#[cfg(test)]
mod tests {
    use loadline_testkit::{h100_host_tree, vm_tree};

    use super::*;

    #[test]
    fn packages_and_memory_count_once() {
        let folder = tempfile::tempdir().expect("a folder");
        h100_host_tree(folder.path()).expect("a tree");
        let rapl = Rapl::open(&folder.path().join("sys")).expect("counters");
        let counted: Vec<_> = rapl
            .zones()
            .iter()
            .filter(|zone| zone.counted)
            .map(|zone| (zone.id.as_str(), zone.name.as_str()))
            .collect();
        assert_eq!(
            counted,
            [
                ("intel-rapl:0", "package-0"),
                ("intel-rapl:0:0", "dram"),
                ("intel-rapl:1", "package-1"),
                ("intel-rapl:1:0", "dram")
            ]
        );
        assert!(rapl.zones().iter().any(|zone| zone.name == "core" && !zone.counted));
        assert!(rapl.zones().iter().any(|zone| zone.name == "psys" && !zone.counted));
        assert!(rapl.zones().iter().all(|zone| !zone.id.starts_with("intel-rapl-mmio")));
        let reading = rapl.read(3);
        assert_eq!(reading.energy_uj[0], Ok(1_000_000));
        assert_eq!(rapl.zones()[0].max_energy_range_uj, 262_143_328_850);
    }

    #[test]
    fn a_vm_has_none_and_a_gone_zone_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        vm_tree(folder.path()).expect("a tree");
        let why = Rapl::open(&folder.path().join("sys")).expect_err("none");
        assert_eq!(why.kind, MissingKind::Unsupported);
        let folder = tempfile::tempdir().expect("a folder");
        h100_host_tree(folder.path()).expect("a tree");
        let sys = folder.path().join("sys");
        let rapl = Rapl::open(&sys).expect("counters");
        std::fs::remove_file(sys.join("class/powercap/intel-rapl:0/energy_uj")).expect("removes");
        let reading = rapl.read(1);
        assert!(reading.energy_uj[0].is_err() && reading.energy_uj[1].is_ok());
    }
}
