//! The bare reader against the truth server: every token seen, every error small and known.

use std::time::Duration;

use loadline_truth::known_answer::compare;
use loadline_truth::reader::{Load, ReaderPlan, read};
use loadline_truth::{Law, TruthError, TruthThread};

fn law(parameters: &str) -> Law {
    Law::default().with(parameters).expect("valid parameters")
}

fn closed(server: &TruthThread, concurrency: u32, requests: u64) -> ReaderPlan {
    let load = Load::Closed { concurrency, requests };
    ReaderPlan { kernel_stamps: true, ..ReaderPlan::new(server.addr(), load) }
}

#[test]
fn every_request_is_matched_with_all_its_gaps() {
    let server = TruthThread::start(law("ttft_us=5000&itl_us=3000&tokens=20")).expect("started");
    let reading = read(&closed(&server, 8, 24)).expect("read");
    let errors = compare(&reading.client_rows(true), &server.log());
    assert!(errors.is_complete(), "{errors:?}");
    assert_eq!((errors.matched, errors.ttft_ns.len(), errors.gap_ns.len()), (24, 24, 24 * 19));
    // Server and kernel share a clock: no token arrives before it was sent.
    let log = server.log();
    for row in &reading.rows {
        let record = log.iter().find(|record| Some(record.id) == row.answer).expect("logged");
        let first = row.sent_ns + reading.ttft_ns(row).expect("a token");
        assert!(first >= record.first_ns.expect("sent") && row.sent_ns <= record.arrival_kernel_ns);
    }
    assert_eq!(reading.events, 24 * (20 + 2));
    assert_eq!((reading.connections, server.stats().max_inflight), (8, 8));
    assert!(reading.vm_hwm_kib > Some(0) && reading.user_s + reading.system_s > 0.0);
}

#[test]
fn bundles_are_reads_with_several_events() {
    let server =
        TruthThread::start(law("ttft_us=2000&itl_us=4000&tokens=10&burst=4")).expect("started");
    let reading = read(&closed(&server, 2, 4)).expect("read");
    let errors = compare(&reading.client_rows(true), &server.log());
    assert!(errors.is_complete(), "{errors:?}");
    assert_eq!(reading.rows[0].token_events, 10);
    assert_eq!(errors.gap_ns.len(), 4 * 9);
}

#[test]
fn an_open_loop_sends_at_its_rate() {
    let server = TruthThread::start(law("ttft_us=1000&itl_us=0&tokens=2")).expect("started");
    let load = Load::Open { rate_per_s: 300, seconds: 1 };
    let reading = read(&ReaderPlan::new(server.addr(), load)).expect("read");
    assert_eq!(reading.rows.len(), 300);
    let mut intended: Vec<u64> = reading.rows.iter().map(|row| row.intended_ns).collect();
    intended.sort_unstable();
    assert_eq!(intended[299] - intended[0], 299 * 1_000_000_000 / 300);
    assert!(reading.rows.iter().all(|row| row.sent_ns >= row.intended_ns));
    assert!(compare(&reading.client_rows(true), &server.log()).is_complete());
}

#[test]
fn a_saturated_server_is_read_to_the_last_event() {
    let server = TruthThread::start(law("ttft_us=0&itl_us=0&tokens=500")).expect("started");
    let reading = read(&closed(&server, 4, 16)).expect("read");
    let errors = compare(&reading.client_rows(true), &server.log());
    assert!(errors.is_complete(), "{errors:?}");
    assert_eq!(server.stats().events, 16 * 500);
}

#[test]
fn what_it_cannot_read_is_an_error_that_says_so() {
    let server = TruthThread::start(law("errors=1")).expect("started");
    let error = read(&closed(&server, 1, 1)).expect_err("503");
    assert!(error.to_string().contains("503"), "{error}");
    let address = server.addr();
    drop(server);
    let plan = ReaderPlan::new(address, Load::Closed { concurrency: 1, requests: 1 });
    let error = read(&plan).expect_err("closed");
    assert!(matches!(error, TruthError::Connect { .. }), "{error}");
}

#[test]
fn at_its_limit_it_gives_up_with_what_there_is() {
    let server = TruthThread::start(law("ttft_us=60000000")).expect("started");
    let mut plan = closed(&server, 1, 1);
    plan.limit = Duration::from_millis(50);
    assert!(read(&plan).expect("read").rows.is_empty());
}
