//! What the rows cost: power from the table's own column, else as stated; tokens as stated.

use std::collections::BTreeMap;

use loadline_schema::cost::CostPlan;
use loadline_schema::event::Warning;
use loadline_schema::table_file::TableFile;
use loadline_schema::verdict::{CostReport, Row};

use super::{THROUGHPUT, TableSettings, named, size};
use crate::cost::{CostBasis, Throughput, cost_report, cost_warnings, point_cost};

/// Where the power of a row that came with the table is from.
const FROM_TABLE: &str = "table";

/// Prices every row that can be priced, and says what the price rests on at the chosen row.
pub(super) fn price(
    table: &TableFile,
    rows: &mut [Row],
    settings: &TableSettings<'_>,
    choice: &BTreeMap<String, usize>,
) -> (Option<CostReport>, Vec<Warning>) {
    let Some(plan) = settings.cost else { return (None, Vec::new()) };
    let mut warnings = Vec::new();
    let mut without_power = Vec::new();
    for (index, row) in rows.iter_mut().enumerate() {
        let plan = plan_of_row(plan, index, row);
        if plan.watts.is_empty() && plan.electricity_per_kwh.is_some() {
            // A bill without its electricity would look like a cheap one.
            without_power.push(named(row));
            continue;
        }
        let Some(throughput) = throughput(row, settings) else { continue };
        row.cost = point_cost(&plan, 0, &throughput, None);
        if let Some(cost) = row.cost.as_mut().filter(|_| row.watts.is_some()) {
            cost.power_source = Some(FROM_TABLE.to_owned());
        }
    }
    if !without_power.is_empty() {
        let message = format!("no price at {}: its power is not known", without_power.join(", "));
        warnings.push(Warning::new("no_power", message, "fill in the watts"));
    }
    let has_output = rows.iter().any(|row| row.output_tokens_per_s.is_some());
    if !has_output {
        let message = "no price of tokens: the table has no output_tokens_per_s, and no tokens per \
                       request were stated";
        warnings.push(Warning::new("no_tokens", message, "state --tokens-per-request"));
    }
    let at = chosen(rows, settings, choice).filter(|at| rows[*at].cost.is_some());
    let Some(at) = at else { return (None, warnings) };
    // Counted where the table has its own figure.
    let is_stated =
        settings.output_tokens.is_some() && table.rows[at].row.output_tokens_per_s.is_none();
    let Some(basis) = basis(&rows[at], settings, is_stated) else { return (None, warnings) };
    let plan = plan_of_row(plan, at, &rows[at]);
    warnings.extend(cost_warnings(&plan, &basis));
    (cost_report(&plan, &basis), warnings)
}

/// The plan with the power of one row alone: that of the table where it has one.
fn plan_of_row(plan: &CostPlan, index: usize, row: &Row) -> CostPlan {
    let stated = match plan.watts[..] {
        [one] => Some(one),
        _ => plan.watts.get(index).copied(),
    };
    CostPlan { watts: row.watts.or(stated).into_iter().collect(), ..plan.clone() }
}

/// The row of the SLA; of several that of the smallest load, where all of them hold. Without one
/// the row with the most requests/s.
fn chosen(
    rows: &[Row],
    settings: &TableSettings<'_>,
    choice: &BTreeMap<String, usize>,
) -> Option<usize> {
    let of_slas = settings.sla.iter().filter_map(|sla| choice.get(&sla.name).copied());
    of_slas
        .min_by(|a, b| size(&rows[*a]).total_cmp(&size(&rows[*b])))
        .or_else(|| choice.get(THROUGHPUT).copied())
}

fn throughput(row: &Row, settings: &TableSettings<'_>) -> Option<Throughput> {
    let requests_per_s = row.requests_per_s?;
    let output = row.output_tokens_per_s;
    let total = match settings.input_tokens {
        Some(input) => output.map(|output| output + requests_per_s * input),
        // Tokens per request stated without a split are all of a request's tokens.
        None => output.filter(|_| settings.output_tokens.is_some()),
    };
    Some(Throughput { requests_per_s, output_tokens_per_s: output, total_tokens_per_s: total })
}

fn basis(row: &Row, settings: &TableSettings<'_>, tokens_are_stated: bool) -> Option<CostBasis> {
    let throughput = throughput(row, settings)?;
    let counted = throughput.output_tokens_per_s.map(|output| output / throughput.requests_per_s);
    let mut basis = CostBasis {
        load: row.load.clone(),
        index: 0,
        throughput,
        input_tokens: settings.input_tokens,
        output_tokens: counted.filter(|tokens| tokens.is_finite()),
        tokens_are_stated,
        power: None,
        measured: Vec::new(),
    };
    basis.measured = basis.figures();
    Some(basis)
}
