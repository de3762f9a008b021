//! Service-level targets, saturation and steady state.

use super::{BLANK, Metric, Section};

const TARGET: Metric = Metric { section: Section::Targets, ..BLANK };

pub(super) const TARGETS: &[Metric] = &[
    Metric {
        key: "attainment",
        name: "Attainment",
        unit: "ratio",
        shape: "estimate by SLA",
        formula: "attempts that are ok and keep every request limit of the SLA ÷ attempts; interval by Clopper and Pearson with n ÷ autocorrelation time observations",
        from: &["outcome", "intended_ns", "write_begin_ns", "first_token_ns", "done_ns"],
        notes: "A request limit is the laxest limit of each latency that the SLA names; for `itl` it is the request's mean gap. Failed, timed out, cut short and dropped requests are attempts outside. It is shown, not tested: each term is tested by itself (`sla`).",
        source: "C. J. Clopper, E. S. Pearson, Biometrika 26 (1934)",
        ..TARGET
    },
    Metric {
        key: "goodput_per_s",
        name: "Goodput",
        unit: "1/s",
        shape: "estimate by SLA",
        formula: "attempts of the cohort that are ok and keep every request limit ÷ window length; mean over trials",
        from: &["outcome", "intended_ns", "first_token_ns", "done_ns"],
        vllm: "`request_goodput` (`--goodput`), over completed requests.",
        aiperf: "`goodput`.",
        notes: "Limits as in attainment.",
        ..TARGET
    },
    Metric {
        key: "sla",
        name: "Verdict on an SLA",
        unit: "–",
        shape: "verdict by SLA",
        formula: "met when every term is certainly kept, missed when one is certainly not, else open. A percentile term: share of attempts inside the limit against the level, exact binomial bounds with n ÷ autocorrelation time observations; `itl` percentiles: bounds that resample requests; means: their interval; error rate: exact binomial bounds",
        from: &["outcome", "intended_ns", "first_token_ns", "done_ns"],
        notes: "Two-sided 95 % in reports. In a search the level is one-sided 5 %, shared by all looks (Bonferroni).",
        ..TARGET
    },
    Metric {
        key: "saturated",
        name: "Saturated",
        unit: "–",
        shape: "flag",
        formula: "open loop: achieved rate under 95 % of the offered one, or requests in flight growing by a slope that is significant for correlated values",
        from: &["write_begin_ns", "ended_ns", "intended_ns"],
        ..TARGET
    },
    Metric {
        key: "steady",
        name: "Steady state",
        unit: "–",
        shape: "verdict",
        formula: "MSER-5 on E2E in order of intended time and on completions per bin, then the slope of batch means; the worst trial counts. `truncate`: share that MSER-5 leaves out; `drift`: change over the window ÷ mean; `n_effective`: answers ÷ autocorrelation time",
        from: &["intended_ns", "done_ns"],
        notes: "Fewer than 10 batches of 5, or a window under 5 mean answers, is too short to say.",
        source: "K. P. White, Simulation 69 (1997); C. J. Geyer, Statistical Science 7 (1992)",
        ..TARGET
    },
];
