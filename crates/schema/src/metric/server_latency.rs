//! Latencies by a server's own histograms, as `loadline latency` tells them.

use super::{BLANK, Metric, Section};

const SERVER: Metric =
    Metric { section: Section::ServerLatency, unit: "the metric's own (`unit`)", ..BLANK };

pub(super) const SERVERS: &[Metric] = &[
    Metric {
        key: "latency.n",
        name: "Values",
        unit: "values",
        shape: "count",
        formula: "`_bucket{le=\"+Inf\"}` of the second look − that of the first, added up over series",
        notes: "Differences of two raw looks: no `rate()`, nothing extrapolated to the ends of a window, so it is a whole number. A count that fell, another `process_start_time_seconds` or another `_created` voids the difference.",
        ..SERVER
    },
    Metric {
        key: "latency.mean",
        name: "Mean",
        shape: "number",
        formula: "difference of `_sum` ÷ difference of `_count`",
        notes: "Exact, whatever the buckets are; the one figure of a histogram that is.",
        ..SERVER
    },
    Metric {
        key: "latency.quantiles",
        name: "Quantiles",
        shape: "list of value, low, high, n_in_bucket, flags",
        formula: "`value`: Prometheus' `histogram_quantile` over the summed buckets, linear inside the bucket that holds rank q · n. `low` and `high`: the bounds of that bucket, between which the true quantile lies",
        notes: "Series are added up before the quantile is taken; quantiles are never averaged. Flags: `first_bucket` (the value is a share of the first bound, whatever the values were), `inf_bucket` (the value is the highest bound, and the truth is larger), `too_few` (n < 30 ÷ (1 − q)), `forced_monotonic` (cumulative counts fell and were raised). The server's own clock: without the network, the client's queue and the way back; TTFT of a server begins when it took the request in.",
        source: "Prometheus `promql/quantile.go` (`BucketQuantile`)",
        ..SERVER
    },
    Metric {
        key: "latency.buckets",
        name: "Buckets",
        unit: "values",
        shape: "list of bounds and counts",
        formula: "values above the bound before and at or below this one (not cumulative)",
        ..SERVER
    },
    Metric {
        key: "latency.attainment",
        name: "Share within a bound",
        unit: "0–1",
        shape: "map of share, low, high, exact, met",
        formula: "values at or below the bound ÷ n, linear inside a bucket; `low` and `high` at the bucket bounds around it. `exact` where the bound is one of the histogram's or no value lies around it; `met` only where `low` or `high` decides",
        notes: "An SLA at a bucket bound of the server can be judged exactly from its histogram; between two bounds the share is a guess, and `met` may be absent.",
        ..SERVER
    },
];
