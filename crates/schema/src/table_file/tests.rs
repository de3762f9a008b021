//! Tables as people have them, and those that cannot be read.

use proptest::prelude::*;

use super::TableFile;

const CHAPTER: &str = "Batch Size,Requests/Second,Avg Latency,P99 Latency\n\
    1,2.3,435ms,520ms\n4,8.1,493ms,680ms\n16,18.4,871ms,1200ms\n64,29.2,2193ms,3100ms\n";

fn read(text: &str) -> TableFile {
    TableFile::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    TableFile::parse(text.as_bytes()).expect_err(text).to_string()
}

/// Load, requests/s, mean and P99 of E2E in ms of each row.
fn figures(table: &TableFile) -> Vec<(u64, f64, f64, f64)> {
    let of = |row: &super::TableRow| {
        let e2e = |name| row.latency_ns("e2e", name).expect(name) / 1e6;
        let load = row.row.load.concurrency.expect("closed loop");
        (load, row.row.requests_per_s.expect("required"), e2e("mean"), e2e("p99"))
    };
    table.rows.iter().map(of).collect()
}

const FIGURES: [(u64, f64, f64, f64); 4] = [
    (1, 2.3, 435.0, 520.0),
    (4, 8.1, 493.0, 680.0),
    (16, 18.4, 871.0, 1200.0),
    (64, 29.2, 2193.0, 3100.0),
];

#[test]
fn the_chapter_is_read_with_its_own_headings() {
    let table = read(CHAPTER);
    assert_eq!(figures(&table), FIGURES);
    assert!(table.warnings.is_empty(), "{:?}", table.warnings);
    assert_eq!(table.latency_names(), ["e2e_mean", "e2e_p99"]);
    let first = &table.rows[0];
    assert_eq!((first.line, first.row.load.arrival.as_str()), (2, "closed"));
    assert!((first.requests_rounding_per_s - 0.05).abs() < 1e-15);
    assert_eq!(first.e2e_mean_rounding_ns, Some(5e5));
}

#[test]
fn the_same_table_in_other_clothes() {
    let rows = |separator: &str, unit: &str| {
        FIGURES
            .map(|(n, x, mean, p99)| {
                format!("{n}{separator}{x}{separator}{mean}{unit}{separator}{p99}{unit}")
            })
            .join("\n")
    };
    for head in [
        "batch size,requests/second,avg latency (ms),p99 latency [ms]",
        "concurrency,requests_per_s,e2e_mean_ms,e2e_p99_ms",
        "Concurrency,req/s,mean_e2e_latency_ms,latency_p99_ms",
        "users,RPS,Average Latency in ms,p99 response time (milliseconds)",
    ] {
        if head.contains("Latency in ms") {
            // "in" is no word of the contract: the column is left out, and that is said.
            let table = read(&format!("{head}\n{}", rows(",", "")));
            assert_eq!(table.warnings.len(), 1, "{:?}", table.warnings);
            assert!(table.warnings[0].message.contains("`Average Latency in ms`"));
            continue;
        }
        assert_eq!(figures(&read(&format!("{head}\n{}\n", rows(",", "")))), FIGURES, "{head}");
        let semicolons = format!("\u{feff}{}\r\n{}", head.replace(',', ";"), rows(";", ""));
        assert_eq!(figures(&read(&semicolons.replace('\n', "\r\n"))), FIGURES, "{head}");
        let tabs = format!("{}\n\n{}\n\n", head.replace(',', "\t"), rows("\t", " ms"));
        assert_eq!(figures(&read(&tabs)), FIGURES, "{head}");
    }
    let quoted = CHAPTER.replace("435ms", "\" 435 ms \"").replace("Batch Size", "\"Batch Size\"");
    assert_eq!(figures(&read(&quoted)), FIGURES);
}

#[test]
fn units_stand_in_heading_or_cell_and_decimals_may_have_a_comma() {
    let table = read("batch;rps;ttft p99.9 (s);e2e_p50_us\n1;2,5;0,435;1e3\n2;4,5;;7\n");
    let row = &table.rows[0];
    assert_eq!(row.row.requests_per_s, Some(2.5));
    assert_eq!(row.latency_ns("ttft", "p999"), Some(4.35e8));
    assert_eq!(row.latency_ns("e2e", "p50"), Some(1e6));
    assert_eq!(table.rows[1].latency_ns("ttft", "p999"), None, "an empty cell is absent");
}

#[test]
fn every_other_column_has_its_unit() {
    let table = read(
        "rate,requests_per_s,output tokens/s,output_tokens_per_s_per_user,Error Rate (%),Power (kW)\n\
         2.5,2.4/s,240 tok/s,30,0.5,0.35\n5,n/a,–,-,,\n"
            .replace("5,n/a", "5,4.1")
            .as_str(),
    );
    let row = &table.rows[0].row;
    assert_eq!((row.load.rate_per_s, row.load.arrival.as_str()), (Some(2.5), "open"));
    assert_eq!((row.requests_per_s, row.output_tokens_per_s), (Some(2.4), Some(240.0)));
    assert_eq!((row.error_rate, row.watts), (Some(0.005), Some(350.0)));
    assert_eq!(row.output_tokens_per_s_per_user, Some(30.0));
    let empty = &table.rows[1].row;
    assert_eq!((empty.output_tokens_per_s, empty.error_rate, empty.watts), (None, None, None));
}

#[test]
fn unknown_columns_are_named() {
    let table = read("batch,rps,gpu,latency_ms,p75_latency_ms\n1,2,a,3,4\n");
    let message = &table.warnings[0].message;
    for part in ["`gpu`", "`latency_ms` (it names no statistic", "`p75_latency_ms`"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(table.rows[0].row.latency_ns.is_empty());
}

#[test]
fn lines_are_counted_as_an_editor_does() {
    for ends in ["\n", "\r\n", "\r"] {
        let text = "batch,rps\n1,2\n\n   \n\"4\",x\n".replace('\n', ends);
        assert!(refused(&text).starts_with("line 5, column 2 (`rps`)"), "{}", refused(&text));
    }
}

#[test]
fn what_cannot_be_read_says_where_and_what_to_write() {
    for (text, told) in [
        ("", &["the table is empty", "requests_per_s"][..]),
        ("\n \n", &["the table is empty"]),
        ("batch,rps\n", &["no rows", "one line for each load"]),
        ("a,b\n1,2\n", &["line 1", "no column says the load", "`a`, `b`", "`concurrency`"]),
        ("1,2.3\n4,8.1\n", &["no column says the load", "the first line names the columns"]),
        ("batch,e2e_p99_ms\n1,2\n", &["no column says the requests/s"]),
        ("batch,rate,rps\n1,2,3\n", &["`batch` and `rate` both say the load"]),
        ("batch,rps,requests_per_s\n1,2,3\n", &["both hold the same figure", "leave one"]),
        ("batch,rps,p99 latency,e2e_p99_s\n1,2,3ms,3\n", &["both hold the same figure"]),
        ("batch,rps\n1,2\n1,3\n", &["line 3", "load 1 is on line 2", "one row for each load"]),
        ("batch,rps\n1,fast\n", &["line 2, column 2 (`rps`)", "`fast` is no number"]),
        ("batch,rps\n1,NaN\n", &["`NaN` is no number"]),
        ("batch,rps\n1,-2\n", &["`-2` is negative"]),
        ("batch,rps\n1,1e999\n", &["too large"]),
        ("batch,rps\n1,\n", &["line 2", "the cell is empty"]),
        ("batch,rps\n,1\n", &["line 2, column 1", "the cell is empty"]),
        ("batch,rps\n0,1\n", &["line 2, column 1", "`0` is no number of requests at once"]),
        ("batch,rps\n1.5,1\n", &["`1.5` is no number of requests"]),
        ("rate,rps\n0,1\n", &["the load is 0"]),
        (
            "batch,rps,P99 Latency\n1,2,520\n",
            &["column 3 (`P99 Latency`)", "`520` has no unit", "435ms"],
        ),
        ("batch,rps,P99 Latency\n1,2,520 parsecs\n", &["a unit that is not known"]),
        ("batch,rps,e2e_p99_s\n1,2,520ms\n", &["another unit than the heading"]),
        ("batch,rps,error_rate\n1,2,5\n", &["`5` is more than 1", "0.1%"]),
        ("batch;rps\n1;1,234\n", &["may have a decimal comma"]),
        ("batch,rps\n1,\"1,234,567\"\n", &["signs between thousands"]),
        ("batch;rps\n1;2.5\n2;2,5\n", &["line 3", "decimal point", "decimal comma"]),
        ("batch,rps\n1,2,3\n", &["line 2", "3 fields under 2 headings", "quotes"]),
        ("batch,rps,watts\n1,2\n", &["2 fields under 3 headings"]),
        ("batch,rps,p99 latency (lightyears)\n1,2,3\n", &[]),
    ] {
        if told.is_empty() {
            let table = read(text);
            assert!(table.warnings[0].message.contains("brackets"), "{:?}", table.warnings);
            continue;
        }
        let error = refused(text);
        for part in told {
            assert!(error.contains(part), "{text:?}: '{part}' is missing in: {error}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let of = |bytes: &[u8]| TableFile::parse(bytes).expect_err("no text").to_string();
    assert!(of(b"\xff\xfeb\0a\0").contains("UTF-16"));
    assert!(of(b"batch,rps\n1,\xe4\n").contains("line 2: a character is not in UTF-8"));
    assert!(of(b"\0\0\0").contains("no text"));
}

#[test]
fn a_text_from_a_file_does_not_steer_the_terminal() {
    let error = refused("batch,rps\n1,\x1b[2Jx\n");
    assert!(!error.contains('\x1b'), "{error:?}");
    assert!(read("batch,rps,\x1b[2J\n1,2,3\n").warnings[0].message.contains("` [2J`"));
}

#[test]
fn rows_of_a_spreadsheet_may_end_in_empty_fields() {
    let table = read("batch,rps,,\n1,2,,\n2,3,,,,\n,,,\n");
    assert_eq!(table.rows.len(), 2);
    assert!(table.warnings.is_empty());
}

proptest! {
    #[test]
    fn nothing_panics_and_errors_have_words(text in "(batch|rate|rps|p99|[0-9.,;\\t\\n\"es%-]| ){0,80}") {
        if let Err(error) = TableFile::parse(text.as_bytes()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn numbers_come_back_as_written(
        rows in prop::collection::btree_map(1_u64..100_000, (0.0..1e6_f64, 0.0..1e6_f64), 1..8),
    ) {
        let mut text = "concurrency,requests_per_s,e2e_mean_ms\n".to_owned();
        for (n, (x, ms)) in &rows {
            text.push_str(&format!("{n},{x},{ms}ms\n"));
        }
        let table = read(&text);
        for (row, (n, (x, ms))) in table.rows.iter().zip(rows) {
            prop_assert_eq!(row.row.load.concurrency, Some(n));
            prop_assert_eq!(row.row.requests_per_s, Some(x));
            let ns = row.latency_ns("e2e", "mean").expect("there");
            prop_assert!((ns - ms * 1e6).abs() <= ns * 1e-15);
        }
    }
}
