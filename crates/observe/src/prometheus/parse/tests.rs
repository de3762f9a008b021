//! What is read, and what is said of what cannot be read.

use super::*;

fn read(page: &str) -> Scrape<'_> {
    parse(page.as_bytes(), None, &Limits::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn told(page: &[u8]) -> String {
    parse(page, None, &Limits::default()).expect_err("not a page").to_string()
}

fn labels<'s>(scrape: &'s Scrape<'_>, at: usize) -> Vec<(&'s str, &'s str)> {
    let labels = scrape.labels(&scrape.samples[at]).iter();
    labels.map(|label| (label.name.as_ref(), label.value.as_ref())).collect()
}

#[test]
fn prometheus_text() {
    let scrape = read(
        "# HELP vllm:e2e Time of a \\\"request\\\", with { braces } and # signs.\n\
         # TYPE vllm:e2e histogram\n\
         #a comment\n\
         \n\
         vllm:e2e_bucket{le=\"0.3\",model_name=\"a \\\"b\\\" \\\\ c\\nd\"} 4\r\n\
         \tvllm:e2e_sum\t{ model_name = \"x\" , } 1e-05 1700000000123  \n\
         up 1\n\
         g{} NaN\n\
         h +Inf\n\
         i -Inf",
    );
    assert_eq!(scrape.dialect, Dialect::Text);
    let told: Vec<&Told<'_>> = scrape.metadata.iter().map(|metadata| &metadata.told).collect();
    assert_eq!(told[1], &Told::Type(MetricType::Histogram));
    assert!(matches!(told[0], Told::Help(help) if help.starts_with("Time of a \"request\"")));
    assert_eq!(labels(&scrape, 0), [("le", "0.3"), ("model_name", "a \"b\" \\ c\nd")]);
    assert_eq!(scrape.samples[0].line, 5);
    assert_eq!(labels(&scrape, 1), [("model_name", "x")]);
    assert_eq!(scrape.samples[1].value, 1e-5);
    assert_eq!(scrape.samples[1].timestamp_s, Some(1_700_000_000.123));
    assert_eq!(scrape.samples[2].name, "up");
    assert!(scrape.samples[3].value.is_nan());
    assert_eq!(scrape.samples[4].value, f64::INFINITY);
    assert_eq!(scrape.samples[5].value, f64::NEG_INFINITY);
}

#[test]
fn names_in_quotes() {
    let scrape = read(
        "# TYPE \"http.server.duration\" histogram\n\
         {\"http.server.duration_count\", \"label.one\"=\"é\", b=\"c\"} 3\n\
         {\"solo name\"} 1\n",
    );
    assert_eq!(scrape.metadata[0].name, "http.server.duration");
    assert_eq!(scrape.samples[0].name, "http.server.duration_count");
    assert_eq!(labels(&scrape, 0), [("label.one", "é"), ("b", "c")]);
    assert_eq!(scrape.samples[1].name, "solo name");
}

#[test]
fn open_metrics() {
    let scrape = read(
        "# TYPE a counter\n# UNIT a seconds\n\
         a_total 17.0 1700000000.5 # {trace_id=\"x } y\"} 0.67 1700000000.1\n\
         a_bucket{le=\"1.0\"} 8 # {} 0.5\n\
         a_created 1.7e9\n# EOF\n",
    );
    assert_eq!(scrape.dialect, Dialect::OpenMetrics);
    assert_eq!(scrape.metadata[1].told, Told::Unit("seconds"));
    assert_eq!(scrape.samples[0].timestamp_s, Some(1_700_000_000.5));
    assert_eq!(scrape.samples[1].value, 8.0);
    assert_eq!(scrape.samples.len(), 3);
}

#[test]
fn text_is_not_copied_but_for_escapes() {
    let scrape = read("a{b=\"c\",d=\"e\\\\\"} 1");
    let labels = scrape.labels(&scrape.samples[0]);
    assert!(matches!(labels[0].value, Cow::Borrowed("c")));
    assert!(matches!(labels[1].value, Cow::Owned(_)));
    assert!(matches!(scrape.samples[0].name, Cow::Borrowed("a")));
}

#[test]
fn errors_name_their_line_and_reason() {
    for (page, words) in [
        ("a 1\nb{c=\"d} 2\n", ["line 2", "not closed"]),
        ("a 1\nb x\n", ["line 2", "`x` is no number"]),
        ("a 1\nb\n", ["line 2", "blank or `{`"]),
        ("a 1\nb \n", ["line 2", "blank or `{`"]),
        ("a 1\nb{} \n", ["line 2", "no value"]),
        ("a 1\nb.c 2\n", ["line 2", "quotes inside the braces"]),
        ("a 1\nb{c=d} 2\n", ["line 2", "not in quotes"]),
        ("a 1\nb{c=\"d\" e=\"f\"} 2\n", ["line 2", "comma"]),
        ("a 1\nb{c=\"d\",c=\"e\"} 2\n", ["line 2", "stands twice"]),
        ("a 1\nb{c=\"d\"\n", ["line 2", "not closed"]),
        ("a 1\n{c=\"d\"} 2\n", ["line 2", "no name"]),
        ("a 1\nb 2 3 4\n", ["line 2", "follows"]),
        ("a 1\nb 2 soon\n", ["line 2", "timestamp"]),
        ("a 1\n# TYPE b histogramm\n", ["line 2", "no type"]),
        ("a 1\n# TYPE\n", ["line 2", "names no metric"]),
        ("404 page not found\n", ["line 1", "no metrics page"]),
        ("Not Found", ["line 1", "no metrics page"]),
        ("a 1\n# EOF\nb 1\n# EOF\n", ["line 3", "two pages"]),
        ("foo {count:17,sum:3.2,bucket:[0.1:8,+Inf:17]} 1.0 st@0.5\n", ["line 1", "OpenMetrics"]),
        ("foo{a=\"b\"} {count:17} 1.0\n", ["line 1", "2.0"]),
    ] {
        let text = told(page.as_bytes());
        for word in words {
            assert!(text.contains(word), "{page:?}: {text}");
        }
    }
}

#[test]
fn what_is_no_page_at_all_is_named() {
    for (page, word) in [
        (&b"<!DOCTYPE html><html></html>"[..], "HTML"),
        (b"{\"object\":\"list\"}", "JSON"),
        (b"\x1f\x8b\x08\x00\x00", "gzip"),
        (b"\xff\xfea\0 \x001\0", "UTF-16"),
        (b"\x8a\x01\x0a\x05\x00\x00", "protobuf"),
        (b"", "no sample"),
        (b"# TYPE a counter\n", "no sample"),
        (b"a 1\nb{c=\"\xe9\"} 1\n", "UTF-8"),
    ] {
        assert!(told(page).contains(word), "{}", told(page));
    }
    let cut = parse(b"a 1\n", Some(Dialect::OpenMetrics), &Limits::default());
    assert!(cut.expect_err("cut").to_string().contains("cut off"));
}

#[test]
fn limits_hold() {
    let small = Limits { bytes: 100, samples: 2, labels: 1, line_bytes: 20 };
    let of = |page: &str| parse(page.as_bytes(), None, &small).map(|_| ()).map_err(|e| e.what);
    assert!(of("a 1\nb 2\n").is_ok());
    assert_eq!(of(&"a 1\n".repeat(26)), Err(What::TooManyBytes(100)));
    assert_eq!(of("a 1\nb 2\nc 3\n"), Err(What::TooManySamples(2)));
    assert_eq!(of("a{b=\"\",c=\"\"} 1"), Err(What::TooManyLabels(1)));
    assert_eq!(of("aaaaaaaaaaaaaaaaaaaa 1"), Err(What::LineTooLong(20)));
    // A hundred megabytes are refused by their length alone.
    let text = told(&vec![b'a'; 100 << 20]);
    assert!(text.contains("more than 32 MiB"), "{text}");
}

#[test]
fn what_an_error_shows_cannot_steer_a_terminal() {
    let text = told(format!("a 1\n\u{1b}[2J{}\n", "x".repeat(200)).as_bytes());
    assert!(!text.contains('\u{1b}') && text.chars().count() < 250, "{text}");
}
