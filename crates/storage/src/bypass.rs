//! Whether I/Os can go past the page cache, and with which alignment.

use loadline_schema::storage::DirectIo;
use rustix::fs::OFlags;

/// O_DIRECT, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bypass {
    /// Whether files are opened with O_DIRECT.
    pub(crate) on: bool,
    /// Offsets and lengths are multiples of this, bytes; 1 without O_DIRECT.
    pub(crate) align: u64,
    /// Why not, where it was asked for.
    pub(crate) note: Option<String>,
}

impl Bypass {
    /// Decides from what the file system says. Buffers of ours begin at a page.
    pub(crate) fn decide(asked: bool, direct: &DirectIo, bs_bytes: u64) -> Self {
        let off = |note: Option<String>| Self { on: false, align: 1, note };
        if !asked {
            return off(None);
        }
        if !direct.supported {
            let note = "the file system takes no O_DIRECT: I/Os went through the page cache";
            return off(Some(note.to_owned()));
        }
        let align = u64::from(direct.offset_align.max(1));
        if !bs_bytes.is_multiple_of(align) {
            return off(Some(format!(
                "blocks of {bs_bytes} bytes are no multiple of the {align} that O_DIRECT needs: \
                 I/Os went through the page cache"
            )));
        }
        if direct.memory_align as usize > rustix::param::page_size() {
            return off(Some(format!(
                "O_DIRECT wants buffers aligned to {} bytes, more than a page: I/Os went through \
                 the page cache",
                direct.memory_align
            )));
        }
        Self { on: true, align, note: None }
    }

    /// The flags to open files with.
    pub(crate) fn flags(&self) -> OFlags {
        if self.on { OFlags::DIRECT } else { OFlags::empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(supported: bool, memory_align: u32, offset_align: u32) -> DirectIo {
        DirectIo { supported, memory_align, offset_align, source: "statx".to_owned() }
    }

    #[test]
    fn o_direct_needs_support_and_alignment_and_says_what_lacks() {
        let on = Bypass::decide(true, &direct(true, 512, 4096), 1 << 20);
        assert_eq!((on.on, on.align, on.note), (true, 4096, None));
        for (direct, bs, word) in [
            (direct(false, 0, 0), 1 << 20, "takes no O_DIRECT"),
            (direct(true, 512, 4096), 1000, "no multiple"),
            (direct(true, 1 << 30, 4096), 1 << 20, "aligned to"),
        ] {
            let off = Bypass::decide(true, &direct, bs);
            assert!(!off.on && off.note.expect("a reason").contains(word));
        }
        assert_eq!(Bypass::decide(false, &direct(true, 512, 512), 1000).note, None);
    }
}
