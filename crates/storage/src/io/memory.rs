//! Memory that the kernel reads into and writes from: one buffer for each I/O in flight.
//!
//! Mapped by itself, so that memory which the kernel still holds is never given to something else
//! by an allocator, and aligned for O_DIRECT.

use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Least distance of buffers: the largest logical block that disks have.
const ALIGN: usize = 4096;
/// Size of a huge page.
const HUGE: usize = 2 << 20;
/// From so many bytes on buffers lie in huge pages: an I/O has fewer segments then, which saves
/// most of the CPU time of large ones.
const LARGE: usize = 256 << 10;

/// Buffers of one length.
#[derive(Debug)]
pub(super) struct Buffers {
    map: NonNull<u8>,
    mapped: usize,
    first: usize,
    stride: usize,
    length: usize,
    count: usize,
}

#[expect(unsafe_code, reason = "a raw pointer to memory that only this value owns")]
// SAFETY: the mapping belongs to this value alone and is tied to no thread.
unsafe impl Send for Buffers {}

impl Buffers {
    /// `count` buffers of `length` bytes, each aligned to at least `align`, zeroed.
    ///
    /// # Errors
    /// There is not so much memory.
    #[expect(unsafe_code, reason = "mapping memory")]
    pub(super) fn new(count: usize, length: usize, align: usize) -> rustix::io::Result<Self> {
        let stride = length.next_multiple_of(align.max(ALIGN));
        let bytes = stride.checked_mul(count).ok_or(rustix::io::Errno::NOMEM)?;
        // Huge pages need whole ones of them, at their alignment.
        let huge = bytes >= LARGE;
        let mapped = if huge { bytes.next_multiple_of(HUGE) + HUGE } else { bytes.max(1) };
        // SAFETY: a new mapping at a place that the kernel chooses aliases nothing.
        let map = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let map = NonNull::new(map.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
        let first = if huge { map.as_ptr().align_offset(HUGE) } else { 0 };
        let buffers = Self { map, mapped, first, stride, length, count };
        if huge {
            // SAFETY: the range lies in the mapping made above; the advice changes no contents.
            // A kernel without huge pages says no, and ordinary ones do.
            let _ = unsafe {
                madvise(
                    map.as_ptr().wrapping_add(first).cast(),
                    mapped - HUGE,
                    Advice::LinuxHugepage,
                )
            };
        }
        Ok(buffers)
    }

    /// Buffers.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Where a buffer begins.
    #[inline]
    pub(super) fn pointer(&self, index: usize) -> *mut u8 {
        debug_assert!(index < self.count);
        self.map.as_ptr().wrapping_add(self.first + index * self.stride)
    }

    /// A buffer that no I/O is using.
    #[inline]
    #[expect(unsafe_code, reason = "a slice of mapped memory")]
    pub(super) fn buffer(&mut self, index: usize) -> &mut [u8] {
        assert!(index < self.count, "invariant: there are as many buffers as slots");
        // SAFETY: the range lies in the mapping, which lives as long as self, and self is borrowed
        // mutably. The kernel does not write there: callers ask for free slots only.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(index), self.length) }
    }
}

impl Drop for Buffers {
    #[expect(unsafe_code, reason = "unmapping memory")]
    fn drop(&mut self) {
        // SAFETY: the mapping was made in new() with this length, and nothing points into it any
        // more: owners with I/Os in flight forget the value instead of dropping it.
        let _ = unsafe { munmap(self.map.as_ptr().cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_apart_and_aligned() {
        for (count, length) in [(3, 512), (4, 5_000), (3, 1 << 20)] {
            let mut buffers = Buffers::new(count, length, 512).expect("there is memory");
            for index in 0..count {
                assert_eq!(buffers.pointer(index) as usize % 4096, 0);
                buffers.buffer(index).fill(index as u8 + 1);
            }
            for index in 0..count {
                assert!(buffers.buffer(index).iter().all(|byte| *byte == index as u8 + 1));
                assert_eq!(buffers.buffer(index).len(), length);
            }
        }
        assert!(Buffers::new(usize::MAX, 4096, 512).is_err());
    }
}
