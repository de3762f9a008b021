//! Every ready-made case of one answer.

use loadline_schema::plan::Timeouts;
use loadline_testkit::FaultServer;
use loadline_testkit::cases::{failures, streams};

use crate::drive::{Drive, MS, assert_as_expected, target};

#[test]
fn good_streams_in_every_shape_are_understood() {
    for case in streams() {
        let server = FaultServer::start(case.script.clone());
        let (rows, _) = Drive::requests(1).run(&target(&server.url()));
        assert_as_expected(case.name, &rows[0], &case.expect);
    }
}

#[test]
fn bad_answers_are_told_apart() {
    let limits = Timeouts {
        connect_ns: 5_000 * MS,
        first_token_ns: 700 * MS,
        gap_ns: 700 * MS,
        total_ns: 2_000 * MS,
    };
    for case in failures() {
        let server = FaultServer::start(case.script.clone());
        let drive = Drive { timeouts: limits, ..Drive::requests(1) };
        let (rows, _) = drive.run(&target(&server.url()));
        assert_as_expected(case.name, &rows[0], &case.expect);
    }
}
