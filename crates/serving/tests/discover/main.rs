//! Control requests, calibration and counts of tokens against servers of known behaviour.

mod ask;
mod calibrate;
mod stream;
mod tls;
mod tokenize;

use loadline_serving::target::{Target, TargetSettings};

pub(crate) const SECOND_NS: u64 = 1_000_000_000;
pub(crate) const KEY: &str = "sk-very-secret";

/// A target of one URL, with the key.
pub(crate) fn target(url: &str) -> Target {
    with_settings(url, TargetSettings::default())
}

pub(crate) fn with_settings(url: &str, settings: TargetSettings<'_>) -> Target {
    let urls = [url.to_owned()];
    Target::resolve(&TargetSettings {
        urls: &urls,
        api_key: Some(KEY.to_owned()),
        connect_timeout_ns: 5 * SECOND_NS,
        ..settings
    })
    .expect("the server takes connections")
}
