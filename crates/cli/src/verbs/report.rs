//! `loadline report RUN`: the analysis of a stored run, in any form.

use crate::args::{ReportArgs, ReportFormat};
use crate::document::analyse;
use crate::exit::{Exit, Failure};
use crate::measure::find_run;
use crate::output::{print, style};

pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let document = analyse(&find_run(&args.out, &args.run)?)?;
    let format = if args.json { ReportFormat::Json } else { args.format };
    Ok(print(&match format {
        ReportFormat::Text => loadline_report::terminal(&document, &style()),
        ReportFormat::Json => loadline_report::json(&document),
        ReportFormat::Csv => loadline_report::csv(&document),
        ReportFormat::Md => loadline_report::markdown(&document),
    }))
}
