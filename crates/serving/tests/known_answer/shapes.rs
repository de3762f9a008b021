//! Shapes of answers: bundles, role chunks, reasoning, stalls, missing usage, unix sockets.

use std::time::Duration;

use loadline_schema::outcome::{Outcome, TimestampSource, TokenSource};
use loadline_testkit::{
    Delay, Law, Listen, ReasoningField, RoleChunk, Stall, TruthThread, Usage, UsagePlace,
};

use crate::drive::{Drive, MS, Ran, assert_small};

fn law(ttft_ms: u64, itl_ms: u64, tokens: u32) -> Law {
    Law::fixed(Duration::from_millis(ttft_ms), Duration::from_millis(itl_ms), tokens)
}

fn serve(law: Law) -> TruthThread {
    TruthThread::start(law).expect("a free port")
}

/// Loopback: every answer has its times from the kernel.
#[test]
fn arrivals_are_stamped_by_the_kernel() {
    let server = serve(law(10, 3, 10));
    let ran = Drive::closed(4, 20).run(&server);
    let source = Some(TimestampSource::KernelRx);
    assert!(ran.rows.iter().all(|row| row.record.timestamp_source == source));
    assert_eq!(ran.end.client.fallbacks, 0);
    assert_eq!(ran.end.client.read_lag.map(|lag| lag.n), Some(ran.end.client.reads));
    assert_eq!(ran.end.client.token_chunks, 20 * 10);
}

#[test]
fn events_of_one_write_are_one_merged_read() {
    let server = serve(Law { events_per_write: 4, ..law(20, 10, 20) });
    let ran = Drive::closed(4, 24).run(&server);
    ran.assert_all_ok(24);
    ran.assert_times_true();
    for row in &ran.rows {
        let chunks = row.chunks.as_ref().expect("kept");
        assert_eq!((row.record.token_chunks, row.record.merged_chunks), (20, 20));
        assert_eq!(chunks.merged.iter().map(|read| read.count).sum::<u32>(), 20);
        for read in &chunks.merged {
            // Two writes that were read together are a late client's, and stay whole writes.
            assert!(read.first.is_multiple_of(4) && read.count.is_multiple_of(4), "{read:?}");
        }
        let starts_write = |gap: usize| (gap + 1).is_multiple_of(4);
        for (gap, ns) in chunks.gaps_100ns.iter().enumerate() {
            assert!(starts_write(gap) || *ns == 0, "gap {gap} inside a bundle is {ns}");
        }
    }
    assert_eq!(ran.end.client.merged_chunks, 24 * 20);
}

/// A client that waits for the socket knows that what comes in one read came at once.
#[test]
fn a_bundle_read_by_a_waiting_client_is_known_as_one() {
    let server = serve(Law { events_per_write: 4, ..law(20, 10, 40) });
    let reads = merged_reads(&Drive::closed(1, 8).run(&server));
    let short = reads.iter().filter(|(window, _)| *window <= MS / 10).count();
    // On a loaded machine it is late now and then.
    assert!(short * 4 >= reads.len(), "{short} of {} short: {reads:?}", reads.len());
}

/// A read with several tokens: the window in which the client says that they came, and the time
/// over which the server sent them, ns.
fn merged_reads(ran: &Ran) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for row in &ran.rows {
        let sent = ran.truth(&row.record).token_times_ns();
        for read in &row.chunks.as_ref().expect("kept").merged {
            let (first, last) = (read.first as usize, (read.first + read.count - 1) as usize);
            found.push((u64::from(read.window_100ns) * 100, sent[last] - sent[first]));
        }
    }
    found
}

/// Between its look at the clock for a write and that write, the server's one thread looks at no
/// clock for another: at its next stamp of any answer a write has surely been made, however long it
/// was without a core in between.
fn surely_written_ns(stamps: &[u64], stamp: u64) -> Option<u64> {
    stamps.get(stamps.partition_point(|other| *other <= stamp)).copied()
}

/// What is taken for one write of the server's was sent within a moment, also where tokens come so
/// close together that reads hold several by chance.
#[test]
fn what_is_taken_for_a_bundle_was_one() {
    let itl = Delay::Exponential { mean_ns: MS };
    let server = serve(Law { itl, ..law(10, 0, 150) });
    let ran = Drive::closed(12, 48).run(&server);
    ran.assert_all_ok(48);
    let mut stamps: Vec<u64> =
        ran.log.iter().flat_map(|truth| truth.write_times_ns.iter().copied()).collect();
    stamps.sort_unstable();
    let mut taken = Vec::new();
    for row in &ran.rows {
        let sent = ran.truth(&row.record).token_times_ns();
        let merged = &row.chunks.as_ref().expect("kept").merged;
        for read in merged.iter().filter(|read| u64::from(read.window_100ns) * 100 <= MS / 10) {
            let (first, last) = (read.first as usize, (read.first + read.count - 1) as usize);
            let written = surely_written_ns(&stamps, sent[first]);
            taken.push(written.map_or(0, |written| sent[last].saturating_sub(written)));
        }
    }
    let wrong = taken.iter().filter(|apart| **apart > MS / 2).count();
    assert!(wrong * 50 <= taken.len().max(50), "{wrong} of {}: {taken:?}", taken.len());
}

/// A client that was kept from reading does not take what piled up for the server's bundle.
#[test]
fn a_late_read_is_known_as_late() {
    for events_per_write in [1, 2] {
        let server = serve(Law { events_per_write, ..law(10, 4, 40) });
        let drive = Drive { held_up: Duration::from_millis(45), ..Drive::closed(3, 24) };
        let ran = drive.run(&server);
        ran.assert_all_ok(24);
        let mut late = merged_reads(&ran);
        late.retain(|(_, sent)| *sent > 20 * MS);
        let known = late.iter().filter(|(window, sent)| window + MS > *sent).count();
        assert!(late.len() >= 4 && known * 10 >= late.len() * 9, "{known} known of {late:?}");
    }
}

#[test]
fn a_role_chunk_is_no_token() {
    for role in [RoleChunk::AtOnce, RoleChunk::WithFirstToken] {
        let server = serve(Law { role, ..law(40, 3, 10) });
        let ran = Drive::closed(4, 16).run(&server);
        ran.assert_all_ok(16);
        ran.assert_times_true();
        for row in &ran.rows {
            let record = &row.record;
            // Role, ten tokens, usage; the finish reason comes with the last token.
            assert_eq!((record.token_chunks, record.chunks), (10, 12));
            let wait = record.first_token_ns.zip(record.first_chunk_ns).map(|(t, c)| t - c);
            match role {
                RoleChunk::AtOnce => assert!(wait >= Some(20 * MS), "{wait:?}"),
                _ => assert_eq!(wait, Some(0)),
            }
        }
    }
}

#[test]
fn reasoning_comes_before_output_and_counts() {
    for reasoning_field in [ReasoningField::ReasoningContent, ReasoningField::Reasoning] {
        let server = serve(Law { reasoning_tokens: 6, reasoning_field, ..law(20, 4, 16) });
        let ran = Drive::closed(4, 16).run(&server);
        ran.assert_all_ok(16);
        ran.assert_times_true();
        let error = |row: &loadline_schema::record::RequestRow| {
            let record = &row.record;
            let truth = ran.truth(record);
            let client =
                record.first_output_ns.expect("output") - record.first_token_ns.expect("token");
            let server = truth.first_output_ns().expect("kept") - truth.first_ns.expect("sent");
            client.cast_signed() - server.cast_signed()
        };
        assert_small("first output", &ran.rows.iter().map(error).collect::<Vec<_>>(), MS, 100 * MS);
        assert!(ran.rows.iter().all(|row| row.record.reasoning_tokens == Some(6)));
    }
}

#[test]
fn a_stall_is_where_the_server_made_it() {
    let stall = Stall { every: 2, at_token: 5, for_ns: 80 * MS };
    let server = serve(Law { stall: Some(stall), ..law(10, 3, 10) });
    let ran = Drive::closed(2, 16).run(&server);
    ran.assert_all_ok(16);
    ran.assert_times_true();
    let mut errors = Vec::new();
    for row in ran.rows.iter().filter(|row| ran.truth(&row.record).id % 2 == 1) {
        let client = i64::from(row.chunks.as_ref().expect("kept").gaps_100ns[4]) * 100;
        let server = ran.truth(&row.record).gaps_ns().nth(4).expect("ten tokens").cast_signed();
        assert!(server > (40 * MS).cast_signed(), "the gap before token 5 took {server} ns");
        errors.push(client - server);
    }
    assert_eq!(errors.len(), 8);
    assert_small("stall", &errors, 5 * MS, 150 * MS);
}

#[test]
fn usage_is_taken_wherever_it_comes_and_else_events_are_counted() {
    for usage_place in [UsagePlace::OwnChunk, UsagePlace::FinishChunk, UsagePlace::LastToken] {
        let ran = Drive::closed(2, 6).run(&serve(Law { usage_place, ..law(5, 2, 8) }));
        ran.assert_all_ok(6);
    }
    let ran = Drive::closed(2, 6).run(&serve(Law { usage: Usage::Never, ..law(5, 2, 8) }));
    for row in &ran.rows {
        let record = &row.record;
        assert_eq!((record.outcome, record.output_tokens), (Outcome::Ok, Some(8)));
        assert_eq!((record.token_source, record.input_tokens), (Some(TokenSource::Chunks), None));
    }
}

#[test]
fn continuous_usage_tells_the_tokens_of_each_event() {
    let bundled = Law { continuous_usage: true, tokens_per_event: 3, ..law(10, 4, 14) };
    let ran = Drive::closed(2, 8).run(&serve(bundled));
    assert_eq!(ran.rows.len(), 8);
    for row in &ran.rows {
        assert_eq!((row.record.outcome, row.record.output_tokens), (Outcome::Ok, Some(14)));
        assert_eq!(row.chunks.as_ref().expect("kept").tokens, [3, 3, 3, 3, 2]);
    }
}

#[test]
fn limits_asked_for_are_kept_and_recorded() {
    let server = serve(Law { honour_limits: true, ..law(5, 2, 50) });
    let ran = Drive { output_tokens: 9, ..Drive::closed(2, 6) }.run(&server);
    ran.assert_all_ok(6);
    for row in &ran.rows {
        let record = &row.record;
        assert_eq!((record.output_tokens, record.asked_tokens), (Some(9), Some(9)));
        assert_eq!(record.finish_reason.as_deref(), Some("length"));
    }
}

#[test]
fn a_unix_socket_is_stamped_on_reading() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("s.sock");
    let server =
        TruthThread::start_at(Listen::from(path.as_path()), law(20, 5, 10)).expect("listens");
    let ran = Drive::closed(4, 24).run(&server);
    ran.assert_all_ok(24);
    let errors = ran.errors();
    assert!(errors.is_complete(), "{errors:?}");
    // Without a kernel stamp a time is no better than the machine's scheduling.
    assert_small("TTFT", &errors.ttft_ns, 3 * MS, 100 * MS);
    assert_small("gap", &errors.gap_ns, 3 * MS, 100 * MS);
    let source = Some(TimestampSource::User);
    assert!(ran.rows.iter().all(|row| row.record.timestamp_source == source));
    assert_eq!(ran.end.client.fallbacks, 0);
}
