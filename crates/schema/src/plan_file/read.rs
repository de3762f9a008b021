//! From TOML text to a `PlanFile`, with errors for people.

use toml::de::DeTable;

use super::error::PlanError;
use super::{PlanFile, place, unknown_key};

/// Sections of plans that a later version carries out.
const LATER: [(&str, &str); 2] = [("network", "[[network]]"), ("cluster", "[cluster]")];

pub(super) fn parse(text: &str) -> Result<PlanFile, PlanError> {
    refuse_later_sections(text)?;
    let mut plan: PlanFile = toml::from_str(text).map_err(|error| told(text, &error))?;
    plan.source = Some(text.to_owned());
    Ok(plan)
}

fn refuse_later_sections(text: &str) -> Result<(), PlanError> {
    // A text that is no TOML is refused by the reader, with its own words.
    let Ok(root) = DeTable::parse(text) else { return Ok(()) };
    for (key, _) in root.get_ref() {
        let Some((name, section)) = LATER.iter().find(|(name, _)| key.get_ref() == name) else {
            continue;
        };
        return Err(PlanError {
            message: format!("{section} is not supported by this version"),
            help: "this version carries out [[engine]], [[storage]] and [[serving]] stages: remove the section, or run it \
                   with a version that knows it"
                .into(),
            key: (*name).to_owned(),
            place: Some(Box::new(place::at(text, key.span()))),
        });
    }
    Ok(())
}

fn told(text: &str, error: &toml::de::Error) -> PlanError {
    let span = error.span();
    let keys = span.clone().and_then(|span| place::keys_to(text, span.start));
    let (message, help) = unknown_key::told(error.message(), keys.as_deref());
    PlanError {
        message,
        help,
        key: keys.map(|keys| place::spelled(&keys)).unwrap_or_default(),
        place: span.map(|span| Box::new(place::at(text, span))),
    }
}
