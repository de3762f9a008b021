//! What the ways to load a model on a path come to, in a sentence: how long a cold start takes as
//! servers do it by default, whether another way is faster for certain, and what a warm start takes.

use loadline_schema::document::Estimate;
use loadline_schema::storage::{LoadMethod, LoadSentence, ModelLoad, StorageLoad, StorageResult};

use super::rates;

/// A ratio of times from which on a difference is worth a sentence.
const CLEAR_RATIO: f64 = 1.1;

/// Engine and flag for a way to read.
type Flags = fn(&ModelLoad) -> Vec<(String, String)>;

/// A way with its time.
#[derive(Clone, Copy)]
struct Way<'a> {
    load: &'a ModelLoad,
    result: &'a StorageResult,
    seconds: Estimate,
}

/// One for each path on which a model was loaded, in the order of the cells.
pub(super) fn sentences(results: &[StorageResult], flags: Flags) -> Vec<LoadSentence> {
    let mut paths: Vec<&str> = Vec::new();
    for result in results.iter().filter(|result| way(result).is_some()) {
        if !paths.contains(&result.path.as_str()) {
            paths.push(&result.path);
        }
    }
    let of_path = |path: &str| {
        let ways: Vec<Way<'_>> =
            results.iter().filter(|result| result.path == path).filter_map(way).collect();
        sentence(path, &ways, flags)
    };
    paths.into_iter().map(of_path).collect()
}

fn way(result: &StorageResult) -> Option<Way<'_>> {
    let StorageLoad::ModelLoad(load) = &result.cell.load else { return None };
    let seconds = result.model_load.as_ref()?.load_s?;
    Some(Way { load, result, seconds })
}

impl Way<'_> {
    /// Whether nothing of it came from the memory of this machine, as far as is known.
    fn is_cold(&self) -> bool {
        self.load.cold && !self.result.cached
    }

    fn is_default(&self) -> bool {
        self.load.method == LoadMethod::Mmap && self.load.readers == 1
    }

    /// "page faults", "direct reads with 8 readers".
    fn words(&self) -> String {
        let way = match self.load.method {
            LoadMethod::Mmap => "page faults",
            LoadMethod::Pread => "reads through the page cache",
            LoadMethod::Direct => "direct reads",
        };
        match self.load.readers {
            1 => way.to_owned(),
            n => format!("{way} with {n} readers"),
        }
    }

    fn time(&self) -> String {
        seconds_words(self.seconds.value)
    }

    /// Whether both load the same.
    fn is_like(&self, other: &Self) -> bool {
        let of = |load: &ModelLoad| (load.format, load.bytes, load.ranks, load.sharing);
        of(self.load) == of(other.load)
    }

    /// Whether it takes clearly less time than the other: the trials of both took turns, so that each
    /// pair met the same storage, and the 95 % interval of the mean log ratio lies above zero.
    fn is_clearly_faster(&self, other: &Self) -> bool {
        let times = |way: &Self| -> Vec<f64> {
            way.result.per_trial.iter().filter_map(|trial| trial.get("load_s").copied()).collect()
        };
        let ratios: Vec<f64> =
            times(other).iter().zip(times(self)).map(|(slow, fast)| (slow / fast).ln()).collect();
        let Some(mean) = rates::mean(&ratios) else { return false };
        mean.value >= CLEAR_RATIO.ln() && mean.low.is_some_and(|low| low > 0.0)
    }

    /// "16 GiB safetensors, mmap, 1 reader, cold: 41 s, 390 MB/s".
    fn evidence(&self) -> String {
        let words = &self.result.setting;
        let words = words.split_once(", ").map_or(words.as_str(), |(_, setting)| setting);
        let rate = self.result.bytes_per_s.map(|rate| format!(", {}", rate_words(rate.value)));
        let cached = if self.result.cached && self.load.cold { " (from memory)" } else { "" };
        let rate = rate.unwrap_or_default();
        format!("{words}: {}{rate}{cached}", self.time())
    }
}

fn fastest<'a>(ways: impl Iterator<Item = Way<'a>>) -> Option<Way<'a>> {
    ways.min_by(|a, b| a.seconds.value.total_cmp(&b.seconds.value))
}

fn sentence(path: &str, ways: &[Way<'_>], flags: Flags) -> LoadSentence {
    let mut found = LoadSentence {
        path: path.to_owned(),
        evidence: ways.iter().map(Way::evidence).collect(),
        ..LoadSentence::default()
    };
    let cold = || ways.iter().filter(|way| way.is_cold()).copied();
    let Some(usual) = cold().find(Way::is_default).or_else(|| cold().next()) else {
        found.sentence = from_memory(ways);
        return found;
    };
    let others = cold().filter(|way| way.is_like(&usual) && way.load != usual.load);
    let best = fastest(others.clone());
    found.sentence = format!("A cold start takes {} by {}", usual.time(), usual.words());
    let mut least = usual;
    match best {
        Some(best) if best.is_clearly_faster(&usual) => {
            found.sentence.push_str(&format!("; {} take {}.", best.words(), best.time()));
            found.flags = flags(best.load);
            least = best;
        }
        Some(best) => found.sentence = no_faster(&usual, &best),
        None => found.sentence.push('.'),
    }
    let warm = ways.iter().filter(|way| !way.load.cold && way.is_like(&usual)).copied();
    if let Some(warm) = fastest(warm) {
        found.sentence.push_str(&warm_words(&least, &warm));
    }
    found
}

fn no_faster(usual: &Way<'_>, best: &Way<'_>) -> String {
    let trials = if usual.seconds.n < 2 || best.seconds.n < 2 {
        "; single trials prove nothing"
    } else {
        ""
    };
    format!(
        "No way of reading is clearly faster than {} here: a cold start takes {}, by {} {}{trials}.",
        usual.words(),
        usual.time(),
        best.words(),
        best.time(),
    )
}

/// A warm start beside the fastest cold one that is certain.
fn warm_words(cold: &Way<'_>, warm: &Way<'_>) -> String {
    if cold.seconds.value <= CLEAR_RATIO * warm.seconds.value {
        format!(" A warm start takes {}, no less: not storage is what limits loading.", warm.time())
    } else {
        format!(" A warm start takes {}.", warm.time())
    }
}

/// Nothing was cold: why not, and what reading from memory takes.
fn from_memory(ways: &[Way<'_>]) -> String {
    let Some(best) = fastest(ways.iter().copied()) else { return String::new() };
    let wanted = ways.iter().find(|way| way.load.cold);
    let start = match wanted {
        Some(way) => {
            let why = way.result.cache_reason.as_deref().unwrap_or("its data may be in memory");
            format!("Nothing is known of a cold start here ({why}).")
        }
        None => "No cold start was measured.".to_owned(),
    };
    format!("{start} From memory loading takes {} by {}.", best.time(), best.words())
}

/// Two digits or more: "0.45 s", "3.1 s", "41 s".
fn seconds_words(seconds: f64) -> String {
    match seconds {
        s if s < 0.995 => format!("{s:.2} s"),
        s if s < 9.95 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

fn rate_words(bytes_per_s: f64) -> String {
    match bytes_per_s {
        rate if rate >= 999.5e6 => format!("{:.2} GB/s", rate / 1e9),
        rate => format!("{:.0} MB/s", rate / 1e6),
    }
}
