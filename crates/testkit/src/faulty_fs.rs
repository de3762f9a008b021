//! A file system in memory that is really mounted (FUSE), and whose I/O fails, hangs or is slow on
//! command: what a program makes of storage that breaks can be seen with the kernel's own errors.

mod script;
mod serve;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::{UnmountFlags, unmount};

use script::Script;
pub use script::{FsFault, FsSpace};
use serve::Served;
use tree::Tree;

/// Threads that answer the kernel, so that slow I/Os are slow beside each other.
const THREADS: usize = 8;

/// What the threads that answer share with the test.
#[derive(Debug, Default)]
struct Shared {
    tree: Mutex<Tree>,
    script: Mutex<Script>,
}

impl Shared {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mounted file system; it is unmounted when dropped, whoever still works in it.
///
/// While it hangs ([`FsFault::Hang`]) every look into it by the system hangs, too, that of a test
/// included: [`FaultyFs::paths`] and [`FaultyFs::len`] ask the memory instead.
#[derive(Debug)]
pub struct FaultyFs {
    at: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl FaultyFs {
    /// Mounts it, empty, on an existing directory. O_DIRECT is accepted, and every read and write
    /// goes past the page cache.
    ///
    /// # Errors
    /// The system has no `/dev/fuse`, or this user may not mount.
    pub fn mount(at: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut config = Config::default();
        let name = MountOption::FSName("faulty".to_owned());
        config.mount_options = vec![name, MountOption::DefaultPermissions];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(Served::new(Arc::clone(&shared)), at, &config)?;
        Ok(Self { at: at.to_owned(), shared, session: Some(session) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// From now on this happens, to every file. What an earlier [`FsFault::Hang`] withheld is
    /// answered.
    pub fn set(&self, fault: FsFault) {
        self.set_for("", fault);
    }

    /// The same, to files alone whose name begins so. A hang is of everything whatever the name.
    pub fn set_for(&self, prefix: &str, fault: FsFault) {
        let withheld = self.shared.script().begin(prefix, fault);
        for answer in withheld {
            answer();
        }
    }

    /// What the system is told of its size.
    pub fn set_space(&self, space: FsSpace) {
        self.shared.script().space = space;
    }

    /// Answers that a hang withholds now.
    pub fn withheld(&self) -> usize {
        self.shared.script().withheld()
    }

    /// Everything in it, as paths relative to its root, in order.
    pub fn paths(&self) -> Vec<String> {
        self.shared.tree().paths()
    }

    /// Bytes of a file, by its path relative to the root; `None` where there is none.
    pub fn len(&self, path: &str) -> Option<u64> {
        self.shared.tree().len(path)
    }

    /// Bytes that were written to all its files so far.
    pub fn written_bytes(&self) -> u64 {
        self.shared.tree().written_bytes()
    }

    /// Files and directories that are open now.
    pub fn open_files(&self) -> u64 {
        self.shared.tree().open_files()
    }
}

impl Drop for FaultyFs {
    fn drop(&mut self) {
        self.set(FsFault::None);
        // Forced, so that whoever is still in it gets an error and not a wait without end; detached,
        // so that open files do not keep the mount.
        let _ = unmount(&self.at, UnmountFlags::FORCE | UnmountFlags::DETACH);
        if let Some(session) = self.session.take() {
            let _ = session.join();
        }
    }
}
