//! Decoding a stream allocates nothing per event: a longer stream allocates no more than a short one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use loadline_serving::answer::{Answer, Event, Expect, Progress};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is an unsafe trait; this one only counts")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, hence from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Events of all usual kinds, so many of each.
fn stream(rounds: usize) -> Vec<u8> {
    let round = concat!(
        "data: {\"id\":\"a\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n",
        "data: {\"id\":\"a\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\" two\"}}]}\n\n",
        "data: {\"id\":\"a\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"\\n\\u00e9\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"r\"},\"logprobs\":{\"a\":[{}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"p\"}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\r\n\r\n",
        ": ping\n\n",
        "event: message\ndata: {\"choices\":\ndata: [{\"text\":\"x\"}]}\n\n",
    );
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n".to_vec();
    let length = rounds * round.len();
    bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
    bytes.extend(round.bytes().cycle().take(length));
    bytes
}

/// Allocations and chunks of decoding these bytes in pieces.
fn decode(answer: &mut Answer, bytes: &[u8], piece: usize) -> (usize, u32) {
    answer.reset(Expect { stream: true, keep_text: false });
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut chunks = 0;
    let mut on = |event| chunks += u32::from(matches!(event, Event::Chunk(_)));
    let mut progress = Progress::NeedMore;
    for piece in bytes.chunks(piece) {
        progress = answer.feed(piece, &mut on).expect("a good answer");
    }
    assert_eq!(progress, Progress::Done { leftover: 0 });
    (ALLOCATIONS.load(Ordering::Relaxed) - before, chunks)
}

#[test]
fn events_allocate_nothing() {
    let (short, long) = (stream(2), stream(200));
    let mut answer = Answer::new();
    for piece in [1 << 20, 1_000, 7] {
        // The first stream grows the buffers, which are then kept.
        decode(&mut answer, &short, piece);
        assert_eq!(decode(&mut answer, &short, piece), (0, 16), "pieces of {piece}");
        assert_eq!(decode(&mut answer, &long, piece), (0, 1_600), "pieces of {piece}");
    }
}
