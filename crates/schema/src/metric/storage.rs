//! Cells of a storage stage: blocks, checkpoints, model loads.

use super::{BLANK, Metric, Section};

const STORAGE: Metric = Metric { section: Section::Storage, shape: "number", ..BLANK };

pub(super) const STORED: &[Metric] = &[
    Metric {
        key: "storage.bytes_per_s",
        name: "Bandwidth",
        unit: "bytes/s",
        shape: "estimate",
        formula: "mean over trials of Σ workers (`read_bytes` + `write_bytes`) / (latest `last_ns` − earliest `first_ns`) · 10⁹; t-interval over trials. With one trial of at least 10 whole seconds: interval by batch means, ⌊√n⌋ (at least 5) batches of its seconds. Of a checkpoint: Σ `bytes` of all files / time of the save; of a model load: the same over the load",
        from: &["read_bytes", "write_bytes", "first_ns", "last_ns"],
        fio: "`bw` of a group (`group_reporting`) is the same sum over the longest job's runtime; `bw_mean` is a mean of samples, and not this. fio prints KiB/s and MiB/s, JSON `bw` is KiB/s, `bw_bytes` bytes/s",
        notes: "The end of a trial is that of its last worker, its last fsync included. A trial that failed, stalled or was interrupted counts with what it did until then, and a warning says so.",
        source: "G. S. Fishman, Management Science 24 (1978) 510 (batch means)",
        ..STORAGE
    },
    Metric {
        key: "storage.iops",
        name: "I/Os per second",
        unit: "1/s",
        shape: "estimate",
        formula: "mean over trials of Σ workers (`read_ios` + `write_ios`) / (latest `last_ns` − earliest `first_ns`) · 10⁹; interval as of `bytes_per_s`",
        from: &["read_ios", "write_ios", "first_ns", "last_ns"],
        fio: "`iops`",
        notes: "Absent for checkpoints and model loads. fsyncs are not in it.",
        ..STORAGE
    },
    Metric {
        key: "storage.directions",
        name: "Reads, writes and syncs apart",
        unit: "as of the whole",
        shape: "map of objects",
        formula: "the same rates and latencies over the I/Os of one direction (`read`, `write`, `sync`), over the same time",
        from: &["read_bytes", "write_bytes", "sync_ios", "first_ns", "last_ns"],
        fio: "`read`, `write` and `sync` of a job; `sync` has latencies only",
        ..STORAGE
    },
    Metric {
        key: "storage.slat_ns",
        name: "Submission latency",
        unit: "ns",
        shape: "I/O latency",
        formula: "from when an I/O was made ready to when it was handed to the kernel; buckets of all trials' measured parts added, reads and writes together (of a checkpoint the writes of its saves)",
        from: &["slat"],
        fio: "`slat_ns`; without percentiles there",
        notes: "Percentiles by nearest rank over buckets, off by at most 0.4 % (fio: 0.8 %); mean, least and largest are exact. A percentile q of fewer than 1 / (1 − q) I/Os is absent. Imported percentiles are shown as stated; of several trials the median of each.",
        ..STORAGE
    },
    Metric {
        key: "storage.clat_ns",
        name: "Completion latency",
        unit: "ns",
        shape: "I/O latency",
        formula: "from when an I/O was handed to the kernel to when its end was seen; else as `slat_ns`",
        from: &["clat"],
        fio: "`clat_ns`; its percentiles end at 17.1 s, these do not",
        notes: "With `psync` the call is the I/O: `slat_ns` is near 0.",
        source: "fio#1668",
        ..STORAGE
    },
    Metric {
        key: "storage.lat_ns",
        name: "Latency",
        unit: "ns",
        shape: "I/O latency",
        formula: "submission and completion latency of each I/O added, then pooled as `slat_ns`",
        from: &["lat"],
        fio: "`lat_ns`",
        ..STORAGE
    },
    Metric {
        key: "storage.cpu_ns_per_io",
        name: "CPU time for each I/O",
        unit: "ns",
        formula: "Σ trials (`cpu_user_ns` + `cpu_system_ns`) / Σ (`read_ios` + `write_ios`)",
        from: &["cpu_user_ns", "cpu_system_ns", "read_ios", "write_ios"],
        fio: "`usr_cpu` and `sys_cpu`, percentages of one processor",
        notes: "Of the measuring process. What the kernel does in threads of its own (flushing, NFS) is not in it.",
        ..STORAGE
    },
    Metric {
        key: "storage.steady",
        name: "Steady",
        unit: "–",
        shape: "flag",
        formula: "`timeline.deviation` ≤ 0.1 and |`timeline.slope`| ≤ 0.1 in every trial",
        fio: "`steadystate` ends a job by a rule of that kind over a moving window; this judges the whole measured part, and ends nothing",
        notes: "Absent where a trial has fewer than 5 whole seconds.",
        source: "SNIA, Solid State Storage Performance Test Specification",
        ..STORAGE
    },
    Metric {
        key: "storage.cached",
        name: "Cached",
        unit: "–",
        shape: "flag",
        formula: "the file system lives in memory, or a trial found its data in the page cache of this machine; why, is in `cache_reason`",
        from: &["cached", "resident_before"],
        notes: "The cache of a file server cannot be seen from here: a warning says so for shared file systems.",
        ..STORAGE
    },
    Metric {
        key: "storage.target",
        name: "Target",
        unit: "–",
        shape: "object",
        formula: "`met`: `bytes_per_s` is at least the target; `certain`: its interval lies wholly on one side; `assumed`: nobody stated it (checkpoints: 500 MB/s)",
        ..STORAGE
    },
    Metric {
        key: "storage.timeline.bytes",
        name: "Bytes second by second",
        unit: "bytes",
        shape: "list of counts",
        formula: "Σ `bytes` over the rows of all workers that begin in each whole second of the measured part",
        from: &["bytes", "start_ns"],
        fio: "`--bandwidth-log`, `bw_log`",
        ..STORAGE
    },
    Metric {
        key: "storage.timeline.ios",
        name: "I/Os second by second",
        unit: "I/Os",
        shape: "list of counts",
        formula: "the same over `ios` of reads and writes",
        from: &["ios", "start_ns"],
        ..STORAGE
    },
    Metric {
        key: "storage.timeline.first_done_ns",
        name: "First worker done",
        unit: "ns",
        formula: "earliest `last_ns` of a worker − `measure_ns`",
        from: &["last_ns", "measure_ns"],
        notes: "From then on fewer workers than planned make load.",
        ..STORAGE
    },
    Metric {
        key: "storage.timeline.last_done_ns",
        name: "Last worker done",
        unit: "ns",
        formula: "latest `last_ns` − `measure_ns`",
        from: &["last_ns", "measure_ns"],
        ..STORAGE
    },
    Metric {
        key: "storage.timeline.first_done_bytes_per_s",
        name: "Bandwidth until the first worker was done",
        unit: "bytes/s",
        formula: "Σ `bytes` of rows until then (of a row that lasts longer its share) / `first_done_ns` · 10⁹",
        from: &["bytes", "start_ns", "length_ns"],
        notes: "Absent with one worker.",
        ..STORAGE
    },
    Metric {
        key: "storage.timeline.deviation",
        name: "Deviation",
        unit: "ratio",
        formula: "largest |second − mean| / mean of `bytes`",
        notes: "Absent under 5 whole seconds.",
        fio: "`max_deviation` of `steadystate`",
        ..STORAGE
    },
    Metric {
        key: "storage.timeline.slope",
        name: "Slope",
        unit: "ratio",
        formula: "slope of `bytes` by least squares · number of seconds / mean",
        notes: "Absent under 5 whole seconds.",
        fio: "`slope` of `steadystate` is for a second, not for the whole length",
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.save_s",
        name: "Time of a save",
        unit: "s",
        shape: "estimate",
        formula: "mean over complete trials of (latest `end_ns` of a saved file − earliest `start_ns`) / 10⁹: the slowest rank, its fsyncs included; t-interval over trials",
        from: &["start_ns", "end_ns", "passes"],
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.fsync_share",
        name: "Share of fsync",
        unit: "ratio",
        formula: "mean over trials of Σ `fsync_ns` of the slowest rank's files / time of the save",
        from: &["fsync_ns"],
        notes: "Near 1: data was only in memory before, and `write` returned long before it was safe.",
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.slowest_rank",
        name: "Slowest rank",
        unit: "–",
        shape: "count",
        formula: "the rank that was done last in most trials; of equals the lowest",
        from: &["rank", "end_ns"],
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.slowest_ratio",
        name: "Slowest rank against the median",
        unit: "ratio",
        formula: "mean over trials of time of the slowest rank / median time of the ranks",
        from: &["rank", "end_ns"],
        notes: "All ranks wait for the slowest one.",
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.restore_s",
        name: "Time of a restore",
        unit: "s",
        shape: "estimate",
        formula: "as `save_s`, over restored files",
        from: &["start_ns", "end_ns"],
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.restore_bytes_per_s",
        name: "Bandwidth of a restore",
        unit: "bytes/s",
        shape: "estimate",
        formula: "mean over trials of Σ `bytes` of restored files / time of the restore",
        from: &["bytes", "start_ns", "end_ns"],
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.full_save_s",
        name: "Time of a save at the real size",
        unit: "s",
        formula: "where files are scaled: `full_bytes` / `bytes_per_s`; else `save_s`",
        notes: "An extrapolation: a cache that holds a scaled checkpoint does not hold a whole one.",
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.interval_s",
        name: "Time between two saves",
        unit: "s",
        formula: "as stated, else `optimum_s`",
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.time_share",
        name: "Share of time that saves take",
        unit: "ratio",
        formula: "`full_save_s` / `interval_s`, at most 1",
        notes: "Of training that waits for its saves. Asynchronous ones hide it as long as they end before the next.",
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.optimum_s",
        name: "Best time between two saves",
        unit: "s",
        formula: "√(2 · `full_save_s` · MTBF)",
        notes: "First order, for saves much shorter than the time between failures; absent where it would lose all the time.",
        source: "J. W. Young, Communications of the ACM 17 (1974) 530; J. T. Daly, Future Generation Computer Systems 22 (2006) 303",
        ..STORAGE
    },
    Metric {
        key: "storage.checkpoint.optimum_loss",
        name: "Loss at the best interval",
        unit: "ratio",
        formula: "`full_save_s` / T + T / (2 · MTBF) with T = `optimum_s`: saves, and work that failures undo",
        source: "the same",
        ..STORAGE
    },
    Metric {
        key: "storage.model_load.load_s",
        name: "Time of a load",
        unit: "s",
        shape: "estimate",
        formula: "mean over complete trials of (latest `end_ns` of a loaded file − earliest `start_ns`) / 10⁹; t-interval over trials",
        from: &["start_ns", "end_ns", "passes"],
        notes: "Storage to memory. What a server does besides (unpacking, copying to a GPU, compiling) comes on top.",
        ..STORAGE
    },
    Metric {
        key: "storage.model_load.slowest_rank",
        name: "Slowest rank of a load",
        unit: "–",
        shape: "count",
        formula: "the rank that was done last in most trials",
        from: &["rank", "end_ns"],
        ..STORAGE
    },
    Metric {
        key: "storage_stages.model_loads",
        name: "What ways to load a model come to",
        unit: "–",
        shape: "list of objects",
        formula: "of each path: the cold load as servers do it by default (`mmap`, one reader; else the first cold one), and the fastest cold one of the same bytes and ranks, where its interval lies under that of the default, or its time is shorter by a factor of 1.1 with two trials or more of each",
        notes: "Loads whose data this machine held in memory are no cold ones.",
        ..STORAGE
    },
];
