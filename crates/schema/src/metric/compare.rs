//! What a comparison of two runs says of each metric of each point that both have.

use super::{BLANK, Metric, Section};

const COMPARE: Metric = Metric { section: Section::Compare, shape: "number", ..BLANK };

pub(super) const COMPARED: &[Metric] = &[
    Metric {
        key: "per_trial",
        name: "Figures of single trials",
        unit: "as the metric's",
        shape: "list of maps",
        formula: "for each complete trial: `<latency>_<statistic>` (ttft, ttfo, itl, tpot, e2e, max_gap with p50, p90, p99, mean; ns), requests_per_s, output_tokens_per_s, output_tokens_per_s_per_user, error_rate, attempts. Percentiles by nearest rank over the attempts of the trial, one without a value counting as infinite; mean over the values there are",
        from: &[
            "intended_ns",
            "write_begin_ns",
            "first_token_ns",
            "last_token_ns",
            "done_ns",
            "outcome",
        ],
        notes: "Other than the percentiles of a point, those of a trial are over attempts: a server that sheds its slow requests must not look faster. A percentile is absent where it lies among the failed requests, where fewer than one value lies above it (P99 under 100 values) and where the client read too many gaps late.",
        ..COMPARE
    },
    Metric {
        key: "compare.baseline",
        name: "Baseline",
        unit: "as the metric's",
        formula: "mean over the baseline's trials: geometric, of the error rate arithmetic",
        ..COMPARE
    },
    Metric {
        key: "compare.candidate",
        name: "Candidate",
        unit: "as the metric's",
        formula: "the same over the candidate's trials",
        ..COMPARE
    },
    Metric {
        key: "compare.change",
        name: "Change",
        unit: "ratio",
        formula: "`candidate` / `baseline` − 1; of the error rate `candidate` − `baseline`. Of trials in turns e^β − 1, with β of the least squares ln value = level + β · side + slope · place in the sequence",
        notes: "In turns (A B A B) a drift over the sequence is taken out, half a step of which would otherwise count for one side.",
        ..COMPARE
    },
    Metric {
        key: "compare.low",
        name: "Lower bound of the change",
        unit: "ratio",
        formula: "95 % interval of the change by Student's t on ln of the trials' values (of the error rate on the values): Welch's with its degrees of freedom, in turns that of β with 2n − 3. The standard deviation of a trial is at least that of its rounding (1/√12 of 100 ns for gaps, of 1 ns for other latencies, of one answer for requests/s); of an error rate at least the binomial one with one failure and one success added to each side",
        notes: "Trials are the units, requests are not: those of one trial share its conditions. Absent with fewer than two trials on a side. Holds for this metric by itself.",
        source: "B. L. Welch, Biometrika 34 (1947) 28; A. Agresti and B. Caffo, The American Statistician 54 (2000) 280",
        ..COMPARE
    },
    Metric {
        key: "compare.high",
        name: "Upper bound of the change",
        unit: "ratio",
        formula: "see `compare.low`",
        ..COMPARE
    },
    Metric {
        key: "compare.p_value",
        name: "p-value, adjusted",
        unit: "probability",
        formula: "two-sided p-value of the same t, adjusted by Holm over all metrics of all points",
        notes: "Absent with fewer than five trials on a side, and for an error rate without a failure on either side: there is nothing to test then.",
        source: "S. Holm, Scandinavian Journal of Statistics 6 (1979) 65",
        ..COMPARE
    },
    Metric {
        key: "compare.noise_floor",
        name: "Noise floor",
        unit: "ratio",
        formula: "half width of the 95 % interval between two sides with the baseline's own spread (in turns: around a straight line) and the trials of this comparison",
        notes: "What an A/A comparison could not tell from nothing. A change under it needs more trials, not a closer look.",
        ..COMPARE
    },
    Metric {
        key: "compare.verdict",
        name: "Verdict",
        unit: "–",
        shape: "text",
        formula: "improved or regressed: adjusted p under 0.05, by the sign of the change. no_change: not that, and the interval lies within ± 5 % (`--relevant`; of the error rate ± 1 percentage point). inconclusive: all else, and always with fewer than five trials on a side",
        notes: "At most one in twenty comparisons of a server with itself calls any of its figures a change. Of runs that did not take turns that holds only while nothing else changed between them.",
        ..COMPARE
    },
    Metric {
        key: "compare.gate",
        name: "Gate",
        unit: "–",
        shape: "object",
        formula: "a term fails where the one-sided test of \"the change is within the allowance\" is rejected at 5 %, adjusted by Holm over all terms and points, with at least five trials on a side; and where a trial of the candidate lacks the metric because it lies among failed requests. An estimate beyond the allowance that is not certain is `undecided`, which does not fail the gate",
        notes: "Exit code 5 when a term failed. A passed gate says that no change beyond the allowance was proven, not that there is none: read the noise floor.",
        ..COMPARE
    },
];
