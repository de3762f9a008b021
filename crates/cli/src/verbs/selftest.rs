//! `loadline selftest`: the client's own error, request by request, against a server whose timing is
//! known and which runs on another core where there is one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loadline_clock::RunClock;
use loadline_load::TrialLoad;
use loadline_report::quantity;
use loadline_schema::document::Selftest;
use loadline_schema::outcome::Outcome;
use loadline_schema::plan::{Api, Arrival, Extent, Load, Timeouts, Warmup};
use loadline_schema::record::{RequestRow, TrialId};
use loadline_serving::target::{Target, TargetSettings};
use loadline_serving::trial::{Parts, Stop, Trial, run_trial};
use loadline_serving::{Batch, Requests, Sink};
use loadline_truth::known_answer::{ClientRow, compare};
use loadline_truth::{Law, TruthThread};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::args::SelftestArgs;
use crate::exit::{Exit, Failure};
use crate::output::{print, say};

/// Errors and lag must stay under this at P99, ns.
const LIMIT_NS: u64 = 1_000_000;
const CONCURRENCIES: [u64; 7] = [16, 64, 256, 512, 1_024, 2_048, 4_096];
const RATES: [u64; 6] = [100, 500, 1_000, 2_000, 5_000, 8_000];
const MS: u64 = 1_000_000;
const OUTPUT_TOKENS: u32 = 40;

/// P99 of what the client gets wrong at one load, ns.
#[derive(Debug, Clone, Copy)]
struct Found {
    ttft: u64,
    gap: u64,
    send_lag: u64,
}

impl Found {
    fn is_trusted(&self) -> bool {
        self.ttft.max(self.gap).max(self.send_lag) <= LIMIT_NS
    }
}

struct Body;

impl Requests for Body {
    fn write_body(&mut self, _: u64, body: &mut Vec<u8>) -> u32 {
        body.extend_from_slice(
            br#"{"messages":[{"role":"user","content":"the of and to in is on for"}],"stream":true,"#,
        );
        body.extend_from_slice(br#""stream_options":{"include_usage":true}}"#);
        OUTPUT_TOKENS
    }
}

struct Kept(Arc<Mutex<Vec<RequestRow>>>);

impl Sink for Kept {
    fn batch(&mut self, batch: Batch) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(batch.rows);
        false
    }
}

/// Where the result is kept: for this machine and this version.
fn cache_file() -> Option<PathBuf> {
    let base =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let host = loadline_store::this_process();
    let name = format!("selftest-{}-{}c-{}.json", host.name, host.cores, env!("CARGO_PKG_VERSION"));
    Some(base.join("loadline").join(name.replace('/', "_")))
}

/// The result of the last selftest on this machine.
pub(crate) fn cached() -> Option<Selftest> {
    serde_json::from_slice(&std::fs::read(cache_file()?).ok()?).ok()
}

pub(crate) fn run(args: &SelftestArgs) -> Result<Exit, Failure> {
    let server = serve_apart()?;
    let urls = [server.url()];
    let settings =
        TargetSettings { urls: &urls, connect_timeout_ns: 5_000 * MS, ..TargetSettings::default() };
    let target = Target::resolve(&settings).map_err(Failure::internal)?;
    let mut result = Selftest {
        max_concurrency: None,
        max_rate_per_s: None,
        ttft_error_ns_p99: None,
        gap_error_ns_p99: None,
        send_lag_ns_p99: None,
        measured_at: jiff::Timestamp::now().to_string(),
    };
    for concurrency in CONCURRENCIES.into_iter().filter(|n| *n <= args.max_concurrency) {
        let found = closed(&target, &server, concurrency)?;
        tell(&format!("{concurrency} streams"), &found);
        if !found.is_trusted() {
            break;
        }
        result.max_concurrency = Some(concurrency);
        result.ttft_error_ns_p99 = Some(found.ttft);
        result.gap_error_ns_p99 = Some(found.gap);
        result.send_lag_ns_p99 = Some(found.send_lag);
    }
    for rate in RATES.into_iter().filter(|rate| *rate <= args.max_rate) {
        let found = open(&target, &server, rate)?;
        tell(&format!("{rate} requests/s"), &found);
        if !found.is_trusted() {
            break;
        }
        result.max_rate_per_s = Some(rate as f64);
    }
    keep(&result);
    Ok(print(&if args.json { json(&result)? } else { words(&result) }))
}

fn json(result: &Selftest) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(&serde_json::json!({ "selftest": result }));
    Ok(format!("{}\n", text.map_err(Failure::internal)?))
}

fn words(result: &Selftest) -> String {
    let none = "none: even the smallest load is over 1 ms".to_owned();
    let streams = result.max_concurrency.map_or_else(|| none.clone(), |n| format!("{n} streams"));
    let rate = result.max_rate_per_s.map_or(none, |rate| format!("{rate} requests/s"));
    format!(
        "The client can be trusted on this machine with\n  closed loop  {streams}\n  open loop    {rate}\n\
         (the P99 of its errors of TTFT and gaps and of its send lag stay under 1 ms there)\n"
    )
}

fn tell(load: &str, found: &Found) {
    let text = |ns: u64| quantity::duration(ns as f64);
    let verdict = if found.is_trusted() { "" } else { "  over 1 ms" };
    say(&format!(
        "{load:>16}: P99 error of TTFT {}, of gaps {}, send lag {}{verdict}",
        text(found.ttft),
        text(found.gap),
        text(found.send_lag)
    ));
}

/// Kept for later reports; without a cache folder they only say that none is known.
fn keep(result: &Selftest) {
    let Some(path) = cache_file() else { return };
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let text = serde_json::to_vec_pretty(result).map_err(std::io::Error::other);
    if let Err(error) = folder.and_then(|()| std::fs::write(&path, text?)) {
        say(&format!("loadline: cannot keep the result in {}: {error}", path.display()));
    }
}

/// Starts the server on the first core that this process may use, and leaves the others to the
/// client. With one core they share it.
fn serve_apart() -> Result<TruthThread, Failure> {
    let allowed = sched_getaffinity(None).map_err(Failure::internal)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let (servers, clients) = cores.split_at(1.min(cores.len()));
    pin(servers);
    let server = TruthThread::start(Law::default()).map_err(Failure::internal)?;
    pin(if clients.is_empty() { servers } else { clients });
    Ok(server)
}

/// Keeps this thread, and those that it starts, on these cores. Where the system refuses, the
/// scheduler decides, and the errors show it.
fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    let _ = sched_setaffinity(None, &set);
}

/// Tokens every 20 ms; from 2,048 streams on every 60 ms, since one core writes no more.
fn closed(target: &Target, server: &TruthThread, concurrency: u64) -> Result<Found, Failure> {
    let itl_ns = if concurrency < 2_048 { 20 * MS } else { 60 * MS };
    server.set_law(Law::fixed(
        Duration::from_millis(200),
        Duration::from_nanos(itl_ns),
        OUTPUT_TOKENS,
    ));
    let stagger_ns = 200 * MS + u64::from(OUTPUT_TOKENS) * itl_ns;
    measure(target, server, Load::Closed { concurrency }, (2 * concurrency).max(128), stagger_ns)
}

fn open(target: &Target, server: &TruthThread, rate: u64) -> Result<Found, Failure> {
    server.set_law(Law::fixed(Duration::from_millis(5), Duration::from_millis(2), 4));
    let load = Load::Open { rate_per_s: rate as f64, arrival: Arrival::Poisson };
    measure(target, server, load, 2 * rate, 0)
}

fn measure(
    target: &Target,
    server: &TruthThread,
    load: Load,
    requests: u64,
    stagger_ns: u64,
) -> Result<Found, Failure> {
    server.reset();
    let trial = Trial {
        id: TrialId { stage: 0, point: 0, trial: 0, part: 0 },
        load: TrialLoad {
            load,
            extent: Extent::Requests { requests },
            warmup: Warmup::Requests { requests: 0 },
            start_ns: 0,
            stagger_ns,
            think_time_ns: 0,
            max_in_flight: 10_000,
            seed: 1,
            stop_after_errors: 0.5,
        },
        api: Api::Chat,
        timeouts: Timeouts::default(),
        retries: 0,
        keep_chunks: true,
        keep_text: false,
        reactors: None,
        answer_ns: Some(20 * MS),
        max_tokens: None,
    };
    let rows = Arc::new(Mutex::new(Vec::new()));
    let parts = |_| Parts { requests: Box::new(Body), sink: Box::new(Kept(Arc::clone(&rows))) };
    let clock = RunClock::start();
    run_trial(target, &trial, clock, &Stop::default(), parts, |_| {}).map_err(Failure::internal)?;
    let rows = std::mem::take(&mut *rows.lock().unwrap_or_else(PoisonError::into_inner));
    found(&rows, server, clock)
}

fn found(rows: &[RequestRow], server: &TruthThread, clock: RunClock) -> Result<Found, Failure> {
    let not_ok = rows.iter().filter(|row| row.record.outcome != Outcome::Ok).count();
    if not_ok > 0 {
        let text =
            rows.iter().find_map(|row| row.record.error_text.as_deref()).unwrap_or("dropped");
        return Err(Failure::internal(format!("{not_ok} requests did not end ok: {text}")));
    }
    let log = server.log_of(rows.len(), Duration::from_secs(5));
    let client: Vec<ClientRow> = rows.iter().filter_map(|row| client_row(row, clock)).collect();
    let errors = compare(&client, &log);
    let mut lags: Vec<u64> = rows
        .iter()
        .filter_map(|row| Some(row.record.write_begin_ns?.saturating_sub(row.record.intended_ns)))
        .collect();
    lags.sort_unstable();
    let p99 = lags.get((lags.len() * 99).div_ceil(100).saturating_sub(1)).copied();
    match (errors.ttft(), errors.gap(), p99) {
        (Some(ttft), Some(gap), Some(send_lag)) => {
            Ok(Found { ttft: ttft.p99_ns, gap: gap.p99_ns, send_lag })
        }
        _ => Err(Failure::internal("no answer could be matched with the server's log")),
    }
}

/// A record as the comparison wants it: realtime, and every token's arrival.
fn client_row(row: &RequestRow, clock: RunClock) -> Option<ClientRow> {
    let record = &row.record;
    let real = |ns: u64| clock.origin_unix_ns() + ns;
    let mut at = record.first_token_ns?;
    let mut token_times_ns = vec![real(at)];
    for gap in &row.chunks.as_ref()?.gaps_100ns {
        at += u64::from(*gap) * 100;
        token_times_ns.push(real(at));
    }
    let answer_id = record.answer_id.as_deref()?.to_owned();
    Some(ClientRow { answer_id, sent_ns: real(record.write_begin_ns?), token_times_ns })
}
