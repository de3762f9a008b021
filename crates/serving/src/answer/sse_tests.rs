//! Tests of the event splitter.

use super::*;

type Owned = (Vec<u8>, bool);

/// All events of a stream whose bytes arrive in pieces of `cut`, with the one left at its end.
fn split(bytes: &[u8], cut: usize) -> (Vec<Owned>, Option<Owned>) {
    let mut splitter = Splitter::default();
    let mut events = Vec::new();
    for mut piece in bytes.chunks(cut) {
        while let Some(event) = splitter.next(&mut piece).unwrap() {
            events.push((event.data.to_vec(), event.is_error));
        }
        assert!(piece.is_empty(), "next used up its input");
    }
    let last = splitter.finish().unwrap().map(|event| (event.data.to_vec(), event.is_error));
    (events, last)
}

/// Data of all events; the same for every way to cut the bytes.
fn data(bytes: &[u8]) -> Vec<String> {
    let (whole, last) = split(bytes, bytes.len().max(1));
    for cut in 1..bytes.len() {
        assert_eq!(split(bytes, cut), (whole.clone(), last.clone()), "pieces of {cut}");
    }
    whole.into_iter().chain(last).map(|(data, _)| String::from_utf8(data).unwrap()).collect()
}

#[test]
fn events_end_with_an_empty_line_of_any_kind() {
    assert_eq!(data(b"data: a\n\ndata: b\n\n"), ["a", "b"]);
    assert_eq!(data(b"data: a\r\n\r\ndata: b\r\n\r\n"), ["a", "b"]);
    assert_eq!(data(b"data: a\r\rdata: b\r\r"), ["a", "b"]);
    assert_eq!(data(b"data: a\n\r\ndata: b\r\n\n"), ["a", "b"]);
    assert_eq!(data(b"\n\n\r\n\rdata: a\n\n\n\n"), ["a"]);
}

#[test]
fn fields_other_than_data_make_no_event() {
    assert_eq!(data(b": ping\n\nid: 4\nretry: 10\nevent: x\n\ndata: a\nid: 5\n\n"), ["a"]);
    assert_eq!(data(b"datax: a\n\nDATA: b\n\n data: c\n\n"), Vec::<String>::new());
}

#[test]
fn data_is_joined_and_loses_one_space() {
    assert_eq!(data(b"data: a\n: c\ndata:b\ndata:  c\n\n"), ["a\nb\n c"]);
    assert_eq!(data(b"data\n\ndata:\n\ndata: \ndata\n\n"), ["", "", "\n"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    assert_eq!(data(b"\xef\xbb\xbfdata: a\n\ndata: b\n\n"), ["a", "b"]);
    assert_eq!(data(b"data: a\n\n\xef\xbb\xbfdata: b\n\n"), ["a"]);
}

#[test]
fn the_type_error_is_told() {
    let error_flags = |bytes: &[u8]| {
        let flags = |cut| split(bytes, cut).0.into_iter().map(|(_, flag)| flag).collect::<Vec<_>>();
        let whole = flags(bytes.len());
        assert_eq!(whole, flags(1));
        whole
    };
    assert_eq!(error_flags(b"event: error\ndata: a\n\ndata: b\n\n"), [true, false]);
    assert_eq!(error_flags(b"data: a\nevent:error\n\nevent: error\n\ndata: b\n\n"), [true, false]);
    assert_eq!(error_flags(b"event: error\nevent: x\ndata: a\n\n"), [false]);
}

#[test]
fn an_event_without_its_empty_line_is_left_for_the_end() {
    for bytes in [&b"data: a\n\ndata: b"[..], b"data: a\n\ndata: b\n", b"data: a\n\ndata: b\r"] {
        let (events, last) = split(bytes, 3);
        assert_eq!(events, [(b"a".to_vec(), false)]);
        assert_eq!(last, Some((b"b".to_vec(), false)));
    }
    assert_eq!(split(b"data: a\n\n: end", 3).1, None);
}

#[test]
fn an_event_inside_the_bytes_at_hand_is_not_copied() {
    let bytes = b": begin\n\ndata: a\n\nevent: x\ndata: b\r\n\r\ndata: c\ndata: d\n\ndata: e\r\r";
    let mut splitter = Splitter::default();
    let mut input = &bytes[..];
    let mut raws = Vec::new();
    while let Some(event) = splitter.next(&mut input).unwrap() {
        raws.push(event.raw.map(<[u8]>::to_vec));
        let lies_inside = bytes.as_ptr_range().contains(&event.data.as_ptr());
        assert_eq!(lies_inside, event.data != b"c\nd");
    }
    let expected = [Some(&b"data: a\n\n"[..]), Some(b"event: x\ndata: b\r\n\r\n"), None, None];
    assert_eq!(raws, expected.map(|raw| raw.map(<[u8]>::to_vec)));
}

#[test]
fn a_boundary_is_where_nothing_is_pending() {
    let mut splitter = Splitter::default();
    let mut at = |mut piece: &'static [u8]| {
        while splitter.next(&mut piece).unwrap().is_some() {}
        splitter.at_boundary()
    };
    assert!(!at(b""), "a byte-order mark may follow");
    assert!(at(b"data: a\n\n"));
    assert!(!at(b"dat"));
    assert!(!at(b"a: b\n"));
    assert!(at(b"\n"));
    assert!(!at(b"event: error\n"));
    assert!(at(b"\n"));
    assert!(!at(b": c\r"), "a line feed may follow");
}

#[test]
fn a_carried_over_event_has_a_limit() {
    let piece = vec![b'x'; 8 << 20];
    let mut splitter = Splitter::default();
    splitter.next(&mut &b"data: a\n\ndata: "[..]).unwrap();
    let mut results = (0..10).map(|_| splitter.next(&mut piece.as_slice()).map(|_| ()));
    assert!(results.any(|result| result == Err(EventTooLong)));
}
