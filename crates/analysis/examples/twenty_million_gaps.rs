//! A look at speed and memory: one point of 200,000 requests with 100 gaps each. Run it with
//! `cargo build --release --example twenty_million_gaps` and time the program.

#[path = "../tests/made/mod.rs"]
mod made;

use loadline_analysis::serving_point;
use loadline_schema::plan::Load;
use loadline_schema::record::RequestRow;
use made::{MS, answer, input, stage, trial};

fn main() {
    let rows: Vec<RequestRow> = (0..200_000)
        .map(|op: u64| {
            let gap = |i: u64| (op * 100 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let gaps: Vec<u64> = (0..100).map(gap).collect();
            answer(op, op * 50_000, 50 * MS, &gaps)
        })
        .collect();
    let load = Load::Closed { concurrency: 64 };
    let point = serving_point(input(&stage()), load, [trial(0, rows)]);
    assert_eq!(point.itl_ns.and_then(|d| d.values), Some(20_000_000));
}
