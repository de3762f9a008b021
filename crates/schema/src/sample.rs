//! Samples: what observers read while a stage goes on, as rows of numbers.

/// One number that an observer read.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Zero-based index of the stage in the plan.
    pub stage: u16,
    /// When it was read, ns from the run's origin; of a scrape: when it was asked for.
    pub at_ns: u64,
    /// Who said it: a URL (keys masked), `gpu`, `host`, `power`.
    pub source: Box<str>,
    /// What it is: a metric's name with its labels as Prometheus writes them
    /// (`vllm:num_requests_running{engine="0"}`).
    pub series: Box<str>,
    /// The number, in the metric's own unit.
    pub value: f64,
}
