//! Where GPUs are read, and `--check`: what can be read at all.

use loadline_clock::RunClock;
use loadline_observe::gpu::{
    DcgmExporter, Fetch, GpuRoots, NvmlSettings, Opened, PassedOver, check, open,
};
use loadline_schema::event::Warning;
use loadline_serving::ask::ask;
use loadline_serving::target::{Target, TargetSettings};

use super::show::{Place, document, page_style, put};
use crate::exit::{Exit, Failure};
use crate::gpu_args::GpuArgs;

/// Shortest time between two looks, ns.
const LEAST_INTERVAL_NS: u64 = 10_000_000;
/// Limit for a page of an exporter, ns.
const PAGE_NS: u64 = 5_000_000_000;

/// The sources that the flags name.
pub(super) fn opened(args: &GpuArgs, clock: RunClock) -> Result<Opened, Failure> {
    if args.interval.0 < LEAST_INTERVAL_NS {
        return Err(Failure::usage(format!("--interval {}: at least 10ms", args.interval)));
    }
    if let Some(url) = &args.exporter {
        let reader = DcgmExporter::new(page(url)?);
        return Ok(Opened { readers: vec![Box::new(reader)], passed_over: Vec::new() });
    }
    let mut nvml_settings = NvmlSettings::default();
    if args.is_once() || args.check {
        // No energy is told of two looks.
        nvml_settings.energy_step_within_ns = 0;
    }
    let roots = GpuRoots {
        nvml: args.hardware.nvml.clone(),
        nvml_settings,
        exporter: None,
        dcgmi: (!args.no_dcgmi).then(|| "dcgmi".into()),
        interval_ms: u32::try_from(args.interval.0 / 1_000_000).unwrap_or(u32::MAX),
        sys: args.hardware.sys.clone(),
    };
    Ok(open(roots, clock))
}

/// Gets an exporter's page, which must be there at once.
fn page(url: &str) -> Result<Fetch, Failure> {
    let base = url.trim_end_matches('/').trim_end_matches("/metrics").to_owned();
    let settings =
        TargetSettings { urls: &[base], connect_timeout_ns: PAGE_NS, ..TargetSettings::default() };
    let target = Target::resolve(&settings).map_err(loadline_runner::RunError::from)?;
    Ok(Box::new(move || {
        let reply = ask(&target, 0, "GET", "/metrics", None, PAGE_NS);
        let reply = reply.map_err(|error| error.to_string())?;
        if reply.is_success() {
            return Ok(reply.body);
        }
        Err(reply.message.unwrap_or_else(|| format!("status {}", reply.status)))
    }))
}

pub(super) fn no_gpu(passed_over: &[PassedOver]) -> String {
    let told = |passed: &PassedOver| {
        let text = format!("{}: {}", passed.source.in_words(), passed.reason);
        format!("\n{}", loadline_report::indented(&text, 2, 80).trim_end())
    };
    let looked: String = passed_over.iter().map(told).collect();
    format!("there is no GPU that can be read; looked for:{looked}")
}

/// `--check`.
pub(super) fn checked(args: &GpuArgs, opened: Opened, clock: RunClock) -> Result<Exit, Failure> {
    let mut passed: Vec<PassedOver> = opened.passed_over;
    let mut readings = Vec::new();
    for mut reader in opened.readers {
        match check(reader.as_mut(), &clock) {
            Ok(found) => readings.extend(found),
            Err(error) => {
                passed.push(PassedOver { source: reader.source(), reason: error.to_string() });
            }
        }
    }
    let text = if args.json {
        let warnings = passed.iter().map(|passed| {
            let message = format!("{}: {}", passed.source.in_words(), passed.reason);
            Warning::new("gpu_source_passed_over", message, "")
        });
        loadline_report::json(&document(&readings, warnings.collect()))
    } else {
        let passed: Vec<_> =
            passed.into_iter().map(|passed| (passed.source, passed.reason)).collect();
        loadline_report::gpu_check(&readings, &passed, &page_style(args, Place::Stdout))
    };
    let shown = put(args, &text, Place::Stdout)?;
    Ok(if shown == Exit::Ok && readings.is_empty() { Exit::Usage } else { shown })
}
