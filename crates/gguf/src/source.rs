//! The bytes of a file in order, with their offset, never beyond the end of the file.

use std::io::Read;

use crate::error::FormatError;

/// A reader that knows where it is and where the file ends.
pub(crate) struct Source<R> {
    reader: R,
    offset: u64,
    file_bytes: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(reader: R, file_bytes: u64) -> Self {
        Self { reader, offset: 0, file_bytes }
    }

    /// Where the next byte is read, from the start of the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes from here to the end of the file.
    pub(crate) fn left(&self) -> u64 {
        self.file_bytes - self.offset
    }

    fn need(&self, what: &'static str, bytes: u64) -> Result<(), FormatError> {
        if bytes <= self.left() {
            return Ok(());
        }
        Err(FormatError::Truncated { what, offset: self.offset, file_bytes: self.file_bytes })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        let offset = self.offset;
        self.reader.read_exact(bytes).map_err(|source| FormatError::Read { offset, source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], FormatError> {
        self.need(what, N as u64)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A length or count of at most `limit` things, each of at least `each_bytes` bytes in what
    /// is left of the file.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        limit: u64,
        each_bytes: u64,
    ) -> Result<u64, FormatError> {
        let offset = self.offset;
        let value = self.u64(what)?;
        let limit = limit.min(self.left() / each_bytes);
        if value > limit {
            return Err(FormatError::TooLarge { what, offset, value, limit });
        }
        Ok(value)
    }

    /// A text with its length before it, of at most `limit` bytes.
    pub(crate) fn string(&mut self, what: &'static str, limit: u64) -> Result<String, FormatError> {
        let offset = self.offset;
        let len = self.u64(what)?;
        if len > limit {
            return Err(FormatError::TooLarge { what, offset, value: len, limit });
        }
        self.need(what, len)?;
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| FormatError::NotUtf8 { what, offset })
    }

    /// Passes over bytes.
    pub(crate) fn skip(&mut self, what: &'static str, mut bytes: u64) -> Result<(), FormatError> {
        self.need(what, bytes)?;
        let mut buffer = [0; 4096];
        while bytes > 0 {
            let now = bytes.min(buffer.len() as u64) as usize;
            self.fill(&mut buffer[..now])?;
            bytes -= now as u64;
        }
        Ok(())
    }
}
