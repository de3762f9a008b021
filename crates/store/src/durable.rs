//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{StoreError, is_no_space};

/// Size of the block that a small file has in any case, bytes.
const BLOCK_BYTES: u64 = 4096;

/// Replaces a small file: temporary file, fsync, rename, fsync of the folder. On a full disk the
/// bytes are written over the old ones where they fit into the file's last block, which needs no
/// space; a kill still finds the old file or the new one, a power failure might not.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = temporary(path);
    let written = write_synced(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder_of(path));
    let Err(error) = written else { return Ok(()) };
    let _ = fs::remove_file(&temporary);
    if is_no_space(&error) && overwrite(path, bytes).is_ok() {
        return Ok(());
    }
    Err(StoreError::io("replace", path)(error))
}

/// `<path>.tmp`.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let room = file.metadata()?.len().next_multiple_of(BLOCK_BYTES);
    if bytes.len() as u64 > room {
        return Err(io::ErrorKind::StorageFull.into());
    }
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Makes renames and removals in the folder of a file last.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        fs::write(&path, "old").unwrap();
        replace(&path, b"new and longer").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new and longer");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn overwriting_stays_inside_the_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        fs::write(&path, "a long old text").unwrap();
        overwrite(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        let too_long = vec![b'x'; BLOCK_BYTES as usize + 1];
        overwrite(&path, &too_long).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }
}
