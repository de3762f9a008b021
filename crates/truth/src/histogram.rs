//! A histogram as Prometheus has it, with its values in whole ns, so that nothing is rounded.

use std::fmt::Write as _;

use crate::wire::SECOND_NS;

/// Counts of values up to each bound, and their exact sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds_s: &'static [f64],
    bounds_ns: Vec<u64>,
    /// One for each bound and one for what is above the last; not cumulative.
    counts: Vec<u64>,
    sum_ns: u64,
}

impl Histogram {
    /// An empty one with the upper bounds `bounds_s`, s, rising.
    pub(crate) fn new(bounds_s: &'static [f64]) -> Self {
        let bounds_ns = bounds_s.iter().map(|bound| (bound * SECOND_NS as f64).round() as u64);
        let counts = vec![0; bounds_s.len() + 1];
        Self { bounds_s, bounds_ns: bounds_ns.collect(), counts, sum_ns: 0 }
    }

    /// Counts `n` values of `ns`; a value at a bound is within it.
    pub(crate) fn add(&mut self, ns: u64, n: u64) {
        let at = self.bounds_ns.partition_point(|bound| *bound < ns);
        self.counts[at] += n;
        self.sum_ns = self.sum_ns.wrapping_add(ns.wrapping_mul(n));
    }

    /// Appends it as text: `label` is what stands in the braces beside `le`.
    pub(crate) fn write(&self, text: &mut String, name: &str, label: &str) {
        let _ = writeln!(text, "# TYPE {name} histogram");
        let mut total = 0;
        let bounds = self.bounds_s.iter().map(|bound| format!("{bound:?}"));
        for (le, count) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            total += count;
            let _ = writeln!(text, "{name}_bucket{{le=\"{le}\",{label}}} {total}");
        }
        let (s, ns) = (self.sum_ns / SECOND_NS, self.sum_ns % SECOND_NS);
        let _ = writeln!(text, "{name}_count{{{label}}} {total}");
        let _ = writeln!(text, "{name}_sum{{{label}}} {s}.{ns:09}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_cumulative_and_exact() {
        let mut histogram = Histogram::new(&[0.001, 2.0]);
        histogram.add(1_000_000, 2);
        histogram.add(1_000_001, 1);
        histogram.add(2_000_000_001, 1);
        let mut text = String::new();
        histogram.write(&mut text, "x", "a=\"b\"");
        assert_eq!(
            text,
            "# TYPE x histogram\nx_bucket{le=\"0.001\",a=\"b\"} 2\nx_bucket{le=\"2.0\",a=\"b\"} 3\n\
             x_bucket{le=\"+Inf\",a=\"b\"} 4\nx_count{a=\"b\"} 4\nx_sum{a=\"b\"} 2.003000002\n"
        );
    }
}
