//! The rows of the table: loads, what must be reached, and how rounds become text.

use std::fmt::Write as _;

/// A load that both clients carry.
pub(super) struct LoadRow {
    pub(super) name: &'static str,
    /// Parameters of the server's `/reset`.
    pub(super) law: &'static str,
    pub(super) kind: Kind,
    pub(super) tokens: u64,
    /// A busy loop runs on the client's core.
    pub(super) busy: bool,
    pub(super) must: Must,
}

/// Closed or open loop.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Closed { streams: u64, requests: u64 },
    Open { rate: u64, seconds: u64, arrival: &'static str },
}

/// Bounds of the medians; 0: none is set for this row.
#[derive(Default)]
pub(super) struct Must {
    pub(super) ttft_ms: f64,
    pub(super) gap_ms: f64,
    pub(super) ratio: f64,
    pub(super) us_per_event: f64,
    pub(super) memory_mb: f64,
    pub(super) start_ms: f64,
    pub(super) lag_p50_ms: f64,
    pub(super) lag_p99_ms: f64,
}

const NONE: Must = Must {
    ttft_ms: 0.0,
    gap_ms: 0.0,
    ratio: 0.0,
    us_per_event: 0.0,
    memory_mb: 0.0,
    start_ms: 0.0,
    lag_p50_ms: 0.0,
    lag_p99_ms: 0.0,
};

const PACED: &str = "ttft_us=200000&itl_us=20000&tokens=100&burst=1";
const SHORT: &str = "ttft_us=5000&itl_us=2000&tokens=4&burst=1";

pub(super) const LOADS: [LoadRow; 8] = [
    LoadRow {
        name: "64 streams",
        law: PACED,
        kind: Kind::Closed { streams: 64, requests: 4_096 },
        tokens: 100,
        busy: false,
        must: Must { ratio: 1.25, memory_mb: 15.0, start_ms: 22.3, ..NONE },
    },
    LoadRow {
        name: "1,024 streams",
        law: PACED,
        kind: Kind::Closed { streams: 1_024, requests: 4_096 },
        tokens: 100,
        busy: false,
        must: Must { ttft_ms: 0.05, gap_ms: 0.1, ratio: 1.25, start_ms: 55.9, ..NONE },
    },
    LoadRow {
        name: "4,096 streams, ITL 60 ms",
        law: "ttft_us=200000&itl_us=60000&tokens=100&burst=1",
        kind: Kind::Closed { streams: 4_096, requests: 8_192 },
        tokens: 100,
        busy: false,
        must: Must { ttft_ms: 0.05, gap_ms: 0.1, memory_mb: 30.0, start_ms: 163.4, ..NONE },
    },
    LoadRow {
        name: "1,024 streams, busy core",
        law: PACED,
        kind: Kind::Closed { streams: 1_024, requests: 2_048 },
        tokens: 100,
        busy: true,
        must: Must { ttft_ms: 0.1, gap_ms: 0.1, ..NONE },
    },
    LoadRow {
        name: "saturated, 64 streams",
        law: "ttft_us=0&itl_us=0&tokens=200&burst=1",
        kind: Kind::Closed { streams: 64, requests: 8_000 },
        tokens: 200,
        busy: false,
        must: Must { ratio: 1.25, ..NONE },
    },
    LoadRow {
        name: "saturated, 16 per write",
        law: "ttft_us=0&itl_us=0&tokens=200&burst=16",
        kind: Kind::Closed { streams: 64, requests: 8_000 },
        tokens: 200,
        busy: false,
        must: Must { us_per_event: 0.6, ..NONE },
    },
    LoadRow {
        name: "open, 500/s even",
        law: SHORT,
        kind: Kind::Open { rate: 500, seconds: 10, arrival: "constant" },
        tokens: 4,
        busy: false,
        must: Must { lag_p50_ms: 0.01, lag_p99_ms: 0.2, ..NONE },
    },
    LoadRow {
        name: "open, 5,000/s Poisson",
        law: SHORT,
        kind: Kind::Open { rate: 5_000, seconds: 10, arrival: "poisson" },
        tokens: 4,
        busy: false,
        must: Must { lag_p50_ms: 0.01, lag_p99_ms: 0.5, ..NONE },
    },
];

impl LoadRow {
    /// Requests of a round.
    pub(super) fn requests(&self, quick: bool) -> u64 {
        match self.kind {
            Kind::Closed { streams, requests } => {
                if quick {
                    streams
                } else {
                    requests
                }
            }
            Kind::Open { rate, seconds, .. } => rate * if quick { 1 } else { seconds },
        }
    }
}

/// What one run of our client showed.
#[derive(Default)]
pub(super) struct Ours {
    pub(super) us_per_event: f64,
    pub(super) ttft_ms: f64,
    /// Absent where tokens share writes: their gaps cannot be paired.
    pub(super) gap_ms: Option<f64>,
    pub(super) lag_p50_ms: f64,
    pub(super) lag_p99_ms: f64,
    pub(super) memory_mb: f64,
    pub(super) start_ms: f64,
    pub(super) streams: f64,
}

/// One pair of runs.
pub(super) struct Round {
    /// CPU of the bare reader per event, µs; absent where it has no such mode.
    pub(super) reader: Option<f64>,
    pub(super) ours: Ours,
}

/// The rounds as Markdown.
pub(super) fn table(rows: &[(&LoadRow, Vec<Round>)], quick: bool) -> String {
    let mut text = String::new();
    if quick {
        text.push_str("One quick round: these figures say that it works, and nothing more.\n\n");
    }
    text.push_str(
        "| load | figure | median (least..most) | must reach | |\n|---|---|---|---|---|\n",
    );
    for (load, rounds) in rows {
        for (figure, values, must) in figures(load, rounds) {
            if values.is_empty() {
                continue;
            }
            let median = median(&values);
            let (least, most) = bounds(&values);
            let (bound, verdict) = match must {
                must if must > 0.0 => {
                    (format!("≤ {must}"), if median <= must { "yes" } else { "**no**" })
                }
                _ => ("–".to_owned(), ""),
            };
            let line = format!(
                "| {} | {figure} | {median:.4} ({least:.4}..{most:.4}) | {bound} | {verdict} |",
                load.name
            );
            writeln!(text, "{line}").expect("invariant: text grows");
        }
    }
    text
}

fn figures(load: &LoadRow, rounds: &[Round]) -> Vec<(&'static str, Vec<f64>, f64)> {
    let of =
        |get: fn(&Ours) -> f64| rounds.iter().map(|round| get(&round.ours)).collect::<Vec<_>>();
    let must = &load.must;
    let reader: Vec<f64> = rounds.iter().filter_map(|round| round.reader).collect();
    let ratio =
        rounds.iter().filter_map(|round| Some(round.ours.us_per_event / round.reader?)).collect();
    let gaps = rounds.iter().filter_map(|round| round.ours.gap_ms).collect();
    let mut figures = vec![
        ("TTFT error P99, ms", of(|ours| ours.ttft_ms), must.ttft_ms),
        ("gap error P99, ms", gaps, must.gap_ms),
        ("CPU per event, µs", of(|ours| ours.us_per_event), must.us_per_event),
        ("CPU per event of the bare reader, µs", reader, 0.0),
        ("ratio of pairs", ratio, must.ratio),
        ("VmHWM, MB", of(|ours| ours.memory_mb), must.memory_mb),
    ];
    match load.kind {
        Kind::Closed { .. } => {
            figures.push(("start to first request, ms", of(|ours| ours.start_ms), must.start_ms));
            figures.push(("streams held", of(|ours| ours.streams), 0.0));
        }
        Kind::Open { .. } => {
            figures.push(("sent − intended P50, ms", of(|ours| ours.lag_p50_ms), must.lag_p50_ms));
            figures.push(("sent − intended P99, ms", of(|ours| ours.lag_p99_ms), must.lag_p99_ms));
        }
    }
    figures
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

fn bounds(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_verdicts() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        let round = |ttft_ms| Round {
            reader: Some(7.0),
            ours: Ours { ttft_ms, us_per_event: 14.0, ..Ours::default() },
        };
        let text = table(&[(&LOADS[1], vec![round(0.01), round(0.02), round(0.9)])], false);
        assert!(
            text.contains("TTFT error P99, ms | 0.0200 (0.0100..0.9000) | ≤ 0.05 | yes |"),
            "{text}"
        );
        assert!(
            text.contains("ratio of pairs | 2.0000 (2.0000..2.0000) | ≤ 1.25 | **no** |"),
            "{text}"
        );
    }
}
