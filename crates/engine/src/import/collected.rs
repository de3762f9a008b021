//! Rows that belong together: of one setup, then of one cell.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use loadline_schema::engine::{EngineCell, EngineTrial};

use super::Imported;
use super::bench_row::{self, Part, Timed};
use super::fields::Fields;
use crate::error::ImportError;

/// All rows so far.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    groups: Vec<Group>,
    by_setup: HashMap<BTreeMap<String, String>, usize>,
    /// Lines that belong to no setup, by why they were left out.
    skipped: BTreeMap<&'static str, u64>,
}

/// The rows of one setup.
#[derive(Debug, Default)]
struct Group {
    setup: BTreeMap<String, String>,
    cells: Vec<Parts>,
    by_cell: HashMap<EngineCell, usize>,
    notes: BTreeSet<String>,
    skipped: BTreeMap<&'static str, u64>,
}

/// The parts of one cell: tokens of each sequence, and the times of all trials, ns.
#[derive(Debug)]
struct Parts {
    cell: EngineCell,
    prompts: Vec<(u32, Vec<u64>)>,
    decodes: Vec<(u32, Vec<u64>)>,
}

impl Collected {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Counts lines that were left out.
    pub(crate) fn skip(&mut self, lines: u64, why: &'static str) {
        *self.skipped.entry(why).or_default() += lines;
    }

    /// Adds one row.
    pub(crate) fn add(&mut self, row: &Fields) -> Result<(), ImportError> {
        let understood = bench_row::understand(row)?;
        let next = self.groups.len();
        let index = *self.by_setup.entry(understood.setup.clone()).or_insert(next);
        if index == next {
            self.groups.push(Group { setup: understood.setup, ..Group::default() });
        }
        let group = &mut self.groups[index];
        if let Some(why) = understood.skipped {
            *group.skipped.entry(why).or_default() += 1;
            return Ok(());
        }
        group.notes.extend(understood.notes);
        for timed in understood.timed {
            group.add(timed);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Vec<Imported>, ImportError> {
        if self.groups.is_empty() {
            return Err(ImportError::NoRows);
        }
        if self.groups.iter().all(|group| group.cells.is_empty()) {
            let all: Vec<String> =
                self.groups.iter().flat_map(|group| counted(&group.skipped, "row")).collect();
            return Err(ImportError::AllSkipped { skipped: all.join(", ") });
        }
        let differing = differing(&self.groups);
        let lines = counted(&self.skipped, "line");
        let mut imported: Vec<Imported> =
            self.groups.into_iter().map(|group| group.finish(&differing)).collect();
        if let Some(first) = imported.first_mut() {
            first.skipped.extend(lines);
        }
        Ok(imported)
    }
}

impl Group {
    fn add(&mut self, timed: Timed) {
        let next = self.cells.len();
        let index = *self.by_cell.entry(timed.cell.clone()).or_insert(next);
        if index == next {
            let (prompts, decodes) = (Vec::new(), Vec::new());
            self.cells.push(Parts { cell: timed.cell, prompts, decodes });
        }
        let parts = &mut self.cells[index];
        let list = match timed.part {
            Part::Prompt => &mut parts.prompts,
            Part::Decode => &mut parts.decodes,
        };
        // The same test again: more trials of it.
        match list.iter_mut().find(|(tokens, _)| *tokens == timed.tokens) {
            Some((_, times)) => times.extend(timed.times_ns),
            None => list.push((timed.tokens, timed.times_ns)),
        }
    }

    fn finish(self, differing: &BTreeSet<String>) -> Imported {
        let mut notes: Vec<String> = self.notes.into_iter().collect();
        let here = self.setup.iter().filter(|(name, _)| differing.contains(*name));
        let settings: Vec<String> = here.map(|(name, value)| format!("{name} = {value}")).collect();
        if !settings.is_empty() {
            notes.push(format!("kept apart from other rows of the file: {}", settings.join(", ")));
        }
        Imported {
            facts: bench_row::facts(&self.setup),
            cells: self.cells.into_iter().flat_map(Parts::cells).collect(),
            notes,
            skipped: counted(&self.skipped, "row"),
        }
    }
}

impl Parts {
    /// The first prompt length with the first output length and so on, so that no time counts twice.
    fn cells(self) -> Vec<(EngineCell, Vec<EngineTrial>)> {
        let many = self.prompts.len().max(self.decodes.len());
        let (mut prompts, mut decodes) = (self.prompts.into_iter(), self.decodes.into_iter());
        let batch = u64::from(self.cell.batch);
        let mut cells = Vec::with_capacity(many);
        for _ in 0..many {
            let (prompt, prompt_ns) = prompts.next().unwrap_or_default();
            let (output, decode_ns) = decodes.next().unwrap_or_default();
            let trial = |index: usize| {
                let (prompt_ns, decode_ns) = (prompt_ns.get(index), decode_ns.get(index));
                EngineTrial {
                    prompt_tokens: prompt_ns.map_or(0, |_| batch * u64::from(prompt)),
                    prompt_ns: prompt_ns.copied(),
                    decode_tokens: decode_ns.map_or(0, |_| batch * u64::from(output)),
                    decode_ns: decode_ns.copied(),
                    ..EngineTrial::default()
                }
            };
            let trials = (0..prompt_ns.len().max(decode_ns.len())).map(trial).collect();
            let cell =
                EngineCell { prompt_tokens: prompt, output_tokens: output, ..self.cell.clone() };
            cells.push((cell, trials));
        }
        cells
    }
}

/// The settings that are not the same in all groups.
fn differing(groups: &[Group]) -> BTreeSet<String> {
    let names: BTreeSet<&String> = groups.iter().flat_map(|group| group.setup.keys()).collect();
    let differs = |name: &&String| {
        let first = groups[0].setup.get(*name);
        groups.iter().any(|group| group.setup.get(*name) != first)
    };
    names.into_iter().filter(differs).cloned().collect()
}

fn counted(skipped: &BTreeMap<&'static str, u64>, what: &str) -> Vec<String> {
    let line = |(why, count): (&&str, &u64)| {
        let plural = if *count == 1 { "" } else { "s" };
        format!("{count} {what}{plural} {why}")
    };
    skipped.iter().map(line).collect()
}
