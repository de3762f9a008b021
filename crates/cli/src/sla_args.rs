//! `--sla`: service-level targets from flags, in the form that plans have.

use std::collections::BTreeMap;

use clap::Args;
use loadline_schema::plan_file::LimitText;
use loadline_schema::sla::Sla;

use crate::exit::Failure;

/// Service-level targets.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SlaArgs {
    /// Targets to judge by, as in 'ttft_p99<=800ms,itl_p99<=60ms,error_rate<=0.1%'; several with
    /// 'NAME:…' each
    #[arg(long, value_name = "[NAME:]TERMS")]
    pub(crate) sla: Vec<Sla>,
}

impl SlaArgs {
    /// The targets, each name once.
    pub(crate) fn targets(&self) -> Result<Vec<Sla>, Failure> {
        for (index, sla) in self.sla.iter().enumerate() {
            if self.sla[..index].iter().any(|earlier| earlier.name == sla.name) {
                return Err(Failure::usage(format!(
                    "two SLAs are called `{}`: give each its own name, as in --sla 'chat:ttft_p99<=1s'",
                    sla.name
                )));
            }
        }
        Ok(self.sla.clone())
    }

    /// The same as the tables of a plan.
    pub(crate) fn tables(&self) -> Result<BTreeMap<String, BTreeMap<String, LimitText>>, Failure> {
        let table = |sla: &Sla| {
            let term = |term: &loadline_schema::sla::Term| {
                (term.quantity.to_string(), LimitText::Text(term.limit_text()))
            };
            (sla.name.clone(), sla.terms.iter().map(term).collect())
        };
        Ok(self.targets()?.iter().map(table).collect())
    }
}
