//! `[sla]`: from tables of terms to checked targets.

use std::collections::BTreeMap;

use super::super::LimitText;
use super::super::error::Fault;
use crate::sla::{Sla, Term};

pub(super) fn slas(
    given: &BTreeMap<String, BTreeMap<String, LimitText>>,
) -> Result<Vec<Sla>, Fault> {
    given.iter().map(|(name, terms)| sla(name, terms)).collect()
}

fn sla(name: &str, given: &BTreeMap<String, LimitText>) -> Result<Sla, Fault> {
    let mut terms = Vec::with_capacity(given.len());
    for (quantity, limit) in given {
        let term = Term::new(quantity, &limit.to_string())
            .map_err(|error| Fault::at(&["sla", name, quantity], error.to_string(), ""))?;
        terms.push(term);
    }
    Sla::new(name, terms).map_err(|error| Fault::at(&["sla", name], error.to_string(), ""))
}
