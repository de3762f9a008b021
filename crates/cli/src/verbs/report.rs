//! `loadline report RUN`: the analysis of a stored run, in any form.

use crate::args::{ReportArgs, ReportFormat};
use crate::document::Stored;
use crate::exit::{Exit, Failure};
use crate::measure::find_run;
use crate::output::{print, style};

pub(crate) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let mut stored = Stored::open(&find_run(&args.out, &args.run)?)?;
    stored.judge_by(&args.sla)?;
    stored.price_by(&args.cost)?;
    let document = stored.analyse()?;
    let format = if args.json { ReportFormat::Json } else { args.format };
    Ok(print(&match format {
        ReportFormat::Text => loadline_report::terminal(&document, &style()),
        ReportFormat::Json => loadline_report::json(&document),
        ReportFormat::Csv => loadline_report::csv(&document),
        ReportFormat::Md => loadline_report::markdown(&document),
    }))
}
