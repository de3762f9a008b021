//! Flags of `loadline storage`, in fio's words, and the plan of one stage that they mean.

use clap::Args;
use loadline_schema::plan_file::{CheckpointFileTable, ModelLoadTable, PlanFile, StorageFile};
use loadline_schema::storage::{
    IoEngine, LoadMethod, ModelFormat, RateProcess, Sharing, SyncMode, Workload,
};
use loadline_schema::units::{Bytes, BytesPerS, DurationNs, Ratio};

use crate::args::RunOptions;
use crate::exit::Failure;

/// Measures storage.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct StorageArgs {
    /// Directories whose storage is measured; the work happens in a new directory inside each
    #[arg(value_name = "DIR", required = true)]
    pub(crate) paths: Vec<String>,

    /// seq-write, seq-read, rand-read, rand-write, seq-rw, rand-rw, checkpoint, model-load, or fio's
    /// words (write, randread, …) [default: seq-write,seq-read,rand-read]
    #[arg(long, alias = "rw", value_name = "LIST", value_delimiter = ',', help_heading = "Work")]
    pub(crate) workload: Vec<String>,
    /// Bytes of each job's file [default: 1GiB]
    #[arg(long, value_name = "SIZE", help_heading = "Work")]
    pub(crate) size: Option<Bytes>,
    /// Bytes of each I/O [default: 1MiB; random 4KiB]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Work")]
    pub(crate) bs: Option<Vec<Bytes>>,
    /// I/Os in flight of each job [default: 8; random 32]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Work")]
    pub(crate) iodepth: Option<Vec<u64>>,
    /// Jobs, each with a file of its own [default: 1]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Work")]
    pub(crate) numjobs: Option<Vec<u64>>,
    /// Length of a trial; a plain number means seconds, as in fio [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = seconds, help_heading = "Work")]
    pub(crate) runtime: Option<DurationNs>,
    /// Time before the measured part
    #[arg(long, alias = "ramp_time", value_name = "TIME", value_parser = seconds, help_heading = "Work")]
    pub(crate) ramp_time: Option<DurationNs>,
    /// Repetitions of each setting [default: 3]
    #[arg(long, value_name = "N", help_heading = "Work")]
    pub(crate) trials: Option<u32>,
    /// End after once through the files, and after --runtime at the latest (fio without
    /// --time_based)
    #[arg(long, conflicts_with = "time_based", help_heading = "Work")]
    pub(crate) size_bound: bool,
    /// Go through the files again and again until --runtime is over: the default
    #[arg(long, alias = "time_based", hide = true)]
    pub(crate) time_based: bool,

    /// auto, io_uring or psync (pread and pwrite in threads) [default: auto]
    #[arg(long, value_name = "ENGINE", value_parser = engine, help_heading = "How")]
    pub(crate) ioengine: Option<IoEngine>,
    /// Past the page cache: 1 or 0 [default: 1]
    #[arg(long, value_name = "0|1", value_parser = flag, help_heading = "How")]
    pub(crate) direct: Option<bool>,
    /// dsync: each write is durable when it ends [default: none]
    #[arg(long, value_name = "MODE", value_parser = sync, help_heading = "How")]
    pub(crate) sync: Option<SyncMode>,
    /// fsync after every N writes
    #[arg(long, value_name = "N", help_heading = "How")]
    pub(crate) fsync: Option<u64>,
    /// fdatasync after every N writes
    #[arg(long, value_name = "N", help_heading = "How")]
    pub(crate) fdatasync: Option<u64>,
    /// fsync each file at the end, inside the measured time: 1 or 0 [default: 1]
    #[arg(long, alias = "end_fsync", value_name = "0|1", value_parser = flag, help_heading = "How")]
    pub(crate) end_fsync: Option<bool>,
    /// Most I/Os per second of each job
    #[arg(long, alias = "rate_iops", value_name = "N", help_heading = "How")]
    pub(crate) rate_iops: Option<f64>,
    /// Law of the times under a rate: linear or poisson [default: linear]
    #[arg(long, alias = "rate_process", value_name = "LAW", value_parser = process, help_heading = "How")]
    pub(crate) rate_process: Option<RateProcess>,
    /// Share of reads of mixed workloads, % [default: 50]
    #[arg(long, value_name = "N", help_heading = "How")]
    pub(crate) rwmixread: Option<u32>,
    /// Share of each block that compresses away, % [default: 0]
    #[arg(long, alias = "buffer_compress_percentage", value_name = "N", help_heading = "How")]
    pub(crate) buffer_compress_percentage: Option<u32>,
    /// Share of blocks that repeat an earlier one, % [default: 0]
    #[arg(long, alias = "dedupe_percentage", value_name = "N", help_heading = "How")]
    pub(crate) dedupe_percentage: Option<u32>,
    /// Read every written block back after each trial and compare it byte by byte
    #[arg(long, help_heading = "How")]
    pub(crate) verify: bool,

    /// Internal: /dev/zero is read instead of files of ours
    #[arg(long, hide = true)]
    pub(crate) special_file: Option<String>,

    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    #[command(flatten)]
    pub(crate) model_load: ModelLoadArgs,
    #[command(flatten)]
    pub(crate) safety: SafetyArgs,

    /// Bandwidth to reach: 500MB/s for every workload, or seq_write=500MB/s; may be repeated
    #[arg(long, value_name = "TARGET", value_delimiter = ',', help_heading = "Run")]
    pub(crate) target: Vec<String>,
    /// Name of the run
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    pub(crate) name: Option<String>,
    /// Seed of everything random [default: a fresh one, recorded]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub(crate) seed: Option<u64>,
    #[command(flatten, next_help_heading = "Run")]
    pub(crate) options: RunOptions,
}

/// The shape of `checkpoint`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Checkpoint")]
pub(crate) struct CheckpointArgs {
    /// llama3-1b, llama3-8b, llama3-70b, llama3-405b, parameters as in 7B, or lora:MODEL:RANK
    /// [default: llama3-8b]
    #[arg(long = "checkpoint", value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Processes that save at once [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) ranks: Option<u32>,
    /// Tensor-parallel ranks among them [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) tensor_parallel: Option<u32>,
    /// Pipeline-parallel ranks among them [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) pipeline_parallel: Option<u32>,
    /// ZeRO stage [default: 3; of one rank 0]
    #[arg(long, value_name = "0-3")]
    pub(crate) zero: Option<u32>,
    /// Files are this share of their real size, as in 1% [default: 1]
    #[arg(long, value_name = "RATIO")]
    pub(crate) scale: Option<Ratio>,
    /// Save only, do not read back
    #[arg(long)]
    pub(crate) no_restore: bool,
    /// Time between two saves
    #[arg(long, value_name = "TIME")]
    pub(crate) save_interval: Option<DurationNs>,
    /// Mean time between failures of the whole job
    #[arg(long, value_name = "TIME")]
    pub(crate) mtbf: Option<DurationNs>,
}

/// The shape of `model-load`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model load")]
pub(crate) struct ModelLoadArgs {
    /// Bytes of the weights [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) model_size: Option<Bytes>,
    /// safetensors or gguf [default: safetensors]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub(crate) model_format: Option<ModelFormat>,
    /// mmap, pread, direct [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = method)]
    pub(crate) load_method: Vec<LoadMethod>,
    /// Readers of each rank [default: 1,8; mmap 1]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) readers: Option<Vec<u64>>,
    /// Ranks (GPUs) that load at the same time [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) load_ranks: Option<u32>,
    /// What several ranks read: one-file or shards [default: one-file]
    #[arg(long, value_name = "WHAT", value_parser = sharing)]
    pub(crate) sharing: Option<Sharing>,
}

/// What the work may do to the machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct SafetyArgs {
    /// Most bytes to write on each DIR, all trials together [default: 64GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_write: Option<Bytes>,
    /// Bytes of the file system that stay free [default: 5 % of it, at most 10GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) reserve: Option<Bytes>,
    /// Drop the page cache of the whole machine before reads (root alone may)
    #[arg(long)]
    pub(crate) drop_caches: bool,
    /// Without the end of a single I/O for so long the file system counts as hanging
    #[arg(long, value_name = "TIME", default_value = "120s")]
    pub(crate) stall_timeout: DurationNs,
}

const AFTER_HELP: &str = "\
Two commands in circulation, and their like here:
  dd if=/dev/zero of=FILE bs=1M count=1024 oflag=direct
    loadline storage DIR --rw write --iodepth 1 --size 1g --size-bound
  fio --name=x --rw=write --bs=1m --size=1g --numjobs=4 --runtime=60
    loadline storage DIR --rw write --bs 1m --size 1g --numjobs 4 --runtime 60 \
      --direct 0 --end-fsync 0 --size-bound --ioengine psync --iodepth 1
  That fio line measures little: it is buffered (memory takes the data), it ends
  after 1 GiB instead of 60 s (no --time_based), and with --filename all four
  jobs overwrite one file. Recommended, in fio: --direct=1 --end_fsync=1
  --time_based and a file for each job. Here that is the default:
    loadline storage DIR --rw write --bs 1m --size 1g --numjobs 4 --runtime 60

More examples:
  loadline storage /shared/scratch
  loadline storage /shared/scratch --target 500MB/s
  loadline storage /nvme/scratch --rw randread --bs 4k --iodepth 1,32
  loadline storage /shared/scratch --checkpoint llama3-8b --ranks 8 --scale 2%
  loadline storage /shared/scratch --model-size 16GB

Nothing but new files in a new directory is written, and both are gone
afterwards.
Exit codes: 0 ok, 1 internal error, 2 usage or a directory that is refused,
4 a target is missed, 6 incomplete (I/O failed, a mount that hangs, Ctrl-C).";

fn spelled<T>(text: &str, found: Option<T>, all: &[&str]) -> Result<T, String> {
    found.ok_or_else(|| format!("`{text}` is none of {}", all.join(", ")))
}

fn words<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| word(*value)).collect()
}

fn engine(text: &str) -> Result<IoEngine, String> {
    spelled(text, IoEngine::from_text(text), &words(IoEngine::ALL, IoEngine::as_str))
}

fn process(text: &str) -> Result<RateProcess, String> {
    spelled(text, RateProcess::from_text(text), &words(RateProcess::ALL, RateProcess::as_str))
}

fn method(text: &str) -> Result<LoadMethod, String> {
    spelled(text, LoadMethod::from_text(text), &words(LoadMethod::ALL, LoadMethod::as_str))
}

fn format(text: &str) -> Result<ModelFormat, String> {
    spelled(text, ModelFormat::from_text(text), &words(ModelFormat::ALL, ModelFormat::as_str))
}

fn sharing(text: &str) -> Result<Sharing, String> {
    spelled(text, Sharing::from_text(text), &words(Sharing::ALL, Sharing::as_str))
}

fn sync(text: &str) -> Result<SyncMode, String> {
    let found = match text {
        "0" => Some(SyncMode::None),
        text => SyncMode::from_text(text),
    };
    spelled(text, found, &words(SyncMode::ALL, SyncMode::as_str))
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(format!("`{other}` is neither 1 nor 0")),
    }
}

/// A duration; a plain number means seconds.
pub(crate) fn seconds(text: &str) -> Result<DurationNs, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = if plain { format!("{text}s") } else { text.to_owned() };
    text.parse().map_err(|error: loadline_schema::units::UnitError| error.to_string())
}

impl StorageArgs {
    /// The plan that these flags mean.
    pub(crate) fn plan_file(&self) -> Result<PlanFile, Failure> {
        let safety = &self.safety;
        let stage = StorageFile {
            path: self.paths.clone(),
            workload: self.workloads()?,
            target: self.targets()?,
            size: self.size,
            bs: self.bs.clone(),
            iodepth: self.iodepth.clone(),
            numjobs: self.numjobs.clone(),
            runtime: self.runtime,
            time_based: self.size_bound.then_some(false),
            ramp_time: self.ramp_time,
            trials: self.trials,
            ioengine: self.ioengine,
            direct: self.direct,
            sync: self.sync,
            fsync: self.fsync,
            fdatasync: self.fdatasync,
            end_fsync: self.end_fsync,
            rate_iops: self.rate_iops,
            rate_process: self.rate_process,
            rwmixread: self.rwmixread,
            buffer_compress_percentage: self.buffer_compress_percentage,
            dedupe_percentage: self.dedupe_percentage,
            verify: self.verify.then_some(true),
            max_write: safety.max_write,
            reserve: safety.reserve,
            drop_caches: safety.drop_caches.then_some(true),
            stall_timeout: Some(safety.stall_timeout),
            special_file: self.special_file.clone(),
            checkpoint: self.checkpoint.table(),
            model_load: self.model_load.table(),
            ..StorageFile::default()
        };
        let mut plan = PlanFile::of_storage(stage);
        plan.name.clone_from(&self.name);
        plan.seed = self.seed;
        Ok(plan)
    }

    /// Those that are named; flags of a shape alone mean its workload.
    fn workloads(&self) -> Result<Vec<String>, Failure> {
        let shapes = [
            (Workload::Checkpoint, self.checkpoint.table() != CheckpointFileTable::default()),
            (Workload::ModelLoad, self.model_load.table() != ModelLoadTable::default()),
        ];
        let given = shapes.iter().filter(|(_, given)| *given).map(|(workload, _)| *workload);
        if self.workload.is_empty() {
            return Ok(given.map(|workload| workload.to_string()).collect());
        }
        let is_named =
            |wanted| self.workload.iter().any(|text| Workload::from_any(text) == Some(wanted));
        match given.into_iter().find(|workload| !is_named(*workload)) {
            Some(workload) => Err(Failure::usage(format!(
                "flags of {workload} are given, and --workload does not name it: add it there"
            ))),
            None => Ok(self.workload.clone()),
        }
    }

    /// By workload; a bandwidth alone is for every one.
    fn targets(&self) -> Result<std::collections::BTreeMap<String, BytesPerS>, Failure> {
        let mut targets = std::collections::BTreeMap::new();
        let bandwidth = |text: &str| {
            text.trim()
                .parse::<BytesPerS>()
                .map_err(|error| Failure::usage(format!("--target: {error}")))
        };
        for text in &self.target {
            if let Some((workload, text)) = text.split_once('=') {
                targets.insert(workload.trim().to_owned(), bandwidth(text)?);
                continue;
            }
            let all = match &self.workloads()?[..] {
                [] => ["seq-write", "seq-read", "rand-read"].map(str::to_owned).to_vec(),
                named => named.to_vec(),
            };
            for workload in all {
                targets.insert(workload, bandwidth(text)?);
            }
        }
        Ok(targets)
    }
}

impl CheckpointArgs {
    fn table(&self) -> CheckpointFileTable {
        CheckpointFileTable {
            model: self.model.clone(),
            ranks: self.ranks,
            tensor_parallel: self.tensor_parallel,
            pipeline_parallel: self.pipeline_parallel,
            zero: self.zero,
            scale: self.scale,
            restore: self.no_restore.then_some(false),
            interval: self.save_interval,
            mtbf: self.mtbf,
            ..CheckpointFileTable::default()
        }
    }
}

impl ModelLoadArgs {
    fn table(&self) -> ModelLoadTable {
        ModelLoadTable {
            size: self.model_size,
            format: self.model_format,
            method: self.load_method.clone(),
            readers: self.readers.clone(),
            ranks: self.load_ranks,
            sharing: self.sharing,
            ..ModelLoadTable::default()
        }
    }
}
