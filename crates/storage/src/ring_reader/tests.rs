//! Reads by a ring and by threads: whole, in pieces, failing, hanging.

use std::fs::File;
use std::io::Write as _;

use super::*;

/// A file, and what a reader told.
struct Told {
    file: File,
    ends: Mutex<Vec<Ended>>,
    stop_after: usize,
}

impl Told {
    fn new(bytes: usize, stop_after: usize) -> Self {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![1; bytes]).expect("written");
        Self { file, ends: Mutex::default(), stop_after }
    }

    fn ends(self) -> Vec<Ended> {
        self.ends.into_inner().expect("unharmed")
    }
}

impl Source for Told {
    fn open(&self, file: usize) -> Result<OwnedFd, Errno> {
        if file > 0 {
            return Err(Errno::NOENT);
        }
        Ok(self.file.try_clone().expect("cloned").into())
    }

    fn goes_on(&self) -> bool {
        self.ends.lock().expect("unharmed").len() < self.stop_after
    }

    fn ended(&self, ended: Ended) {
        assert!(ended.start_ns <= ended.end_ns);
        self.ends.lock().expect("unharmed").push(ended);
    }
}

fn blocks(count: u64) -> impl Iterator<Item = Block> + Send {
    let block = |n| Block { file: 0, offset: n * 4096, bytes: 4096, least: 4096, wanted: 4096 };
    (0..count).map(block)
}

/// By both ways, the ring only where the system allows it.
fn by_both(make: impl Fn() -> Told, blocks: impl Fn() -> Vec<Block>) -> Vec<Vec<Ended>> {
    let mut all = Vec::new();
    let told = make();
    read_all_by_threads(3, 4096, 1, &told, blocks().into_iter()).expect("threads");
    all.push(told.ends());
    if let Ok(ring) = RingReader::new(8, 4096) {
        let told = make();
        assert_eq!(ring.read_all(1, &told, blocks().into_iter()).expect("a ring"), 0);
        all.push(told.ends());
    }
    all
}

#[test]
fn every_block_is_read_once() {
    for ends in by_both(|| Told::new(100 * 4096, 1000), || blocks(100).collect()) {
        let mut offsets: Vec<u64> = ends.iter().map(|ended| ended.block.offset).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..100).map(|n| n * 4096).collect::<Vec<u64>>());
        assert!(ends.iter().all(|ended| ended.result == Ok(4096)));
    }
}

#[test]
fn the_end_of_a_file_may_be_less() {
    let tail = Block { file: 0, offset: 4096, bytes: 4096, least: 10, wanted: 10 };
    for ends in by_both(|| Told::new(4106, 1000), || vec![tail]) {
        assert!(ends.len() == 1 && ends[0].is_whole() && ends[0].result == Ok(10));
    }
}

#[test]
fn nothing_begins_after_a_short_read_or_a_file_that_does_not_open() {
    for ends in by_both(|| Told::new(4096, 1000), || blocks(1000).collect()) {
        assert!(ends.iter().any(|ended| !ended.is_whole()));
        assert!(ends.len() < 100, "{}", ends.len());
    }
    let elsewhere = Block { file: 1, offset: 0, bytes: 1, least: 1, wanted: 1 };
    for ends in by_both(|| Told::new(4096, 1000), || vec![elsewhere; 50]) {
        assert!(ends.len() <= 3 && ends.iter().all(|e| e.result == Err(Errno::NOENT)));
    }
}

#[test]
fn a_stop_is_obeyed() {
    for ends in by_both(|| Told::new(1000 * 4096, 20), || blocks(1000).collect()) {
        assert!((20..40).contains(&ends.len()), "{}", ends.len());
    }
}

#[test]
fn short_reads_and_interruptions_go_on_to_the_end_and_nothing_goes_past_it() {
    let block = Block { file: 0, offset: 0, bytes: 8192, least: 8000, wanted: 8000 };
    let by = |align: u64, moves: &[Result<usize, Errno>]| {
        let (mut moves, mut asked) = (moves.iter(), Vec::new());
        let ended = read_block(block, align, |done| {
            asked.push(done);
            *moves.next().expect("it was asked once more")
        });
        assert!(moves.next().is_none(), "it gave up early");
        (ended.result, asked)
    };
    let whole = by(512, &[Ok(512), Err(Errno::INTR), Ok(4096), Ok(3392)]);
    assert_eq!(whole, (Ok(8000), vec![0, 512, 512, 4608]));
    assert_eq!(by(512, &[Ok(512), Ok(0)]).0, Ok(512), "the file ends there");
    assert_eq!(by(512, &[Ok(700)]).0, Ok(700), "it ended off the alignment");
    assert_eq!(by(512, &[Ok(512), Err(Errno::IO)]).0, Err(Errno::IO));
    let mut read = Read::begin(block);
    assert_eq!(read.came(Err(Errno::AGAIN), 512), None, "the ring asks again");
}

/// A pipe: reads of it wait until somebody writes.
struct Pipe {
    read: OwnedFd,
    write: std::io::PipeWriter,
    /// Written one after the other, each when the reader has been asked twice more.
    pieces: Vec<usize>,
    asked: Mutex<usize>,
    stop_at: usize,
    ends: Mutex<Vec<Ended>>,
}

impl Pipe {
    fn new(pieces: Vec<usize>, stop_at: usize) -> Self {
        let (read, write) = std::io::pipe().expect("a pipe");
        let (asked, ends) = (Mutex::default(), Mutex::default());
        Self { read: read.into(), write, pieces, asked, stop_at, ends }
    }
}

impl Source for Pipe {
    fn open(&self, _: usize) -> Result<OwnedFd, Errno> {
        Ok(self.read.try_clone().expect("cloned"))
    }

    fn goes_on(&self) -> bool {
        let mut asked = self.asked.lock().expect("unharmed");
        *asked += 1;
        if let Some(bytes) = self.pieces.get(*asked / 2).filter(|_| asked.is_multiple_of(2)) {
            (&self.write).write_all(&vec![1; *bytes]).expect("written");
        }
        *asked < self.stop_at
    }

    fn ended(&self, ended: Ended) {
        self.ends.lock().expect("unharmed").push(ended);
    }
}

#[test]
fn a_ring_continues_what_came_in_pieces() {
    let Ok(ring) = RingReader::new(1, 4096) else { return };
    let pipe = Pipe::new(vec![0, 1000, 3000, 96], usize::MAX);
    assert_eq!(ring.read_all(1, &pipe, blocks(1)).expect("a ring"), 0);
    let ends = pipe.ends.into_inner().expect("unharmed");
    assert!(ends.len() == 1 && ends[0].result == Ok(4096), "{ends:?}");
}

#[test]
fn a_stop_ends_the_wait_for_reads_that_hang_when_all_are_handed_over() {
    let Ok(ring) = RingReader::new(8, 4096) else { return };
    let pipe = Pipe::new(Vec::new(), 3);
    assert_eq!(ring.read_all(1, &pipe, blocks(3)).expect("a ring"), 3, "unknown ones");
    assert!(pipe.ends.into_inner().expect("unharmed").is_empty());
}

#[test]
fn more_in_flight_than_a_ring_takes_is_refused() {
    for depth in [0, MOST_IN_FLIGHT + 1] {
        let error = RingReader::new(depth, 4096).err().expect("it is refused");
        assert!(error.to_string().contains("4096 can be"), "{error}");
    }
}
