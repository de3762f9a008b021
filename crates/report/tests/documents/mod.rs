//! Documents written by hand: a good run, one with errors and withheld percentiles, an incomplete
//! one, and one in open loop.

use std::collections::BTreeMap;

use loadline_schema::document::{
    Client, Distribution, Document, Engine, Estimate, Incomplete, Interval, OutcomeCounts, Point,
    PointLoad, RunSummary, Selftest, Serving, Tokens,
};
use loadline_schema::event::{EndedEarly, Warning};
use loadline_schema::manifest::{HostFacts, RunStatus};

const US: f64 = 1e3;
const MS: f64 = 1e6;

/// A distribution around `p50` with these tails, all in ns, and intervals of ± 4 %.
fn latencies(n: u64, p50: f64, p90: f64, p99: f64) -> Distribution {
    let mut intervals = BTreeMap::new();
    for (name, value) in [("mean", p50 * 1.04), ("p50", p50), ("p90", p90), ("p99", p99)] {
        let interval = Interval { low: Some(value * 0.96), high: Some(value * 1.04) };
        intervals.insert(name.to_owned(), interval);
    }
    Distribution {
        n,
        mean: Some(p50 * 1.04),
        p50: Some(p50 as u64),
        p90: Some(p90 as u64),
        p95: Some(f64::midpoint(p90, p99) as u64),
        p99: Some(p99 as u64),
        max: Some((p99 * 1.3) as u64),
        intervals,
        ..Distribution::default()
    }
}

/// The same with a P99 that has no upper bound.
fn open_p99(mut distribution: Distribution) -> Distribution {
    if let Some(p99) = distribution.intervals.get_mut("p99") {
        p99.high = None;
    }
    distribution
}

fn rate(value: f64) -> Estimate {
    Estimate { value, low: Some(value * 0.97), high: Some(value * 1.03), n: 3 }
}

fn point(concurrency: u64, ok: u64, scale: f64) -> Point {
    let requests_per_s = ok as f64 / 90.0;
    let tpot = 6.7 * MS * scale;
    Point {
        load: PointLoad {
            concurrency: Some(concurrency),
            rate_per_s: None,
            burst: None,
            setting: None,
            arrival: "closed".into(),
        },
        trials: 3,
        trials_planned: 3,
        incomplete: None,
        window_ns: Some(90_000_000_000),
        requests: OutcomeCounts { ok, ..OutcomeCounts::default() },
        outside_cohort: OutcomeCounts { ok: ok / 5, ..OutcomeCounts::default() },
        errors: BTreeMap::new(),
        error_examples: BTreeMap::new(),
        finish_reasons: BTreeMap::from([("length".into(), ok)]),
        ttft_ns: Some(latencies(ok, 12.3 * MS * scale, 15.8 * MS * scale, 18.1 * MS * scale)),
        ttft_service_ns: None,
        ttfo_ns: None,
        ttfc_ns: Some(latencies(ok, 12.1 * MS * scale, 15.1 * MS * scale, 18.0 * MS * scale)),
        itl_ns: Some(latencies(ok, 6.7 * MS * scale, 6.9 * MS * scale, 7.23 * MS * scale)),
        chunk_gap_ns: Some(latencies(ok, 6.7 * MS * scale, 6.9 * MS * scale, 7.23 * MS * scale)),
        tpot_ns: Some(latencies(ok, tpot, tpot * 1.01, tpot * 1.04)),
        max_gap_ns: Some(latencies(ok, 9.0 * MS, 12.0 * MS, 19.0 * MS)),
        e2e_ns: Some(latencies(ok, 433.0 * MS * scale, 480.0 * MS * scale, 512.0 * MS * scale)),
        send_lag_ns: Some(latencies(ok, 0.31 * US, 2.2 * US, 41.0 * US)),
        read_lag_ns: Some(Distribution {
            bucketed: true,
            intervals: BTreeMap::new(),
            ..latencies(ok, 11.0 * US, 19.0 * US, 74.0 * US)
        }),
        requests_per_s: Some(rate(requests_per_s)),
        requests_per_s_without_tail: None,
        output_tokens_per_s: Some(rate(requests_per_s * 64.0)),
        output_tokens_per_s_without_tail: None,
        output_tokens_per_s_per_user: Some(rate(1e9 / tpot)),
        input_tokens_per_s: Some(rate(requests_per_s * 512.0)),
        achieved_rate_per_s: None,
        tokens: Some(Tokens {
            input: Some(512.0),
            output: Some(64.0),
            reasoning: None,
            cached: Some(0.0),
            output_total: ok * 64,
            input_total: Some(ok * 512),
            source: "usage".into(),
            per_chunk: Some(1.0),
        }),
        in_flight_mean: Some(concurrency as f64 * 0.998),
        little_residual: Some(1e-15),
        stationarity_residual: Some(0.004),
        client: Client {
            cpu_ratio: Some(0.031),
            cpu_ns_per_event: Some(7_400.0),
            spin_ratio: Some(0.0),
            timestamp_source: Some("kernel_rx".into()),
            merged_reads: Some(0.002),
            late_gaps: Some(0.0),
            clock_step_ns: Some(27),
            ..Client::default()
        },
        warnings: Vec::new(),
        ..Point::default()
    }
}

fn document(points: Vec<Point>) -> Document {
    Document {
        schema_version: 1,
        tool_version: "0.1.0".into(),
        run: Some(RunSummary {
            id: "k3v7q2xa".into(),
            name: "quickstart".into(),
            directory: "./runs/20261124T101500Z-quickstart-k3v7q2xa".into(),
            started: "2026-11-24T10:15:00Z".into(),
            status: RunStatus::Sealed,
            seed: 42,
            hosts: vec![HostFacts {
                name: "node1".into(),
                kernel: Some("Linux 6.12.5".into()),
                cpu: Some("AMD EPYC 9354".into()),
                cores: 2,
                memory_bytes: Some(8 << 30),
                ..HostFacts::default()
            }],
        }),
        serving: vec![Serving {
            stage: "serving".into(),
            endpoint: vec!["http://127.0.0.1:8080".into()],
            api: "chat".into(),
            engine: Some(Engine { name: "llama.cpp".into(), version: Some("b4567".into()) }),
            model: Some("SmolLM2-135M-Instruct-Q8_0".into()),
            template_tokens: Some(31),
            insecure: false,
            points,
            ..Serving::default()
        }],
        selftest: Some(Selftest {
            max_concurrency: Some(4096),
            max_rate_per_s: Some(5_000.0),
            ttft_error_ns_p99: Some(21_000),
            gap_error_ns_p99: Some(4_200),
            send_lag_ns_p99: Some(260_000),
            measured_at: "2026-11-20T08:00:00Z".into(),
        }),
        warnings: Vec::new(),
        ..Document::default()
    }
}

/// Four loads, no error.
pub(crate) fn good() -> Document {
    let mut small = point(1, 208, 1.0);
    small.ttft_ns = small.ttft_ns.map(open_p99);
    document(vec![small, point(4, 459, 3.1), point(16, 702, 8.9), point(64, 731, 61.0)])
}

fn add_errors(bad: &mut Point) {
    bad.errors = BTreeMap::from([
        ("http_429".into(), 12),
        ("total_timeout".into(), 3),
        ("eof_mid_stream".into(), 1),
    ]);
    bad.error_examples = BTreeMap::from([
        (
            "http_429".into(),
            "{\"error\":{\"message\":\"Too many requests\x1b[31m, retry after 5 s\",\"code\":429}}"
                .into(),
        ),
        ("eof_mid_stream".into(), "the connection was closed after 812 bytes".into()),
    ]);
}

/// Errors, dropped tails, a withheld percentile, reasoning, bundled tokens and a client that was
/// the limit.
pub(crate) fn errors() -> Document {
    let mut fine = point(16, 702, 8.9);
    fine.ttfo_ns = Some(latencies(702, 900.0 * MS, 1_400.0 * MS, 2_300.0 * MS));
    fine.chunk_gap_ns = Some(latencies(702, 20.0 * MS, 31.0 * MS, 77.0 * MS));
    let mut bad = point(8_192, 40, 61.0);
    bad.requests = OutcomeCounts {
        ok: 40,
        failed: 12,
        timed_out: 3,
        cut_short: 1,
        ..OutcomeCounts::default()
    };
    bad.outside_cohort.failed = 2;
    add_errors(&mut bad);
    bad.finish_reasons = BTreeMap::from([("length".into(), 31), ("stop".into(), 9)]);
    for distribution in [&mut bad.ttft_ns, &mut bad.itl_ns, &mut bad.tpot_ns, &mut bad.e2e_ns] {
        let distribution = distribution.as_mut().expect("the point has all latencies");
        (distribution.n, distribution.left_out) = (40, 16);
        (distribution.p90, distribution.p95, distribution.p99) = (None, None, None);
        distribution.intervals.remove("p90");
        distribution.intervals.remove("p99");
    }
    bad.tokens = Some(Tokens {
        input: None,
        output: Some(57.3),
        reasoning: Some(20.0),
        cached: Some(128.0),
        output_total: 2_292,
        input_total: None,
        source: "usage+chunks".into(),
        per_chunk: Some(3.4),
    });
    bad.client = Client {
        cpu_ratio: Some(0.97),
        timestamp_source: Some("mixed".into()),
        merged_reads: Some(0.41),
        late_gaps: Some(0.12),
        late_first_tokens: 5,
        fallbacks: 17,
        slow_writes: 2,
        limited: true,
        ..bad.client
    };
    bad.warnings = vec![Warning::new(
        "late_reads",
        "12 % of the gaps had to be split for the client's own lateness, so P99 of ITL is withheld",
        "use a client with more cores, or a smaller load",
    )];
    for (point, n) in [(&mut fine, 702), (&mut bad, 40)] {
        point.warnings.push(Warning::new(
            "no_usage",
            format!("the server told no token counts for {n} answers: events were counted"),
            "use a server that sends usage",
        ));
    }
    let shared = Warning::new(
        "short_outputs",
        "answers had 57 tokens on average where 64 were asked for",
        "use a server that knows ignore_eos, or a prompt that asks for long answers",
    );
    fine.warnings.push(shared.clone());
    bad.warnings.push(shared);
    let mut document = document(vec![fine, bad]);
    document.serving[0].insecure = true;
    document.warnings = vec![Warning::new(
        "clock_step",
        "the realtime clock was set during the run",
        "stop NTP from stepping the clock, and run again",
    )];
    document
}

/// Interrupted in its second point; nothing known about the machine.
pub(crate) fn incomplete() -> Document {
    let mut cut = point(4, 21, 3.1);
    cut.trials = 0;
    cut.incomplete = Some(Incomplete { trials: 1, reason: Some(EndedEarly::Interrupted) });
    cut.window_ns = Some(7_200_000_000);
    cut.requests = OutcomeCounts { ok: 21, cancelled: 4, unknown: 2, ..OutcomeCounts::default() };
    for estimate in [
        &mut cut.requests_per_s,
        &mut cut.output_tokens_per_s,
        &mut cut.input_tokens_per_s,
        &mut cut.output_tokens_per_s_per_user,
    ] {
        *estimate = None;
    }
    for distribution in [
        &mut cut.ttft_ns,
        &mut cut.ttfc_ns,
        &mut cut.itl_ns,
        &mut cut.chunk_gap_ns,
        &mut cut.tpot_ns,
        &mut cut.max_gap_ns,
        &mut cut.e2e_ns,
    ] {
        *distribution = None;
    }
    cut.in_flight_mean = None;
    cut.tokens = None;
    let mut document = document(vec![point(1, 208, 1.0), cut]);
    document.run.as_mut().expect("a run").status = RunStatus::Interrupted;
    document.selftest = None;
    document.serving[0].engine = None;
    document.serving[0].model = None;
    document
}

/// Poisson arrivals at two rates, the second one over what the server can do.
pub(crate) fn open_loop() -> Document {
    let mut points = vec![point(1, 300, 2.0), point(1, 590, 40.0)];
    for (point, offered) in points.iter_mut().zip([2.0, 8.0]) {
        point.load = PointLoad {
            concurrency: None,
            rate_per_s: Some(offered),
            burst: None,
            setting: None,
            arrival: "poisson".into(),
        };
        point.achieved_rate_per_s = Some(rate(offered * 0.998));
        point.ttft_service_ns = point
            .ttft_ns
            .clone()
            .map(|ttft| Distribution { p50: ttft.p50.map(|p50| p50 * 9 / 10), ..ttft });
        point.client.spin_ratio = Some(0.22);
    }
    points[1].in_flight_mean = Some(213.0);
    points[1].requests.dropped = 130;
    points[1].errors = BTreeMap::from([("in_flight_limit".into(), 130)]);
    points[1].warnings = vec![Warning::new(
        "saturated",
        "the server answered 6.56 of the 8 requests/s that were offered",
        "read these latencies as a queue that grows as long as the test lasts",
    )];
    document(points)
}
