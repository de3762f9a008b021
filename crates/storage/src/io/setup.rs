//! What a load comes to on this file system: checked, with O_DIRECT where it works, or why not.

use loadline_schema::storage::{IoEngine, IoLoad};

use super::ledger::MOST_BLOCKS;
use super::ring::{self, MOST_IN_FLIGHT};
use crate::{Trial, TrialError};

/// Largest I/O: io_uring counts bytes in 31 bits.
const MOST_BS: u64 = 1 << 30;
/// Most threads that psync starts.
const MOST_THREADS: u64 = 4_096;

/// How the I/Os of a trial are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setup {
    /// `IoUring` or `Psync`.
    pub(super) engine: IoEngine,
    /// Why not what was asked for.
    pub(super) engine_note: Option<String>,
    /// Whether files are to be opened with O_DIRECT.
    pub(super) direct: bool,
    /// Why not, where it was asked for.
    pub(super) direct_note: Option<String>,
    /// Bytes of each file that are used: whole blocks.
    pub(super) file_bytes: u64,
}

fn refuse<T>(message: String) -> Result<T, TrialError> {
    Err(TrialError { message })
}

impl Setup {
    /// Checks a load.
    ///
    /// # Errors
    /// It cannot be carried out, and why.
    pub(super) fn new(trial: &Trial<'_>, load: &IoLoad) -> Result<Self, TrialError> {
        check_numbers(load)?;
        let (direct, direct_note) = direct(trial, load)?;
        let (engine, engine_note) =
            engine(load.engine, || ring::build(2).map(drop)).or_else(refuse)?;
        check_engine(load, engine)?;
        let file_bytes = load.size_bytes / load.bs_bytes * load.bs_bytes;
        Ok(Self { engine, engine_note, direct, direct_note, file_bytes })
    }
}

fn check_numbers(load: &IoLoad) -> Result<(), TrialError> {
    let (bs, size) = (load.bs_bytes, load.size_bytes);
    if bs == 0 || bs > MOST_BS {
        return refuse(format!("bs is {bs} bytes; it must be from 1 byte to 1 GiB"));
    }
    if size < bs {
        return refuse(format!("size {size} holds no block of {bs} bytes: use a larger size"));
    }
    if load.numjobs == 0 || load.iodepth == 0 || load.numjobs > u32::from(u16::MAX) {
        return refuse("numjobs (65535 at most) and iodepth must be at least 1".to_owned());
    }
    if load.rate_iops.is_some_and(|iops| !(iops > 0.0 && iops.is_finite())) {
        return refuse("rate_iops must be above 0".to_owned());
    }
    if load.verify && load.writes() && size / bs > MOST_BLOCKS {
        return refuse(format!(
            "verify remembers at most {MOST_BLOCKS} blocks for each job: use a larger bs or a \
             smaller size"
        ));
    }
    if load.special_file.is_some() && load.writes() {
        return refuse("a special file is only read: use read or randread".to_owned());
    }
    Ok(())
}

fn check_engine(load: &IoLoad, engine: IoEngine) -> Result<(), TrialError> {
    let threads = u64::from(load.numjobs) * u64::from(load.iodepth);
    if engine == IoEngine::Psync && threads > MOST_THREADS {
        return refuse(format!(
            "psync has a thread for each I/O in flight, here {threads}; at most {MOST_THREADS} are \
             started: use a smaller iodepth or fewer jobs"
        ));
    }
    if engine == IoEngine::IoUring && load.iodepth > MOST_IN_FLIGHT {
        return refuse(format!("iodepth is {MOST_IN_FLIGHT} at most with io_uring"));
    }
    Ok(())
}

/// Whether O_DIRECT is used, and why not where it was asked for.
fn direct(trial: &Trial<'_>, load: &IoLoad) -> Result<(bool, Option<String>), TrialError> {
    if !load.direct {
        return Ok((false, None));
    }
    if let Some(file) = &load.special_file {
        return Ok((false, Some(format!("{file} is read as it is, without O_DIRECT"))));
    }
    let facts = trial.direct();
    if !facts.supported {
        let kind = &trial.facts.kind;
        return Ok((false, Some(format!("the file system ({kind}) does not take O_DIRECT"))));
    }
    let align = u64::from(facts.offset_align.max(1));
    if !load.bs_bytes.is_multiple_of(align) {
        return refuse(format!(
            "bs is {} bytes, and O_DIRECT needs a multiple of {align} on this file system ({}): \
             use such a bs, or direct = false",
            load.bs_bytes, facts.source
        ));
    }
    Ok((true, None))
}

/// The engine that is used, and why it is not what was asked for.
fn engine(
    asked: IoEngine,
    probe: impl Fn() -> std::io::Result<()>,
) -> Result<(IoEngine, Option<String>), String> {
    if asked == IoEngine::Psync {
        return Ok((IoEngine::Psync, None));
    }
    let Err(error) = probe() else { return Ok((IoEngine::IoUring, None)) };
    let why = match error.raw_os_error() {
        Some(nix::libc::EPERM | nix::libc::EACCES) => {
            ", as the sysctl kernel.io_uring_disabled or a container's seccomp filter does"
        }
        Some(nix::libc::ENOSYS) => {
            ": the kernel has none, or a container's seccomp filter hides it"
        }
        _ => "",
    };
    let refused = format!("the system refuses io_uring ({error}){why}");
    if asked == IoEngine::IoUring {
        return Err(format!("{refused}; use engine auto or psync"));
    }
    Ok((IoEngine::Psync, Some(refused)))
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn where_io_uring_is_refused_auto_takes_psync_and_says_why() {
        let refused = || Err(Error::from_raw_os_error(nix::libc::EPERM));
        let (engine_used, note) = engine(IoEngine::Auto, refused).expect("there is a fallback");
        assert_eq!(engine_used, IoEngine::Psync);
        assert!(note.expect("it says why").contains("io_uring_disabled"));
        let error = engine(IoEngine::IoUring, refused).expect_err("it was asked for by name");
        assert!(error.contains("use engine auto or psync"), "{error}");
        assert_eq!(engine(IoEngine::Psync, refused), Ok((IoEngine::Psync, None)));
        assert_eq!(engine(IoEngine::Auto, || Ok(())), Ok((IoEngine::IoUring, None)));
    }
}
