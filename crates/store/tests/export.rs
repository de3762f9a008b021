//! Exports say what the records say.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use loadline_schema::event::{Event, EventKind};
use loadline_schema::manifest::RunStatus;
use loadline_schema::outcome::TokenSource;
use loadline_schema::record::{MergedRead, RequestRow, TrialId};
use loadline_store::{Export, RunReader, write_csv, write_jsonl, write_parquet};
use rows::{ORIGIN_UNIX_NS, TRIAL, create, row};

/// A run of two stages, the first sealed row full of awkward text.
fn run(out: &std::path::Path) -> (RunReader, Vec<RequestRow>) {
    let mut writer = create(out, &["a, \"b\"", "c"]);
    let mut rows: Vec<RequestRow> = (0..1500).map(|op| row(op, TRIAL, 3)).collect();
    rows[0].record.error_text = Some("a \"word\",\nand a line".into());
    rows[0].record.http_status = None;
    let chunks = rows[0].chunks.as_mut().unwrap();
    chunks.tokens = vec![1, 2, 1, 1];
    chunks.merged = vec![MergedRead { first: 1, count: 2, window_100ns: 9 }];
    rows[1].chunks = None;
    rows.push(row(0, TrialId { stage: 1, ..TRIAL }, 2));
    writer.append_requests(&rows).unwrap();
    let dir = writer.dir().to_owned();
    let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    (RunReader::open(&dir).unwrap(), rows)
}

#[test]
fn json_lines_have_every_value_and_no_absent_one() {
    let out = tempfile::tempdir().unwrap();
    let (run, rows) = run(out.path());
    let mut text = Vec::new();
    write_jsonl(&run, &mut text, Export { chunk_times: true }).unwrap();
    let lines: Vec<serde_json::Value> = String::from_utf8(text)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), rows.len());
    for (line, RequestRow { record, chunks }) in lines.iter().zip(&rows) {
        assert_eq!(line["op"], record.op);
        assert_eq!(line["stage"], record.trial.stage);
        assert_eq!(line["stage_name"], ["a, \"b\"", "c"][usize::from(record.trial.stage)]);
        assert_eq!(line["outcome"], record.outcome.as_str());
        assert_eq!(line["reused"], record.reused);
        assert_eq!(line.get("http_status").is_some(), record.http_status.is_some());
        assert!(line.get("dns_ns").is_none());
        let gaps = chunks.as_ref().map(|chunks| serde_json::json!(chunks.gaps_100ns));
        assert_eq!(line.get("gaps_100ns"), gaps.as_ref());
    }
    assert_eq!(lines[0]["error_text"], "a \"word\",\nand a line");
    assert_eq!(lines[0]["tokens"], serde_json::json!([1, 2, 1, 1]));
    assert_eq!(lines[0]["merged"], serde_json::json!([[1, 2, 9]]));

    let mut short = Vec::new();
    write_jsonl(&run, &mut short, Export::default()).unwrap();
    assert!(!String::from_utf8(short).unwrap().contains("gaps"));
}

/// Fields of a CSV text by RFC 4180.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut fields, mut field, mut quoted) =
        (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut fields));
            }
            other => field.push(other),
        }
    }
    rows
}

#[test]
fn csv_has_one_line_of_names_and_one_for_each_request() {
    let out = tempfile::tempdir().unwrap();
    let (run, rows) = run(out.path());
    for chunk_times in [false, true] {
        let mut text = Vec::new();
        write_csv(&run, &mut text, Export { chunk_times }).unwrap();
        let lines = parse_csv(std::str::from_utf8(&text).unwrap());
        let (names, lines) = lines.split_first().unwrap();
        assert_eq!(lines.len(), rows.len());
        assert!(lines.iter().all(|line| line.len() == names.len()));
        let column = |name: &str| names.iter().position(|known| known == name).unwrap();
        for (line, RequestRow { record, .. }) in lines.iter().zip(&rows) {
            assert_eq!(line[column("op")], record.op.to_string());
            assert_eq!(line[column("intended_ns")], record.intended_ns.to_string());
            assert_eq!(line[column("dns_ns")], "");
            assert_eq!(line[column("error_text")], record.error_text.as_deref().unwrap_or(""));
        }
        assert_eq!(lines[0][column("stage_name")], "a, \"b\"");
        if chunk_times {
            assert_eq!(lines[0][column("merged")], "[[1,2,9]]");
            assert_eq!(lines[1][column("gaps_100ns")], "");
        }
    }
}

#[test]
fn parquet_holds_the_whole_run() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let out = tempfile::tempdir().unwrap();
    let (run, rows) = run(out.path());
    for chunk_times in [false, true] {
        let path = out.path().join("export.parquet");
        write_parquet(&run, std::fs::File::create(&path).unwrap(), Export { chunk_times }).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let total: usize = batches.iter().map(arrow_array::RecordBatch::num_rows).sum();
        assert_eq!(total, rows.len());
        assert!(batches[0].column_by_name("stage_name").is_some());
        assert_eq!(batches[0].column_by_name("gaps_100ns").is_some(), chunk_times);
    }
}

/// What the server's tokenizer counted after a trial is in every export as it is in the records that
/// reports are made of; what was never counted, or came with usage, stays.
#[test]
fn counts_of_the_tokenizer_stand_for_numbers_of_chunks() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let mut rows: Vec<RequestRow> = (0..4).map(|op| row(op, TRIAL, 3)).collect();
    for row in &mut rows {
        row.record.output_tokens = Some(4);
        row.record.token_source = Some(TokenSource::Chunks);
    }
    rows[3].record.token_source = Some(TokenSource::Usage);
    writer.append_requests(&rows).unwrap();
    let other = TrialId { trial: TRIAL.trial + 1, ..TRIAL };
    for (trial, tokens) in [(TRIAL, vec![(0, 11), (2, 13), (3, 14)]), (other, vec![(1, 12)])] {
        writer.event(&Event { at_ns: 1, kind: EventKind::TokenCounts { trial, tokens } }).unwrap();
    }
    let expected = [(11, "tokenize"), (4, "chunks"), (13, "tokenize"), (4, "usage")];
    let dir = writer.dir().to_owned();
    let check = || {
        let run = RunReader::open(&dir).unwrap();
        let read: Vec<(u32, &str)> = run
            .read_trial(TRIAL)
            .unwrap()
            .requests
            .iter()
            .map(|row| {
                let record = &row.record;
                (record.output_tokens.unwrap(), record.token_source.unwrap().as_str())
            })
            .collect();
        assert_eq!(read, expected);
        let mut text = Vec::new();
        write_jsonl(&run, &mut text, Export::default()).unwrap();
        for (line, (tokens, source)) in std::str::from_utf8(&text).unwrap().lines().zip(expected) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (&line["output_tokens"], &line["token_source"]),
                (&tokens.into(), &source.into())
            );
        }
        text.clear();
        write_csv(&run, &mut text, Export::default()).unwrap();
        let lines = parse_csv(std::str::from_utf8(&text).unwrap());
        let column = |name: &str| lines[0].iter().position(|known| known == name).unwrap();
        for (line, (tokens, source)) in lines[1..].iter().zip(expected) {
            assert_eq!(line[column("output_tokens")], tokens.to_string());
            assert_eq!(line[column("token_source")], source);
        }
        assert_eq!(parquet_tokens(&run, out.path()), expected.map(|(tokens, _)| Some(tokens)));
    };
    check();
    let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    check();
    std::fs::remove_file(dir.join("events.jsonl")).unwrap();
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.read_trial(TRIAL).unwrap().requests, rows, "without its log what was stored");
}

/// The column `output_tokens` of a Parquet export.
fn parquet_tokens(run: &RunReader, out: &std::path::Path) -> Vec<Option<u32>> {
    use arrow_array::cast::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let path = out.join("tokens.parquet");
    write_parquet(run, std::fs::File::create(&path).unwrap(), Export::default()).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let column = |batch: &arrow_array::RecordBatch| {
        let column = batch.column_by_name("output_tokens").unwrap();
        column.as_primitive::<arrow_array::types::UInt32Type>().iter().collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).collect()
}

#[test]
fn a_sink_that_refuses_is_named() {
    struct Refuses;
    impl std::io::Write for Refuses {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let out = tempfile::tempdir().unwrap();
    let (run, _) = run(out.path());
    let error = write_csv(&run, &mut Refuses, Export::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the export: broken pipe");
    assert!(write_parquet(&run, Refuses, Export::default()).is_err());
}
