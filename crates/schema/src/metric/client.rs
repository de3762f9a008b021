//! The client's error budget, and what its selftest says.

use super::{BLANK, Metric, Section};

const CLIENT_ENTRY: Metric =
    Metric { section: Section::Client, unit: "ratio", shape: "number", ..BLANK };
const SELFTEST: Metric =
    Metric { section: Section::Selftest, unit: "ns", shape: "number", ..BLANK };

pub(super) const CLIENT: &[Metric] = &[
    Metric {
        key: "send_lag_ns",
        name: "Send lag",
        unit: "ns",
        shape: "distribution",
        formula: "`write_begin_ns − intended_ns` of every operation of the cohort that was sent",
        from: &["write_begin_ns", "intended_ns"],
        vllm: "None; `client_queue_time` is the wait for its semaphore.",
        guidellm: "The part of `request_scheduled_latency` before the request is sent.",
        notes: "How late the client was. Looking up names and connecting on demand lie inside it; what goes into `client.limited` leaves them out.",
        source: "guidellm#1053",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "read_lag_ns",
        name: "Read lag",
        unit: "ns",
        shape: "distribution, bucketed",
        formula: "time of the read − the kernel's receive stamp, of every read that has one; mapped by reading both clocks directly after the read",
        from: &["read_lag"],
        notes: "What a tool that takes the time after reading would add to each arrival; with kernel stamps it is not in the latencies. Percentiles over several trials are the largest of the trials' own.",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.cpu_ratio",
        name: "CPU",
        formula: "CPU time of the reactors ÷ (wall time × reactors), all phases",
        from: &["cpu_ns", "wall_ns", "reactors"],
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.cpu_ns_per_event",
        name: "CPU per event",
        unit: "ns",
        formula: "(CPU time − time spent spinning) ÷ events of any kind",
        from: &["cpu_ns", "spin_ns", "chunks"],
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.spin_ratio",
        name: "Spinning",
        formula: "time spent spinning before due times ÷ CPU time",
        from: &["spin_ns", "cpu_ns"],
        notes: "At most 200 µs before each due time, for punctuality.",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.timestamp_source",
        name: "Source of arrival times",
        unit: "–",
        shape: "text",
        formula: "`kernel_rx` (the kernel's receive stamp), `user` (the clock after the read), or `mixed`",
        from: &["timestamp_source"],
        notes: "The stamp is that of the last byte of the read; with TLS it covers all records of the read. Unix sockets give none.",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.timestamp_shares",
        name: "Shares of the sources",
        shape: "ratios by source",
        formula: "answers by the source of their times ÷ all, where the source is `mixed`",
        from: &["timestamp_source"],
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.merged_reads",
        name: "Merged reads",
        formula: "token-bearing events that shared their read with another ÷ all token-bearing events",
        from: &["merged_chunks", "token_chunks"],
        notes: "Not an error by itself: a server that writes several events at once looks the same. Late ones are told apart by the last poll that showed the socket empty.",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.late_gaps",
        name: "Late gaps",
        formula: "gaps that were split or hidden by late merged reads ÷ all chunk gaps",
        from: &["merged", "gaps_100ns"],
        notes: "A percentile q of gaps is withheld where this exceeds (1 − q) / 10.",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.late_first_tokens",
        name: "Late first tokens",
        unit: "requests",
        shape: "count",
        formula: "ok answers of the cohort whose first token lies in a late merged read: their TTFT is an upper bound",
        from: &["merged"],
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.fallbacks",
        name: "Clock fallbacks",
        unit: "reads",
        shape: "count",
        formula: "reads whose arrival was taken from the clock though a kernel stamp was expected: no stamp, a negative lag, or the realtime clock moved more than 1 ms against the monotonic one",
        from: &["fallbacks"],
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.slow_writes",
        name: "Slow writes",
        unit: "requests",
        shape: "count",
        formula: "requests with `write_end_ns − write_begin_ns` over 1 ms",
        from: &["slow_writes"],
        notes: "The time lies in TTFT. Long prompts over slow links do this, and servers that do not read.",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.clock_step_ns",
        name: "Clock step",
        unit: "ns",
        formula: "smallest step of the monotonic clock that was seen; largest over trials",
        from: &["clock_step_ns"],
        ..CLIENT_ENTRY
    },
    Metric {
        key: "client.limited",
        name: "The client was the limit",
        unit: "–",
        shape: "true or false",
        formula: "true where any of these holds: the reactors were busy over 90 % of the time (spinning apart); P99 of the client's own send lag (connecting apart) over max(1 ms, median TTFT ÷ 100); late gaps over 0.1 %; closed loop by duration: in flight under 95 % of the slots though under 5 % failed and nothing pauses; open loop: under 95 % of what was due was sent while the reactors were busy over 70 %",
        from: &["cpu_ns", "spin_ns", "wall_ns", "write_begin_ns", "intended_ns", "merged"],
        notes: "Such a point says little about the server. It is shown and marked, never hidden.",
        ..CLIENT_ENTRY
    },
    Metric {
        key: "selftest.max_concurrency",
        name: "Largest trustworthy concurrency",
        unit: "requests",
        formula: "largest concurrency of the selftest at which P99 errors of TTFT and of gaps and P99 of the send lag stay under 1 ms, against a server of known timing on the same machine",
        notes: "Error: per request, matched by id, |client − server|.",
        ..SELFTEST
    },
    Metric {
        key: "selftest.max_rate_per_s",
        name: "Largest trustworthy rate",
        unit: "1/s",
        formula: "the same for the rate of an open loop",
        ..SELFTEST
    },
    Metric {
        key: "selftest.ttft_error_ns_p99",
        name: "TTFT error",
        formula: "P99 of |TTFT of the client − TTFT that the server wrote| at that load",
        ..SELFTEST
    },
    Metric {
        key: "selftest.gap_error_ns_p99",
        name: "Gap error",
        formula: "P99 of |gap of the client − gap that the server wrote| at that load",
        ..SELFTEST
    },
    Metric {
        key: "selftest.send_lag_ns_p99",
        name: "Send lag",
        formula: "P99 of the send lag at that load",
        ..SELFTEST
    },
    Metric {
        key: "selftest.measured_at",
        name: "Date of the selftest",
        unit: "UTC",
        shape: "text",
        formula: "when it was measured; it is kept for this machine and quoted in every report",
        ..SELFTEST
    },
];
