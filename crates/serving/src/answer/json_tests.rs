//! Tests of the JSON reader.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn accepts(document: &[u8]) -> bool {
    let mut json = Json::new(document);
    json.skip().and_then(|()| json.end()).is_ok()
}

/// Our verdict, after checking that serde_json has the same.
fn verdict(document: &[u8]) -> bool {
    let ours = accepts(document);
    let theirs = serde_json::from_slice::<IgnoredAny>(document).is_ok();
    assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(document));
    ours
}

#[test]
fn documents_are_accepted() {
    for document in [
        "{}",
        " [ ] ",
        "0",
        "-0",
        "10.5e+3",
        "1E-2",
        "true",
        "false",
        "null",
        r#""""#,
        r#""\"\\\/\b\f\n\r\t\u00e9\ud800""#,
        r#"{"a":[1,{"b":null}],"c":""}"#,
        "\t[1 , 2]\r\n",
        "\"\u{7f}é\u{10ffff}\"",
    ] {
        assert!(verdict(document.as_bytes()), "{document}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for document in [
        "",
        " ",
        "{",
        "[",
        "}",
        "{]",
        "[1,]",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r"{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "tru",
        "nul",
        "NaN",
        r#"""#,
        r#""\""#,
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u12"#,
        "\"\n\"",
        "{} {}",
        "[1 2]",
        "'a'",
        "\u{feff}{}",
    ] {
        assert!(!verdict(document.as_bytes()), "{document}");
    }
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(accepts(&nested(DEPTH_LIMIT as usize)));
    assert!(!accepts(&nested(DEPTH_LIMIT as usize + 1)));
}

#[test]
fn members_and_elements_are_visited_and_other_values_skipped() {
    let mut seen = Vec::new();
    let mut json = Json::new(br#"{"a":[1, 2],"b\u0063":{"d":"e"},"f":3}"#);
    json.members(|json, name| {
        seen.push(String::from_utf8_lossy(name).into_owned());
        match name {
            b"a" => json.elements(|json| json.count().map(|count| seen.push(format!("{count:?}")))),
            b"bc" => json.members(|json, _| json.raw().map(|raw| seen.push(format!("{raw:?}")))),
            _ => json.elements(|_| panic!("3 is no array")),
        }
    })
    .unwrap();
    let text = format!("{:?}", br#""e""#);
    assert_eq!(seen, ["a", "Some(1)", "Some(2)", "bc", &text, "f"]);
    assert_eq!(json.end(), Ok(()));
}

#[test]
fn counts_are_whole_numbers() {
    for (document, count) in [
        ("0", Some(0)),
        ("123456789", Some(123_456_789)),
        ("4294967295", Some(u32::MAX)),
        ("7.0", Some(7)),
        ("1e3", Some(1000)),
        ("4294967296", None),
        ("7.5", None),
        ("-1", None),
        ("1e400", None),
        (r#""7""#, None),
        ("null", None),
        ("[7]", None),
    ] {
        assert_eq!(Json::new(document.as_bytes()).count(), Ok(count), "{document}");
    }
}

#[test]
fn an_error_names_its_place() {
    let error = Json::new(br#"{"a":tru}"#).skip().unwrap_err();
    assert_eq!(error.to_string(), "expected a value at byte 5");
    let error = Json::new(br#"{"a":"#).skip().unwrap_err();
    assert_eq!(error.to_string(), "the document ends at byte 5");
}

/// Values as a real document has them.
fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn real_documents_are_accepted_whole_and_cut_ones_judged_alike(
        value in value(), pretty: bool, cut: proptest::sample::Index, byte: u8,
    ) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        prop_assert!(verdict(text.as_bytes()));
        let at = cut.index(text.len());
        verdict(&text.as_bytes()[..at]);
        let mut changed = text.into_bytes();
        changed[at] = byte;
        verdict(&changed);
    }

    #[test]
    fn soup_is_judged_alike(soup in r#"([\[\]{},:"\\/0-9eE+. -]|null|true|"[a-z]{0,9}"|\\u[0-9a-f]{4}){0,12}"#) {
        verdict(soup.as_bytes());
    }

    #[test]
    fn the_first_special_byte_is_found(mut bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let slow = |bytes: &[u8]| {
            let ends = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
            let at = bytes.iter().position(ends).unwrap_or(bytes.len());
            (at, bytes.get(at) == Some(&b'"'))
        };
        prop_assert_eq!(plain_length(&bytes), slow(&bytes));
        for byte in &mut bytes {
            *byte |= 0x20;
        }
        prop_assert_eq!(plain_length(&bytes), slow(&bytes));
    }
}
