//! Plans, SLAs, terms and prices as people write them: nothing panics, and what is read is written
//! back as text that means the same.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use loadline_schema::cost::Money;
use loadline_schema::plan_file::PlanFile;
use loadline_schema::sla::{Sla, Term};

/// A value that was read, written, is read again and written the same.
fn text_round_trip<T: FromStr<Err: Display> + Display>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            let again = written.parse::<T>().unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(again.to_string(), written);
        }
        // The words for people are made too.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn plan_round_trip(text: &str) {
    let resolved = PlanFile::parse(text).and_then(|file| Ok((file.resolve(1)?, file)));
    match resolved {
        Ok((plan, file)) => {
            let written = file.to_toml();
            let again = PlanFile::parse(&written).and_then(|file| file.resolve(1));
            assert_eq!(again.map_err(|error| error.to_string()), Ok(plan), "{written}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fuzz_target!(|text: &str| {
    text_round_trip::<Sla>(text);
    text_round_trip::<Term>(text);
    text_round_trip::<Money>(text);
    plan_round_trip(text);
    // Most texts are no plan; as the value of a key in one they reach further.
    plan_round_trip(&format!("[[serving]]\nendpoint = \"http://h:1\"\n{text}\n"));
});
