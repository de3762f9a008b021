//! What a file system says about O_DIRECT: by the kernel's word, or by an attempt.

use std::os::fd::OwnedFd;

use loadline_schema::storage::DirectIo;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use rustix::io::{Errno, pwrite};

use crate::WorkDir;

/// Alignment that nearly every file system takes, bytes.
const SAFE: u32 = 4096;
/// A sector of most disks, bytes.
const SECTOR: u32 = 512;
/// The file of the attempt.
const NAME: &str = "direct-io-probe";

/// Asks the kernel (statx, `STATX_DIOALIGN`, Linux 6.1), or tries.
pub(crate) fn probe(dir: &WorkDir) -> DirectIo {
    let made = dir.create_file(NAME, OFlags::empty());
    let answer = match &made {
        Ok(file) => told(file).unwrap_or_else(|| tried(dir)),
        Err(error) => none(format!("not tried, no file could be made: {error}")),
    };
    drop(made);
    // What cannot be removed now is told when the directory is removed.
    let _ = dir.remove_file(NAME);
    answer
}

fn none(source: String) -> DirectIo {
    DirectIo { supported: false, memory_align: 0, offset_align: 0, source }
}

/// `None` where the kernel does not tell; it tells 0 where O_DIRECT is not supported.
fn told(file: &OwnedFd) -> Option<DirectIo> {
    let answer = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    (answer.stx_mask & StatxFlags::DIOALIGN.bits() != 0).then(|| DirectIo {
        supported: answer.stx_dio_offset_align > 0,
        memory_align: answer.stx_dio_mem_align,
        offset_align: answer.stx_dio_offset_align,
        source: "statx".to_owned(),
    })
}

fn tried(dir: &WorkDir) -> DirectIo {
    let file = match dir.open_file(NAME, OFlags::DIRECT) {
        Ok(file) => file,
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return none("tried".to_owned()),
        Err(error) => return none(format!("not tried, the file could not be opened: {error}")),
    };
    let direct = |align: u32, source: &str| DirectIo {
        supported: true,
        memory_align: align,
        offset_align: align,
        source: source.to_owned(),
    };
    match (write(&file, SAFE), write(&file, SECTOR)) {
        (Ok(()), Ok(())) => direct(SECTOR, "tried"),
        (Ok(()), Err(_)) => direct(SAFE, "tried"),
        (Err(Errno::INVAL), _) => none("tried".to_owned()),
        // Something else went wrong, a full disk for one: it says nothing about alignment.
        (Err(_), _) => direct(SAFE, "assumed"),
    }
}

/// Writes so many bytes at that offset from memory that is aligned to it and to nothing larger.
fn write(file: &OwnedFd, align: u32) -> rustix::io::Result<()> {
    let (align, page) = (align as usize, SAFE as usize);
    let memory = vec![0_u8; 3 * page];
    let from = memory.as_ptr().align_offset(page) + align % page;
    let n = pwrite(file, &memory[from..from + align], align as u64)?;
    if n == align { Ok(()) } else { Err(Errno::IO) }
}
