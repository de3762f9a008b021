//! `loadline analyze TABLE`: the same analysis for rows measured elsewhere.

use std::io::Read;
use std::path::Path;

use loadline_analysis::{THROUGHPUT, TableSettings, analyze_table};
use loadline_schema::document::Document;
use loadline_schema::sla::Sla;
use loadline_schema::table_file::TableFile;

use crate::args::ReportFormat;
use crate::cost_args::CostArgs;
use crate::exit::{Exit, Failure};
use crate::output::{print, style};
use crate::sla_args::SlaArgs;
use crate::table_args::{AnalyzeArgs, TokenArgs};

/// Largest table that is read: far more rows than anybody looks at.
const BYTES_MAX: u64 = 16 << 20;

pub(crate) fn run(args: &AnalyzeArgs) -> Result<Exit, Failure> {
    let document = table_document(&args.file, &args.sla, &args.cost, args.tokens)?;
    let format = if args.json { ReportFormat::Json } else { args.format };
    let printed = print(&match format {
        ReportFormat::Text => loadline_report::terminal(&document, &style()),
        ReportFormat::Json => loadline_report::json(&document),
        ReportFormat::Csv => loadline_report::csv(&document),
        ReportFormat::Md => loadline_report::markdown(&document),
    });
    let is_missed = document.sla.keys().any(|name| !document.choice.contains_key(name));
    Ok(if printed == Exit::Ok && is_missed { Exit::SlaMissed } else { printed })
}

/// The analysed table of a file (`-`: stdin).
pub(crate) fn table_document(
    file: &Path,
    sla: &SlaArgs,
    cost: &CostArgs,
    tokens: TokenArgs,
) -> Result<Document, Failure> {
    let slas = sla.targets()?;
    if slas.iter().any(|sla| sla.name == THROUGHPUT) {
        return Err(Failure::usage(format!(
            "an SLA cannot be called `{THROUGHPUT}`: that is the choice without an SLA"
        )));
    }
    let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
    let bytes = read(file, &name)?;
    let table =
        TableFile::parse(&bytes).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let cost = with_table_power(cost, &table)
        .map_err(|what| Failure::usage(format!("{name}: {what}")))?
        .plan(table.rows.len())?;
    let document = analyze_table(
        &table,
        &TableSettings {
            sla: &slas,
            cost: cost.as_ref(),
            output_tokens: tokens.tokens_per_request,
            input_tokens: tokens.input_tokens_per_request,
        },
    );
    judged(&document, &slas, &name)?;
    Ok(document)
}

fn read(file: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |error: std::io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    if file.is_dir() {
        return Err(Failure::usage(format!(
            "{name} is a folder: a stored run is shown with `loadline report {name}`"
        )));
    }
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(wrong)?)
    };
    source.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::usage(format!(
            "{name} has more than 16 MiB: that is no table of loads"
        )));
    }
    Ok(bytes)
}

/// The flags with the power of the table's own column in the place of what is stated.
fn with_table_power(cost: &CostArgs, table: &TableFile) -> Result<CostArgs, String> {
    let mut cost = cost.clone();
    let has_column = table.rows.iter().any(|row| row.row.watts.is_some());
    if !has_column || !cost.is_given() {
        return Ok(cost);
    }
    let count = table.rows.len();
    if cost.watts.len() > 1 && cost.watts.len() != count {
        // A wrong number of values stays what it is: `plan` refuses it.
        return Ok(cost);
    }
    let stated = |index: usize| match cost.watts[..] {
        [one] => Some(one),
        _ => cost.watts.get(index).copied(),
    };
    let watts = table.rows.iter().enumerate().map(|(index, row)| {
        row.row.watts.or_else(|| stated(index)).ok_or_else(|| {
            format!("line {}: no watts; fill the cell in, or give --watts", row.line)
        })
    });
    cost.watts = watts.collect::<Result<_, _>>()?;
    Ok(cost)
}

/// An SLA that the table cannot answer is a wrong question, not a missed target.
fn judged(document: &Document, slas: &[Sla], name: &str) -> Result<(), Failure> {
    let refused = document.warnings.iter().find(|warning| warning.code == "sla_not_judged");
    match refused {
        Some(warning) if !slas.is_empty() => {
            Err(Failure::usage(format!("{name}: {}; {}", warning.message, warning.advice)))
        }
        _ => Ok(()),
    }
}
