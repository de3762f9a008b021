//! Engines and servers for a plan: models made ready, the embedded engine and its server in child
//! processes of this program, the user's own llama-bench.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loadline_ceilings::{CeilingError, Machine};
use loadline_engine::{Found, ServerProcess, Worker};
use loadline_gguf::{Made, Model, Preset, Shape, Summary, Weights};
use loadline_runner::{Engine, Launch, RunError, Server, Storage};
use loadline_schema::engine::{
    EmbeddedServer, EngineCell, EngineFacts, EngineStage, EngineTrial, MemoryBandwidth, ModelFacts,
    ModelSource,
};
use loadline_schema::engine_protocol::Request;
use loadline_schema::storage::StorageStage;
use loadline_serving::trial::Stop;

use crate::storage_launch::Directories;
use rustix::fs::{Mode, OFlags, open, statvfs};

/// Hidden verbs: what the children of this program do.
pub(crate) const WORKER: &str = "embedded-worker";
pub(crate) const SERVER: &str = "embedded-server";
pub(crate) const TIED: &str = "tied";
/// Threads that a server takes by itself.
const MOST_SERVER_THREADS: usize = 8;
/// Seed of the weights of models made on the spot: their values do not matter.
const WEIGHTS_SEED: u64 = 1;
/// Repetitions of the bandwidth test.
const BANDWIDTH_TRIALS: u32 = 5;

/// Opens engines and starts servers. Models made on the spot are made once and vanish with it.
#[derive(Default)]
pub(crate) struct Launcher {
    /// Storage may be measured in the root of a mount.
    mount_root: bool,
    /// Ends looks at storage that hangs, too.
    stop: Arc<Stop>,
    made: RefCell<BTreeMap<String, Ready>>,
}

/// A model that can be loaded.
#[derive(Clone)]
struct Ready {
    path: PathBuf,
    facts: ModelFacts,
    /// Keeps a made model alive: its file has no name any more.
    _file: Option<Rc<File>>,
}

impl Launcher {
    /// Storage may be measured in the root of a mount where `mount_root` says so.
    pub(crate) fn new(mount_root: bool, stop: &Arc<Stop>) -> Self {
        Self { mount_root, stop: Arc::clone(stop), made: RefCell::default() }
    }

    fn ready(&self, source: &ModelSource) -> Result<Ready, RunError> {
        let failed = |error: &dyn std::fmt::Display| RunError::Engine(error.to_string());
        match source {
            ModelSource::File { path } => {
                let model = Model::open(Path::new(path)).map_err(|error| failed(&error))?;
                let facts = model_facts(&model.summary(), source);
                Ok(Ready { path: PathBuf::from(path), facts, _file: None })
            }
            ModelSource::Made { shape, quantization } => {
                let key = source.to_string();
                if let Some(ready) = self.made.borrow().get(&key) {
                    return Ok(ready.clone());
                }
                let ready = make(shape, quantization, source)?;
                self.made.borrow_mut().insert(key, ready.clone());
                Ok(ready)
            }
        }
    }
}

/// Writes a model without a name: whatever happens to this process, nothing is left.
fn make(shape: &str, quantization: &str, source: &ModelSource) -> Result<Ready, RunError> {
    let failed = |error: String| RunError::Engine(format!("{source}: {error}"));
    let weights: Weights = quantization.parse().map_err(|e| failed(format!("{e}")))?;
    let shape: Shape = match shape.parse::<Preset>() {
        Ok(preset) => preset.shape,
        Err(unknown) if !shape.contains('=') => return Err(failed(unknown.to_string())),
        Err(_) => shape.parse().map_err(|e| failed(format!("{e}")))?,
    };
    let made = Made::new(shape, weights).map_err(|e| failed(e.to_string()))?;
    let mut file = nameless(&made).map_err(&failed)?;
    made.write_to(&mut file, WEIGHTS_SEED).map_err(|e| failed(format!("writing it: {e}")))?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let summary = Model::open(Path::new(&path)).map_err(|e| failed(e.to_string()))?.summary();
    Ok(Ready {
        path: PathBuf::from(path),
        facts: model_facts(&summary, source),
        _file: Some(Rc::new(file)),
    })
}

/// A file without a name in the folder for temporary files, where the model fits.
fn nameless(made: &Made) -> Result<File, String> {
    let folder = std::env::temp_dir();
    let at = |what: &str, error: rustix::io::Errno| {
        format!("cannot {what} {}: {error}; TMPDIR names another folder", folder.display())
    };
    let space = statvfs(&folder).map_err(|error| at("look at", error))?;
    let (free, needed) = (space.f_bavail.saturating_mul(space.f_frsize), made.file_bytes());
    if needed > free {
        return Err(format!(
            "it takes {:.1} MB, {} has {:.1} MB free: TMPDIR names another folder",
            needed as f64 / 1e6,
            folder.display(),
            free as f64 / 1e6
        ));
    }
    let (access, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    if let Ok(file) = open(&folder, OFlags::TMPFILE | access, mode) {
        return Ok(File::from(file));
    }
    // A file system without nameless files (NFS): the name goes at once.
    let id = crate::measure::fresh_seed().map_err(|failure| failure.message)?;
    let path = folder.join(format!("loadline-{id:013x}.gguf"));
    let file = open(&path, OFlags::CREATE | OFlags::EXCL | access, mode);
    let file = file.map_err(|error| at("write into", error))?;
    rustix::fs::unlink(&path).map_err(|error| at("write into", error))?;
    Ok(File::from(file))
}

fn model_facts(summary: &Summary, source: &ModelSource) -> ModelFacts {
    let named = summary.name.clone().or_else(|| match source {
        ModelSource::File { path } => {
            Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned())
        }
        ModelSource::Made { shape, .. } => Some(shape.clone()),
    });
    ModelFacts {
        name: named.unwrap_or_else(|| source.to_string()),
        source: source.to_string(),
        architecture: Some(summary.architecture.clone()),
        parameters: Some(summary.parameters),
        quantization: summary.quantization.map(|kind| kind.to_string()),
        weight_bytes: Some(summary.weight_bytes),
        step_bytes: summary.step_bytes,
        kv_elements_per_token: summary.kv_elements_per_token,
        context: summary.context_length,
        layers: summary.block_count,
        random_weights: summary.made,
    }
}

/// This program again, as one of its hidden verbs.
fn this_program(verb: &str) -> Result<Command, RunError> {
    if !cfg!(feature = "embedded") {
        return Err(RunError::Engine(
            "this build has no embedded engine (it was built with --no-default-features): measure \
             your own llama-bench (--with) or your own server (its URL)"
                .to_owned(),
        ));
    }
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    // Ctrl-C in a terminal is for this process, which decides what to end.
    command.arg(verb).process_group(0);
    Ok(command)
}

impl Launch for Launcher {
    fn engine(&self, stage: &EngineStage) -> Result<Box<dyn Engine>, RunError> {
        let ready = self.ready(&stage.model)?;
        if let Some(with) = &stage.with {
            return tools(with, ready);
        }
        let gpu_layers = stage.cells.first().map_or(0, |cell| cell.gpu_layers);
        let model = ready.path.display().to_string();
        let open = Request::Open { model, mmap: true, gpu_layers };
        this_program(WORKER)?;
        let command = Box::new(|| this_program(WORKER).expect("invariant: it was asked before"));
        let worker = Worker::start(command, open)
            .map_err(|error| RunError::Engine(format!("{}: {error}", stage.model)))?;
        Ok(Box::new(Embedded { worker, ready }))
    }

    fn server(&self, server: &EmbeddedServer) -> Result<Box<dyn Server>, RunError> {
        let ready = self.ready(&server.model)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = server.threads.unwrap_or(cores.min(MOST_SERVER_THREADS) as u32);
        let mut command = this_program(SERVER)?;
        command.arg("--model").arg(&ready.path).args(["--name", &ready.facts.name]);
        for (flag, value) in [
            ("--parallel", server.parallel),
            ("--context-per-slot", server.context_per_slot),
            ("--threads", threads),
            ("--gpu-layers", server.gpu_layers),
        ] {
            command.arg(flag).arg(value.to_string());
        }
        if ready.facts.random_weights {
            command.arg("--every-token-visible");
        }
        let process = ServerProcess::start(command)
            .map_err(|error| RunError::Engine(format!("{}: {error}", server.model)))?;
        Ok(Box::new(Started { process, _model: ready }))
    }

    fn storage(&self, stage: &StorageStage, seed: u64) -> Result<Box<dyn Storage>, RunError> {
        Ok(Box::new(Directories::new(stage, seed, self.mount_root, &self.stop)))
    }

    fn memory_bandwidth(&self) -> Result<MemoryBandwidth, RunError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let failed = |error: CeilingError| RunError::Engine(error.to_string());
        let bytes = Machine::default().working_set_bytes().map_err(failed)?;
        let measured = loadline_ceilings::memory_bandwidth(threads, bytes, BANDWIDTH_TRIALS)
            .map_err(failed)?;
        let best = measured.best_triad_bytes_per_s().zip(measured.best_read_bytes_per_s());
        let (triad_bytes_per_s, read_bytes_per_s) =
            best.ok_or_else(|| RunError::Engine("no trial of memory bandwidth ended".to_owned()))?;
        Ok(MemoryBandwidth {
            threads: threads as u32,
            working_set_bytes: measured.working_set_bytes,
            cache_bytes: Machine::default().last_level_cache_bytes(),
            triad_bytes_per_s,
            read_bytes_per_s,
        })
    }
}

/// The embedded engine.
struct Embedded {
    worker: Worker,
    ready: Ready,
}

impl Engine for Embedded {
    fn facts(&self) -> EngineFacts {
        EngineFacts {
            model: self.ready.facts.clone(),
            cpus: allowed_cpus(),
            ..self.worker.facts().clone()
        }
    }

    fn measure(
        &mut self,
        cell: &EngineCell,
        trials: u32,
        stop: &Stop,
        each: &mut dyn FnMut(EngineTrial),
    ) -> Result<Vec<String>, String> {
        let stopped = || stop.why().is_some();
        let measured = self.worker.measure(cell, trials, &stopped, each);
        measured.map(|()| Vec::new()).map_err(|error| error.to_string())
    }
}

/// A server of ours; it ends when dropped, and before its model.
struct Started {
    process: ServerProcess,
    _model: Ready,
}

impl Server for Started {
    fn url(&self) -> String {
        self.process.url().to_owned()
    }
}

/// The user's own programs.
struct Tools {
    found: Found,
    facts: EngineFacts,
    ready: Ready,
}

fn tools(with: &str, ready: Ready) -> Result<Box<dyn Engine>, RunError> {
    let failed = |error: loadline_engine::EngineError| RunError::Engine(chain(&error));
    let is_name = ["llama-bench", "llama-batched-bench"].contains(&with);
    let found = if is_name { Found::on_path() } else { Found::given(Path::new(with)) };
    let tied = vec![std::env::current_exe()?.into_os_string(), TIED.into()];
    let found = found.map_err(failed)?.through(tied);
    let told = match found.bench {
        Some(_) => found.facts(&ready.path, &AtomicBool::new(false)).map_err(failed)?,
        None => EngineFacts {
            name: "llama.cpp".to_owned(),
            measured_by: found.batched.as_ref().map_or(with.into(), |p| p.display().to_string()),
            ..EngineFacts::default()
        },
    };
    let facts = EngineFacts { model: ready.facts.clone(), cpus: allowed_cpus(), ..told };
    Ok(Box::new(Tools { found, facts, ready }))
}

impl Engine for Tools {
    fn facts(&self) -> EngineFacts {
        self.facts.clone()
    }

    fn measure(
        &mut self,
        cell: &EngineCell,
        trials: u32,
        stop: &Stop,
        each: &mut dyn FnMut(EngineTrial),
    ) -> Result<Vec<String>, String> {
        let cancel = Arc::new(AtomicBool::new(false));
        let over = Arc::new(AtomicBool::new(false));
        let measured = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if stop.why().is_some() {
                        cancel.store(true, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let measured = self.found.measure(&self.ready.path, cell, trials, &cancel);
            over.store(true, Ordering::Relaxed);
            measured
        });
        let measured = measured.map_err(|error| chain(&error))?;
        measured.trials.into_iter().for_each(each);
        Ok(measured.notes)
    }
}

/// An error with all of its reasons.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    let mut text = error.to_string();
    for source in sources {
        let source = source.to_string();
        if !text.contains(&source) {
            text = format!("{text}: {source}");
        }
    }
    text
}

/// Processors that this process may run on, as the kernel lists them.
fn allowed_cpus() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}
