//! The document, and what must hold for any trials.

mod made;

use loadline_analysis::{StageInput, StageResult, document, serving_point};
use loadline_schema::document::{OutcomeCounts, Point, RunSummary};
use loadline_schema::event::{Calibration, TargetFacts, Warning};
use loadline_schema::manifest::RunStatus;
use loadline_schema::outcome::{ErrorKind, Outcome, Phase};
use loadline_schema::plan::{Load, ServingStage};
use loadline_schema::record::RequestRow;
use made::{MS, S, answer, dropped, failed, input, ok, stage, start, trial};
use proptest::prelude::*;

const LOAD: Load = Load::Closed { concurrency: 8 };

fn run() -> RunSummary {
    RunSummary {
        id: "abcdefgh".to_owned(),
        name: "made".to_owned(),
        directory: "runs/made".to_owned(),
        started: "2026-11-24T10:15:00Z".to_owned(),
        status: RunStatus::Sealed,
        seed: 1,
        hosts: Vec::new(),
    }
}

#[test]
fn the_document_holds_stage_facts_and_no_secret() {
    let stage = ServingStage {
        endpoints: vec!["https://user:secret@localhost:8443/v1?key=secret".to_owned()],
        insecure: true,
        ..stage()
    };
    let facts = TargetFacts {
        engine: Some("llama.cpp".to_owned()),
        model: Some("small".to_owned()),
        ..TargetFacts::default()
    };
    let calibration = Calibration { template_tokens: Some(31), ..Calibration::default() };
    let input =
        StageInput { facts: Some(&facts), calibration: Some(&calibration), ..input(&stage) };
    let points = vec![serving_point(input, LOAD, [trial(0, vec![ok(0, 0, 50)])])];
    let told = Warning::new("discovery", "no version", "none");
    let result = StageResult { input, points };
    let found =
        document(run(), Vec::new(), Vec::new(), vec![result], None, vec![told.clone(), told]);
    let serving = &found.serving[0];
    assert_eq!(serving.endpoint, ["https://localhost:8443/v1"]);
    assert_eq!((serving.model.as_deref(), serving.template_tokens), (Some("small"), Some(31)));
    assert_eq!(serving.engine.as_ref().map(|e| e.name.as_str()), Some("llama.cpp"));
    let codes: Vec<&str> = found.warnings.iter().map(|w| w.code.as_str()).collect();
    let expected =
        ["closed_loop_hides_queueing", "insecure_tls", "target_shares_machine", "discovery"];
    assert_eq!(codes, expected);
    assert_eq!(found.schema_version, loadline_schema::SCHEMA_VERSION);
}

#[test]
fn an_open_stage_elsewhere_has_no_warning_of_its_own() {
    let stage = ServingStage { points: vec![Load::Burst { requests: 4 }], ..stage() };
    let result = StageResult { input: input(&stage), points: Vec::new() };
    let found = document(run(), Vec::new(), Vec::new(), vec![result], None, Vec::new());
    assert_eq!(found.warnings, []);
    assert_eq!(found.serving[0].model, None);
}

/// An operation: intended and TTFT in ms, gaps in 100 ns, what became of it.
fn operations() -> impl Strategy<Value = Vec<RequestRow>> {
    let operation =
        (0u64..12_000, 1u64..500, prop::collection::vec(0u64..300_000, 0..8), 0u8..8, 0u8..4);
    prop::collection::vec(operation, 0..60).prop_map(|operations| {
        let rows = operations.into_iter().enumerate();
        rows.map(|(op, (intended, ttft, gaps, fate, merged))| {
            let op = op as u64;
            let gaps: Vec<u64> = gaps.into_iter().map(|g| g * 100).collect();
            let mut row = match fate {
                0 => failed(op, intended, ErrorKind::Http5xx),
                1 => dropped(op, intended),
                _ => answer(op, intended * MS, ttft * MS, &gaps),
            };
            if fate == 2 {
                row.record.outcome = Outcome::CutShort;
                row.record.done_ns = None;
            }
            if merged == 0 && fate > 2 && gaps.len() > 2 {
                made::merge(&mut row, 1, 2, 10_000);
            }
            if intended >= 10_000 {
                row.record.phase = Phase::Drain;
            }
            row
        })
        .collect()
    })
}

fn total(counts: &OutcomeCounts) -> u64 {
    let c = counts;
    c.ok + c.failed + c.timed_out + c.cut_short + c.cancelled + c.dropped + c.unknown
}

fn point(rows: Vec<RequestRow>) -> Point {
    serving_point(input(&stage()), LOAD, [trial(0, rows)])
}

proptest! {
    #[test]
    fn the_order_of_rows_does_not_matter(rows in operations(), seed in any::<u64>()) {
        let mut shuffled = rows.clone();
        // A shuffle by a hash of the operation's number.
        shuffled.sort_by_key(|r| (r.record.op ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        prop_assert_eq!(point(rows), point(shuffled));
    }

    #[test]
    fn every_operation_is_counted_once(rows in operations(), open in 0u64..20) {
        let n = rows.len() as u64;
        let mut made = trial(0, rows);
        made.starts.extend((0..open).map(|i| start(0, 1_000 + i, i * S)));
        let found = serving_point(input(&stage()), LOAD, [made]);
        prop_assert_eq!(total(&found.requests) + total(&found.outside_cohort), n + open);
        prop_assert_eq!(found.requests.unknown + found.outside_cohort.unknown, open);
    }

    #[test]
    fn pooled_percentiles_are_those_of_the_sorted_vector(rows in operations()) {
        let mut expected: Vec<u64> = rows
            .iter()
            .map(|r| &r.record)
            .filter(|r| r.outcome == Outcome::Ok && r.intended_ns < 10 * S)
            .map(|r| r.done_ns.expect("ok") - r.intended_ns)
            .collect();
        expected.sort_unstable();
        let found = point(rows).e2e_ns;
        prop_assert_eq!(found.is_some(), !expected.is_empty());
        let Some(found) = found else { return Ok(()) };
        prop_assert_eq!(found.n, expected.len() as u64);
        prop_assert_eq!(found.max, expected.last().copied());
        let stated = [(found.p50, 500), (found.p90, 900), (found.p99, 990), (found.p999, 999)];
        for (value, per_mille) in stated {
            let rank = (expected.len() * per_mille).div_ceil(1000);
            if let Some(value) = value {
                prop_assert_eq!(value, expected[rank - 1]);
            } else {
                // Withheld only where the attempts left out reach down to it.
                let all = found.n + found.left_out;
                prop_assert!(per_mille as u64 * all > 1000 * found.n);
            }
        }
    }

    #[test]
    fn two_trials_pool_as_one(rows in operations(), cut in 0usize..60) {
        let cut = cut.min(rows.len());
        let (left, right) = rows.split_at(cut);
        let two = serving_point(
            input(&ServingStage { trials: 2, ..stage() }),
            LOAD,
            [trial(0, left.to_vec()), trial(1, right.to_vec())],
        );
        let one = point(rows.clone());
        prop_assert_eq!(two.requests, one.requests);
        prop_assert_eq!(two.errors, one.errors);
        prop_assert_eq!(two.tokens, one.tokens);
        for (a, b) in [
            (two.ttft_ns, one.ttft_ns),
            (two.itl_ns, one.itl_ns),
            (two.chunk_gap_ns, one.chunk_gap_ns),
            (two.max_gap_ns, one.max_gap_ns),
            (two.tpot_ns, one.tpot_ns),
        ] {
            let (mut a, mut b) = (a.unwrap_or_default(), b.unwrap_or_default());
            // How much values hang together, and so the width of intervals, is told within trials.
            a.intervals.clear();
            b.intervals.clear();
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn little_holds_for_any_trial(rows in operations()) {
        let found = point(rows);
        prop_assert!(found.little_residual.unwrap_or(0.0) <= 1e-9);
    }
}
