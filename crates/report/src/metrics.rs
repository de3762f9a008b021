//! METRICS.md: an introduction, an index, and the definition of every metric.

use std::fmt::Write as _;

use loadline_schema::metric::{Metric, Section, metrics};

/// The whole of METRICS.md.
pub fn metrics_markdown() -> String {
    let mut text = include_str!("metrics_intro.md").trim_end().to_owned() + "\n";
    text.push_str("\n## Index\n\n| key | name | unit | shape |\n|---|---|---|---|\n");
    for metric in metrics() {
        let Metric { key, name, unit, shape, .. } = metric;
        let _ = writeln!(text, "| [`{key}`](#{}) | {name} | {unit} | {shape} |", anchor(key));
    }
    for section in Section::ALL {
        let _ = write!(text, "\n## {}\n", section.title());
        for metric in metrics().filter(|metric| metric.section == section) {
            entry(&mut text, metric);
        }
    }
    text
}

/// The anchor that Markdown renderers give to the heading of a key: what is neither letter, digit,
/// `_` nor `-` goes away.
fn anchor(key: &str) -> String {
    key.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect()
}

fn entry(text: &mut String, metric: &Metric) {
    let _ = write!(text, "\n### `{}`\n\n", metric.key);
    let _ = writeln!(text, "{}; {} ({}).\n", metric.name, metric.shape, metric.unit);
    let fields: Vec<String> = metric.from.iter().map(|field| format!("`{field}`")).collect();
    let lines = [
        ("Formula", metric.formula.to_owned()),
        ("From", fields.join(", ")),
        ("vLLM bench", metric.vllm.to_owned()),
        ("AIPerf", metric.aiperf.to_owned()),
        ("GuideLLM", metric.guidellm.to_owned()),
        ("fio", metric.fio.to_owned()),
        ("Beware", metric.notes.to_owned()),
        ("Source", metric.source.to_owned()),
    ];
    for (label, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
        let _ = writeln!(text, "- **{label}**: {line}");
    }
}
