//! The bare reader as a program, for comparing a client's cost with the least there can be.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program speaks to whoever started it"
)]

use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use loadline_truth::reader::{Load, ReaderPlan, Reading, read};

const USAGE: &str = "The bare reader: the least that any client must spend.

loadline-reader PORT closed CONCURRENCY REQUESTS 1 OUT.csv [LIMIT_S [KERNEL_STAMPS [NAP_US]]]
loadline-reader PORT open RATE SECONDS 1 OUT.csv [LIMIT_S [KERNEL_STAMPS [NAP_US]]]

The 1 says that events are counted by their blank lines, the only way there is. OUT.csv gets one
line per answer (`-`: none): id, intended, sent, first and last token in ns of CLOCK_REALTIME,
token events, and the times between reads with tokens. Figures go to stdout as JSON, in ms.";

fn number<T: std::str::FromStr>(
    arguments: &[String],
    index: usize,
    name: &str,
) -> Result<T, String> {
    let text = arguments.get(index).ok_or_else(|| format!("{name} is missing"))?;
    text.parse().map_err(|_| format!("{name}: {text:?} is not a number it can be"))
}

fn optional(arguments: &[String], index: usize, name: &str, default: u64) -> Result<u64, String> {
    if arguments.len() > index { number(arguments, index, name) } else { Ok(default) }
}

fn parse(arguments: &[String]) -> Result<(ReaderPlan, String), String> {
    let port: u16 = number(arguments, 0, "PORT")?;
    let load = match arguments.get(1).map(String::as_str) {
        Some("closed") => Load::Closed {
            concurrency: number(arguments, 2, "CONCURRENCY")?,
            requests: number(arguments, 3, "REQUESTS")?,
        },
        Some("open") => Load::Open {
            rate_per_s: number(arguments, 2, "RATE")?,
            seconds: number(arguments, 3, "SECONDS")?,
        },
        _ => return Err("the second argument is neither closed nor open".to_owned()),
    };
    if number::<u32>(arguments, 4, "PARSE")? != 1 {
        return Err("PARSE can only be 1".to_owned());
    }
    let out = arguments.get(5).ok_or("OUT.csv is missing")?.clone();
    let mut plan = ReaderPlan::new(SocketAddr::from(([127, 0, 0, 1], port)), load);
    plan.limit = Duration::from_secs(optional(arguments, 6, "LIMIT_S", 60)?);
    plan.kernel_stamps = optional(arguments, 7, "KERNEL_STAMPS", 0)? == 1;
    let nap_us = optional(arguments, 8, "NAP_US", 0)?;
    plan.nap = (nap_us > 0).then(|| Duration::from_micros(nap_us));
    Ok((plan, out))
}

fn write_rows(reading: &Reading, path: &str) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "rid,intended,sent,first,last,events,gaps")?;
    for row in &reading.rows {
        let reads = reading.reads_of(row);
        let time = |after: Option<u64>| after.map_or(0, |after| row.sent_ns + after);
        let first = time(reads.first().map(|read| read.after_sent_ns()));
        let last = time(reads.last().map(|read| read.after_sent_ns()));
        let answer = row.answer.map_or(String::new(), |answer| answer.to_string());
        let (intended, sent, events) = (row.intended_ns, row.sent_ns, row.token_events);
        write!(file, "{answer},{intended},{sent},{first},{last},{events},")?;
        let gaps: Vec<String> = reading.gaps_ns(row).map(|gap| gap.to_string()).collect();
        writeln!(file, "{}", gaps.join(" "))?;
    }
    file.flush()
}

fn run(plan: &ReaderPlan, out: &str) -> Result<(), String> {
    let reading = read(plan).map_err(|error| error.to_string())?;
    println!("{}", reading.to_json());
    if out == "-" {
        return Ok(());
    }
    write_rows(&reading, out).map_err(|error| format!("cannot write {out}: {error}"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (plan, out) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(reason) => {
            eprintln!("loadline-reader: {reason}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&plan, &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("loadline-reader: {reason}");
            ExitCode::FAILURE
        }
    }
}
