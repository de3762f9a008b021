//! Cost of a point, and what it rests on. Every formula is of the bill of an hour, its parts stated
//! by the owner, over what was measured.

use super::{BLANK, Metric, Section};

const COST: Metric = Metric { section: Section::Cost, shape: "number", ..BLANK };

const BILL: &str = "hardware price · (1 − residual) / (years · 8,760) + other + price of a kWh · PUE · P / 1,000, with P the stated power under load, W; what was not stated has no share";

pub(super) const COSTS: &[Metric] = &[
    Metric {
        key: "cost.currency",
        name: "Currency",
        unit: "–",
        shape: "text",
        formula: "the label that every stated amount has; amounts in two currencies are refused, and none is ever converted",
        ..COST
    },
    Metric {
        key: "cost.per_mtok_output",
        name: "Cost per million output tokens",
        unit: "currency",
        formula: "`per_hour` / (`output_tokens_per_s` · 3,600) · 10⁶",
        notes: "The whole bill over the output tokens: prompts are paid in it. It is not the price of output *beside* that of input. Splitting one bill between input and output needs a weight that nobody measured, or a regression over at least three mixes of input and output, and is not done.",
        source: "division of one bill",
        ..COST
    },
    Metric {
        key: "cost.per_mtok_total",
        name: "Cost per million tokens",
        unit: "currency",
        formula: "`per_hour` / ((`output_tokens_per_s` + `input_tokens_per_s`) · 3,600) · 10⁶",
        notes: "The same bill over prompt and output tokens. Falls with longer prompts, which are cheap to read: compare only at the same lengths. Prompt tokens that came from a prefix cache count.",
        ..COST
    },
    Metric {
        key: "cost.per_request",
        name: "Cost per request",
        unit: "currency",
        formula: "`per_hour` / (`requests_per_s` · 3,600)",
        notes: "Per answer that ended ok: requests that failed are paid by those that did not.",
        ..COST
    },
    Metric {
        key: "cost.per_hour",
        name: "Cost per hour under load",
        unit: "currency/h",
        formula: BILL,
        notes: "A year has 8,760 hours. Interest, repair and staff belong into `other`. PUE multiplies the energy of the machines, idle or not.",
        source: "straight-line depreciation; PUE: ISO/IEC 30134-2",
        ..COST
    },
    Metric {
        key: "cost.joules_per_output_token",
        name: "Energy per output token",
        unit: "J",
        formula: "`watts` / `output_tokens_per_s`",
        notes: "Of the machines, without PUE. As exact as the stated power.",
        source: "1 W = 1 J/s",
        ..COST
    },
    Metric {
        key: "cost.joules_per_request",
        name: "Energy per request",
        unit: "J",
        formula: "`watts` / `requests_per_s`",
        notes: "Of the machines, without PUE.",
        ..COST
    },
    Metric {
        key: "cost.watts",
        name: "Power under load",
        unit: "W",
        formula: "as stated for this point, or for all",
        ..COST
    },
    Metric {
        key: "cost.power_source",
        name: "Source of the power",
        unit: "–",
        shape: "text",
        formula: "`stated`, or what measured it",
        ..COST
    },
    Metric {
        key: "cost.at_duty_cycle",
        name: "The same at the duty cycle",
        unit: "currency",
        shape: "object",
        formula: "with d the share of hours under load: `per_hour` = hardware price · (1 − residual) / (years · 8,760) + other + price of a kWh · PUE · (d · P_busy + (1 − d) · P_idle) / 1,000; `per_mtok_output` = `per_hour` / (`output_tokens_per_s` · 3,600 · d) · 10⁶, and so on",
        notes: "Only where a duty cycle below 1 is stated. Idle hours are paid and yield nothing. Without a stated power of idle hours it is taken to be that under load, the careful side, and a warning says so.",
        ..COST
    },
    Metric {
        key: "serving.cost.currency",
        name: "Currency of the stage's costs",
        unit: "–",
        shape: "text",
        formula: "as `cost.currency`",
        ..COST
    },
    Metric {
        key: "serving.cost.at",
        name: "Load of the stage's cost",
        unit: "–",
        shape: "load",
        formula: "the point at the load line (`value`, else `likely`), of several SLAs that of the smallest load; without one the point with the most output tokens/s, else with the most requests/s",
        ..COST
    },
    Metric {
        key: "serving.cost.measured",
        name: "Measured figures of the cost",
        unit: "each its own",
        shape: "list",
        formula: "rates and mean tokens per request of that point, with their intervals where they have one",
        ..COST
    },
    Metric {
        key: "serving.cost.assumed",
        name: "Stated and assumed figures of the cost",
        unit: "each its own",
        shape: "list",
        formula: "every figure that was stated; `is_default` marks those that stand in for a statement: PUE 1, residual value 0, duty cycle 1, and for the power without load that under load",
        ..COST
    },
    Metric {
        key: "serving.cost.sensitivity",
        name: "Sensitivity of the cost",
        unit: "currency",
        shape: "list",
        formula: "cost per million output tokens at the duty cycle, computed anew with one assumption × 0.8 and × 1.2; PUE stays at 1 or more, duty cycle and residual at 1 or less, power without load at that under load or less; sorted by the difference",
        notes: "One at a time: two wrong assumptions can cancel or add up. Assumptions that move nothing are left out.",
        ..COST
    },
    Metric {
        key: "serving.cost.break_even",
        name: "Break-even with an API",
        unit: "currency/h",
        shape: "list",
        formula: "A = `requests_per_s` · 3,600 · (mean prompt tokens · price of input + mean output tokens · price of output) / 10⁶ is the API's bill of an hour under load, A · d that at the duty cycle; ours is F + d · E, with F the bill of an idle hour and E what load adds; equal at d = F / (A − E); absent where that is over 1 or A ≤ E",
        notes: "Compares bills, not quality: another model, other latencies. A price of input that is not stated takes nothing for prompts. Assumes that the API needs the same number of tokens for the same text.",
        source: "two straight lines over d",
        ..COST
    },
];
