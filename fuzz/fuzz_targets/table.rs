//! Tables measured elsewhere: nothing panics, errors have words, and figures are finite.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_schema::table_file::TableFile;

fuzz_target!(|bytes: &[u8]| {
    match TableFile::parse(bytes) {
        Ok(table) => {
            assert!(!table.rows.is_empty());
            for row in &table.rows {
                let figures = row.row.latency_ns.values().flat_map(|figures| figures.values());
                assert!(figures.chain(&row.row.requests_per_s).all(|v| v.is_finite() && *v >= 0.0));
                assert!(row.requests_rounding_per_s.is_finite());
                assert!(row.row.load.concurrency.is_some() != row.row.load.rate_per_s.is_some());
                assert!((2..=1 + bytes.len() as u64).contains(&row.line));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
