//! Answers the kernel from the tree in memory, as the script allows.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;

use super::Shared;
use super::script::Io;
use super::tree::{New, ROOT, Tree};

/// The kernel remembers nothing: it asks each time.
const TTL: Duration = Duration::ZERO;
/// Block size that is told, bytes.
const BLOCK: u64 = 4096;
const HANDLE: FileHandle = FileHandle(0);
/// Every read and write arrives here, several at once.
const DIRECT: FopenFlags =
    FopenFlags::FOPEN_DIRECT_IO.union(FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES);

/// The file system as the kernel sees it.
#[derive(Debug)]
pub(super) struct Served {
    shared: Arc<Shared>,
}

fn told(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

/// Answers with what came out, or with its error.
macro_rules! answer {
    ($served:expr, $result:expr, $reply:ident, |$value:pat_param| $well:expr) => {{
        let result = $result;
        $served.answer(move || match result {
            Ok($value) => $well,
            Err(errno) => $reply.error(told(errno)),
        });
    }};
}

impl Served {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Answers now, or at the end of a hang.
    fn answer(&self, answer: impl FnOnce() + Send + 'static) {
        let now = self.shared.script().may_answer(Box::new(answer));
        if let Some(answer) = now {
            answer();
        }
    }

    /// Lets an I/O of a file wait and fail as the script says.
    fn judge(&self, ino: INodeNo, io: Io) -> Result<(), Errno> {
        let name = self.shared.tree().name(ino.0);
        let (wait, verdict) = self.shared.script().judge(&name, io);
        std::thread::sleep(wait);
        verdict
    }

    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new: (bool, u32),
    ) -> Result<FileAttr, Errno> {
        let (is_dir, mode) = new;
        let (uid, gid) = (request.uid(), request.gid());
        let new = New { is_dir, mode: (mode & 0o7777) as u16, uid, gid };
        let mut tree = self.shared.tree();
        let ino = tree.make(parent.0, name, new)?;
        attributes(&tree, ino)
    }

    fn open_node(&self, ino: INodeNo) -> Result<(), Errno> {
        self.shared.tree().open(ino.0)
    }

    fn close_node(&self, ino: INodeNo, reply: ReplyEmpty) {
        self.shared.tree().close(ino.0);
        self.answer(move || reply.ok());
    }
}

fn attributes(tree: &Tree, ino: u64) -> Result<FileAttr, Errno> {
    let node = tree.node(ino)?;
    let size = node.bytes.len() as u64;
    let time = UNIX_EPOCH;
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: if node.is_dir { FileType::Directory } else { FileType::RegularFile },
        perm: node.mode,
        nlink: if node.is_dir { 2 } else { 1 },
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    })
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // I/Os of one process run beside each other where the kernel can do that.
        let _ = config.add_capabilities(fuser::InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.shared.tree();
        let found = tree.find(parent.0, name).and_then(|ino| attributes(&tree, ino));
        drop(tree);
        answer!(self, found, reply, |found| reply.entry(&TTL, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = attributes(&self.shared.tree(), ino.0);
        answer!(self, found, reply, |found| reply.attr(&TTL, &found));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.shared.tree();
        let set = tree.node_mut(ino.0).map(|node| {
            node.mode = mode.map_or(node.mode, |mode| (mode & 0o7777) as u16);
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
            if let Some(size) = size {
                node.bytes.resize(size as usize, 0);
            }
        });
        let set = set.and_then(|()| attributes(&tree, ino.0));
        drop(tree);
        answer!(self, set, reply, |set| reply.attr(&TTL, &set));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make(request, parent, name, (true, mode & !umask));
        answer!(self, made, reply, |made| reply.entry(&TTL, &made, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.shared.tree().remove(parent.0, name, false);
        answer!(self, removed, reply, |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.shared.tree().remove(parent.0, name, true);
        answer!(self, removed, reply, |()| reply.ok());
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.make(request, parent, name, (false, mode & !umask));
        let made = made.and_then(|made| self.open_node(made.ino).map(|()| made));
        answer!(self, made, reply, |made| reply.created(
            &TTL,
            &made,
            Generation(0),
            HANDLE,
            DIRECT
        ));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        answer!(self, self.open_node(ino), reply, |()| reply.opened(HANDLE, DIRECT));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = u64::from(size);
        let verdict = self.judge(ino, Io::Read(size));
        let bytes = verdict.and_then(|()| self.shared.tree().read(ino.0, offset, size));
        answer!(self, bytes, reply, |bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = data.len() as u32;
        let verdict = self.judge(ino, Io::Write(u64::from(length)));
        let written = verdict.and_then(|()| self.shared.tree().write(ino.0, offset, data));
        answer!(self, written, reply, |()| reply.written(length));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.answer(move || reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.close_node(ino, reply);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(self, self.judge(ino, Io::Fsync), reply, |()| reply.ok());
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::empty();
        answer!(self, self.open_node(ino), reply, |()| reply.opened(HANDLE, flags));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let tree = self.shared.tree();
        let dots = [(ino.0, OsStr::new("."), true), (ROOT, OsStr::new(".."), true)];
        let children = tree.children(ino.0).map(|(ino, name, node)| (ino, name, node.is_dir));
        // An entry's offset is its number, which stays the same when others are removed meanwhile.
        let entries = dots.into_iter().zip(1..).chain(children.map(|child| (child, child.0 + 2)));
        for ((ino, name, is_dir), next) in entries.skip_while(|(_, next)| *next <= offset) {
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(ino), next, kind, name) {
                break;
            }
        }
        drop(tree);
        self.answer(move || reply.ok());
    }

    fn releasedir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.close_node(ino, reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.answer(move || reply.ok());
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let space = self.shared.script().space;
        let (total, free) = (space.total_bytes / BLOCK, space.free_bytes / BLOCK);
        let (files, name, block) = (1 << 20, 255, BLOCK as u32);
        self.answer(move || reply.statfs(total, free, free, files, files, block, name, block));
    }
}
