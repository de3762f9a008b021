//! What points or rows say together: the scalability law, Little's law, the Pareto set; and what is
//! computed for the rows of a table measured elsewhere.

use super::{BLANK, Metric, Section};

const SCALING: Metric = Metric { section: Section::Scaling, shape: "number", ..BLANK };

const LAW: &str =
    "N. J. Gunther, *Guerrilla Capacity Planning* (2007): X(N) = λN / (1 + σ(N − 1) + κN(N − 1))";
const LITTLE: &str = "J. D. C. Little, Operations Research 9 (1961) 383";

pub(super) const SCALINGS: &[Metric] = &[
    Metric {
        key: "scalability.lambda",
        name: "Requests/s of one slot alone, λ",
        unit: "1/s",
        formula: "λ > 0, σ, κ ≥ 0 that make Σ (X(N)/X − 1)² least over the points (N, X) of concurrency and requests/s",
        notes: "Of a stage (`serving[].scalability`) or of the rows of a table (`scalability`). Needs three different concurrencies of a closed loop. Points that are incomplete, or where the client was the limit, are left out. Relative residuals: a slow point counts as much as a fast one.",
        source: LAW,
        ..SCALING
    },
    Metric {
        key: "scalability.sigma",
        name: "Contention, σ",
        unit: "ratio",
        formula: "of the same fit: the share of the work that waits in line",
        source: LAW,
        ..SCALING
    },
    Metric {
        key: "scalability.kappa",
        name: "Coherency, κ",
        unit: "ratio",
        formula: "of the same fit: what each pair of slots costs; 0 is its bound, and then there is no peak",
        source: LAW,
        ..SCALING
    },
    Metric {
        key: "scalability.peak_concurrency",
        name: "Concurrency of the most requests/s",
        unit: "requests",
        formula: "√((1 − σ)/κ), at least 1; absent where κ = 0 and σ ≤ 1",
        notes: "Beyond the largest measured concurrency it is an extrapolation.",
        source: LAW,
        ..SCALING
    },
    Metric {
        key: "scalability.asymptote_per_s",
        name: "Asymptote of requests/s",
        unit: "1/s",
        formula: "λ/σ, where there is no peak and σ > 0",
        source: LAW,
        ..SCALING
    },
    Metric {
        key: "scalability.residual_max",
        name: "Largest residual of the fit",
        unit: "ratio",
        formula: "largest |X(N)/X − 1| over the points",
        ..SCALING
    },
    Metric {
        key: "scalability.follows",
        name: "Whether the points follow the law",
        unit: "–",
        shape: "yes or no",
        formula: "`residual_max` ≤ 10 %",
        notes: "With three points and three parameters the law may pass through all of them: it then says nothing about whether it holds.",
        ..SCALING
    },
    Metric {
        key: "scalability.knee_concurrency",
        name: "Concurrency at the knee",
        unit: "requests",
        formula: "where λN meets the asymptote (1/σ), or the requests/s of the peak",
        notes: "Below it more slots mostly add throughput, above it mostly latency.",
        ..SCALING
    },
    Metric {
        key: "scalability.n",
        name: "Points of the fit",
        unit: "points",
        shape: "count",
        formula: "number of points that the fit rests on",
        ..SCALING
    },
    Metric {
        key: "little.residual_max",
        name: "Little's law, largest residual",
        unit: "ratio",
        formula: "table: largest |N − X·R| / N over rows with N the concurrency, X requests/s, R mean E2E; run: largest `little_residual` of its points",
        source: LITTLE,
        ..SCALING
    },
    Metric {
        key: "little.allowed",
        name: "Little's law, allowance",
        unit: "ratio",
        formula: "table: 2 % + half a unit of the last digit of X ÷ X + the same of R, at the row of the largest residual; run: 1e-9, since it is an identity there",
        source: LITTLE,
        ..SCALING
    },
    Metric {
        key: "little.holds",
        name: "Whether Little's law holds",
        unit: "–",
        shape: "yes or no",
        formula: "every row keeps its own allowance",
        ..SCALING
    },
    Metric {
        key: "little.product",
        name: "Requests in flight by Little's law",
        unit: "requests",
        shape: "list",
        formula: "X·R of each row, where every row has both",
        source: LITTLE,
        ..SCALING
    },
    Metric {
        key: "pareto",
        name: "Pareto set",
        unit: "index",
        shape: "list",
        formula: "points that no other one beats: none is at least as good in output tokens/s in total and per user, and better in one",
        notes: "Of a table whose rows lack either: requests/s in total, and 1 / mean E2E for one user.",
        ..SCALING
    },
    Metric {
        key: "throughput_point",
        name: "Point with the most output tokens/s",
        unit: "index",
        shape: "count",
        formula: "the first of those with the largest `output_tokens_per_s`",
        ..SCALING
    },
    Metric {
        key: "rows.in_flight",
        name: "Row: requests in flight",
        unit: "requests",
        formula: "requests/s × mean E2E",
        source: LITTLE,
        ..SCALING
    },
    Metric {
        key: "rows.little_residual",
        name: "Row: residual of Little's law",
        unit: "ratio",
        formula: "|concurrency − `in_flight`| / concurrency",
        ..SCALING
    },
    Metric {
        key: "rows.fitted_per_s",
        name: "Row: requests/s by the law",
        unit: "1/s",
        formula: "X(N) of the fit",
        source: LAW,
        ..SCALING
    },
    Metric {
        key: "rows.marginal",
        name: "Row: marginal throughput",
        unit: "ratio",
        formula: "(X − X of the next smaller concurrency) / (N − that concurrency) ÷ (X/N of the smallest); 1 at the smallest",
        notes: "What a slot added since the row before brings, against a slot of the first row. Negative where requests/s fall.",
        ..SCALING
    },
    Metric {
        key: "rows.inside",
        name: "Row: inside an SLA",
        unit: "–",
        shape: "yes or no by SLA",
        formula: "the row's own figure keeps every term; outside where it misses one; absent where a figure is missing and none is missed",
        notes: "A table does not tell how many requests are behind a figure, so there is no interval and no verdict with a confidence.",
        ..SCALING
    },
    Metric {
        key: "rows.goodput_per_s",
        name: "Row: goodput",
        unit: "1/s",
        shape: "number by SLA",
        formula: "requests/s of a row that is inside, else 0",
        ..SCALING
    },
];
