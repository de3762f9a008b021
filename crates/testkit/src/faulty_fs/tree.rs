//! Files and directories in memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use rustix::io::Errno;

/// Number of the root.
pub(super) const ROOT: u64 = 1;

/// A file or a directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) is_dir: bool,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) bytes: Vec<u8>,
    parent: u64,
    name: OsString,
    opened: u64,
    /// Whether its name is still there: a removed file lives on while it is open.
    is_named: bool,
}

/// What a new file or directory is.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub(super) is_dir: bool,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// All of them, by number.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    written: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node {
            is_dir: true,
            mode: 0o755,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            bytes: Vec::new(),
            parent: ROOT,
            name: OsString::new(),
            opened: 0,
            is_named: true,
        };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, written: 0 }
    }
}

impl Tree {
    pub(super) fn node(&self, ino: u64) -> Result<&Node, Errno> {
        self.nodes.get(&ino).ok_or(Errno::STALE)
    }

    pub(super) fn node_mut(&mut self, ino: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino).ok_or(Errno::STALE)
    }

    /// The name of a file, as far as it is text.
    pub(super) fn name(&self, ino: u64) -> String {
        self.nodes.get(&ino).map_or_else(String::new, |node| node.name.to_string_lossy().into())
    }

    /// Numbers and nodes in a directory.
    pub(super) fn children(&self, parent: u64) -> impl Iterator<Item = (u64, &OsStr, &Node)> {
        let nodes = self
            .nodes
            .iter()
            .filter(move |(ino, node)| node.parent == parent && node.is_named && **ino != ROOT);
        nodes.map(|(ino, node)| (*ino, node.name.as_os_str(), node))
    }

    /// The number of what has this name.
    pub(super) fn find(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        let found = self.children(parent).find(|(_, found, _)| *found == name);
        found.map(|(ino, _, _)| ino).ok_or(Errno::NOENT)
    }

    pub(super) fn make(&mut self, parent: u64, name: &OsStr, new: New) -> Result<u64, Errno> {
        if self.find(parent, name).is_ok() {
            return Err(Errno::EXIST);
        }
        let ino = self.next;
        self.next += 1;
        let node = Node {
            is_dir: new.is_dir,
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            bytes: Vec::new(),
            parent,
            name: name.to_owned(),
            opened: 0,
            is_named: true,
        };
        self.nodes.insert(ino, node);
        Ok(ino)
    }

    pub(super) fn remove(&mut self, parent: u64, name: &OsStr, is_dir: bool) -> Result<(), Errno> {
        let ino = self.find(parent, name)?;
        if self.node(ino)?.is_dir != is_dir {
            return Err(if is_dir { Errno::NOTDIR } else { Errno::ISDIR });
        }
        if self.children(ino).next().is_some() {
            return Err(Errno::NOTEMPTY);
        }
        let node = self.node_mut(ino)?;
        node.is_named = false;
        if node.opened == 0 {
            self.nodes.remove(&ino);
        }
        Ok(())
    }

    pub(super) fn open(&mut self, ino: u64) -> Result<(), Errno> {
        self.node_mut(ino)?.opened += 1;
        Ok(())
    }

    pub(super) fn close(&mut self, ino: u64) {
        let Some(node) = self.nodes.get_mut(&ino) else { return };
        node.opened = node.opened.saturating_sub(1);
        if node.opened == 0 && !node.is_named {
            self.nodes.remove(&ino);
        }
    }

    pub(super) fn read(&self, ino: u64, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
        let bytes = &self.node(ino)?.bytes;
        let end = bytes.len() as u64;
        let (from, to) = (offset.min(end), offset.saturating_add(length).min(end));
        Ok(bytes[from as usize..to as usize].to_vec())
    }

    pub(super) fn write(&mut self, ino: u64, offset: u64, written: &[u8]) -> Result<(), Errno> {
        let bytes = &mut self.node_mut(ino)?.bytes;
        let from = offset as usize;
        let to = from + written.len();
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(written);
        self.written += written.len() as u64;
        Ok(())
    }

    pub(super) fn paths(&self) -> Vec<String> {
        let named = self.nodes.iter().filter(|(ino, node)| node.is_named && **ino != ROOT);
        let mut paths: Vec<String> = named.map(|(ino, _)| self.path(*ino)).collect();
        paths.sort();
        paths
    }

    fn path(&self, ino: u64) -> String {
        let Some(node) = self.nodes.get(&ino) else { return self.name(ino) };
        let name = node.name.to_string_lossy();
        if node.parent == ROOT { name.into() } else { format!("{}/{name}", self.path(node.parent)) }
    }

    pub(super) fn len(&self, path: &str) -> Option<u64> {
        let mut ino = ROOT;
        for name in path.split('/') {
            ino = self.find(ino, OsStr::new(name)).ok()?;
        }
        self.nodes.get(&ino).map(|node| node.bytes.len() as u64)
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.written
    }

    pub(super) fn open_files(&self) -> u64 {
        self.nodes.values().map(|node| node.opened).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_live_while_they_are_named_or_open() {
        let mut tree = Tree::default();
        let new = New { is_dir: true, mode: 0o700, uid: 0, gid: 0 };
        let dir = tree.make(ROOT, OsStr::new("d"), new).unwrap();
        let file = tree.make(dir, OsStr::new("f"), New { is_dir: false, ..new }).unwrap();
        assert_eq!(tree.make(dir, OsStr::new("f"), new), Err(Errno::EXIST));
        tree.open(file).unwrap();
        tree.write(file, 4, b"abc").unwrap();
        assert_eq!(tree.read(file, 3, 100).unwrap(), b"\0abc");
        assert_eq!(tree.read(file, 9, 1).unwrap(), b"");
        assert_eq!((tree.paths(), tree.len("d/f")), (vec!["d".into(), "d/f".into()], Some(7)));
        assert_eq!(tree.remove(ROOT, OsStr::new("d"), true), Err(Errno::NOTEMPTY));
        assert_eq!(tree.remove(dir, OsStr::new("f"), true), Err(Errno::NOTDIR));
        tree.remove(dir, OsStr::new("f"), false).unwrap();
        tree.remove(ROOT, OsStr::new("d"), true).unwrap();
        assert_eq!((tree.paths(), tree.open_files()), (Vec::new(), 1));
        assert_eq!(tree.read(file, 4, 1).unwrap(), b"a");
        tree.close(file);
        assert_eq!(tree.node(file).map(|node| node.is_dir), Err(Errno::STALE));
        assert_eq!((tree.open_files(), tree.written_bytes()), (0, 3));
    }
}
