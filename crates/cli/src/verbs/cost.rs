//! `loadline cost RUN|TABLE`: what a stored run or the rows of a table cost, by the plan's prices or
//! by those of the flags.

use std::path::Path;

use loadline_schema::document::Document;

use super::analyze::table_document;
use crate::args::{PriceArgs, ReportFormat};
use crate::document::Stored;
use crate::exit::{Exit, Failure};
use crate::measure::find_run;
use crate::output::{print, style};

pub(crate) fn run(args: &PriceArgs) -> Result<Exit, Failure> {
    let path = Path::new(&args.subject);
    let is_table = args.subject == "-" || path.is_file();
    let document = if is_table { of_table(args, path)? } else { of_run(args)? };
    let format = if args.json { ReportFormat::Json } else { args.format };
    Ok(print(&match format {
        ReportFormat::Text => loadline_report::cost_terminal(&document, &style()),
        ReportFormat::Json => loadline_report::json(&document),
        ReportFormat::Csv => loadline_report::csv(&document),
        ReportFormat::Md => loadline_report::markdown(&document),
    }))
}

fn of_run(args: &PriceArgs) -> Result<Document, Failure> {
    let dir = find_run(&args.out, &args.subject)?;
    if args.tokens.tokens_per_request.or(args.tokens.input_tokens_per_request).is_some() {
        return Err(Failure::usage(
            "tokens per request are stated for tables; those of a run were counted: leave \
             --tokens-per-request out",
        ));
    }
    let mut stored = Stored::open(&dir)?;
    stored.judge_by(&args.sla)?;
    stored.price_by(&args.cost)?;
    if stored.plan.cost.is_none() {
        return Err(Failure::usage(format!("{NO_PRICES} (or [cost] in the plan)")));
    }
    Ok(stored.analyse()?)
}

fn of_table(args: &PriceArgs, path: &Path) -> Result<Document, Failure> {
    if !args.cost.is_given() {
        return Err(Failure::usage(NO_PRICES));
    }
    table_document(path, &args.sla, &args.cost, args.tokens)
}

const NO_PRICES: &str = "nothing says what it costs: give --watts and --electricity, \
    --hardware-price and --hardware-years, or --other, as in --watts 350 --electricity \
    \"0.30 EUR/kWh\"";
