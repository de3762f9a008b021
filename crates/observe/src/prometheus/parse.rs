//! A page as samples and what it says about them, without copies of its text but for escapes.

use std::borrow::Cow;
use std::ops::Range;

use super::cursor::{Cursor, unescaped};
use super::dialect::{Dialect, certainly_not};
use super::error::{ParseError, What};

/// What a page may have at most. Pages of servers have some hundred kB; a page of a million
/// samples is a mistake or an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the page.
    pub bytes: usize,
    /// Samples.
    pub samples: usize,
    /// Labels of one sample.
    pub labels: usize,
    /// Bytes of one line.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 20, samples: 1_000_000, labels: 128, line_bytes: 64 << 10 }
    }
}

/// A type that a page declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

impl MetricType {
    /// The type by its name in either format.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "untyped" | "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label<'a> {
    /// Name.
    pub name: Cow<'a, str>,
    /// Value.
    pub value: Cow<'a, str>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Its line, from 1.
    pub line: u64,
    /// Name, suffixes included.
    pub name: Cow<'a, str>,
    /// Value; may be NaN or infinite.
    pub value: f64,
    /// Time that the server states, s since the Unix epoch.
    pub timestamp_s: Option<f64>,
    labels: Range<usize>,
}

/// What a page says about a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<'a> {
    /// Its type.
    Type(MetricType),
    /// What it is, in words.
    Help(Cow<'a, str>),
    /// Its unit.
    Unit(&'a str),
}

/// A line that says something about a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Its line, from 1.
    pub line: u64,
    /// Name of the metric.
    pub name: Cow<'a, str>,
    /// What is said.
    pub told: Told<'a>,
}

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape<'a> {
    /// Its format.
    pub dialect: Dialect,
    /// Types, helps and units, in the order of the page.
    pub metadata: Vec<Metadata<'a>>,
    /// Samples, in the order of the page. Exemplars are passed over.
    pub samples: Vec<Sample<'a>>,
    labels: Vec<Label<'a>>,
}

impl<'a> Scrape<'a> {
    /// Labels of a sample of this page, in the order of the page.
    pub fn labels(&self, sample: &Sample<'a>) -> &[Label<'a>] {
        &self.labels[sample.labels.clone()]
    }
}

/// Reads a page. `dialect` is what the `Content-Type` names; absent, it is told from the page.
///
/// Read generously: blanks and tabs in any number, comments, blank lines, exemplars in any format,
/// lines that end in CR LF. Read strictly: what is a sample and what is not.
///
/// # Errors
/// With its line: what breaks the format's rules, or exceeds a limit; as a whole: what is no
/// metrics page (HTML, JSON, compressed, empty, …).
pub fn parse<'a>(
    page: &'a [u8],
    dialect: Option<Dialect>,
    limits: &Limits,
) -> Result<Scrape<'a>, ParseError> {
    if page.len() > limits.bytes {
        return Err(ParseError::whole(What::TooManyBytes(limits.bytes)));
    }
    let page = page.strip_prefix(b"\xef\xbb\xbf").unwrap_or(page);
    if let Some(what) = certainly_not(page) {
        return Err(ParseError::whole(what));
    }
    let dialect = dialect.unwrap_or_else(|| Dialect::of_page(page));
    let mut scrape =
        Scrape { dialect, metadata: Vec::new(), samples: Vec::new(), labels: Vec::new() };
    let mut ended = false;
    for (index, line) in page.split(|byte| *byte == b'\n').enumerate() {
        let number = index as u64 + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_eof = dialect == Dialect::OpenMetrics && line == b"# EOF";
        let read = if ended && !line.trim_ascii().is_empty() {
            Err(What::AfterEof)
        } else if is_eof {
            ended = true;
            Ok(())
        } else {
            scrape.read_line(line, number, limits)
        };
        read.map_err(|what| ParseError::on(what, number, line, scrape.samples.len()))?;
    }
    if dialect == Dialect::OpenMetrics && !ended {
        return Err(ParseError::whole(What::NoEof));
    }
    if scrape.samples.is_empty() {
        return Err(ParseError::whole(What::Empty));
    }
    Ok(scrape)
}

fn wrong(what: impl Into<String>) -> What {
    What::Syntax(what.into())
}

impl<'a> Scrape<'a> {
    fn read_line(&mut self, line: &'a [u8], number: u64, limits: &Limits) -> Result<(), What> {
        if line.len() > limits.line_bytes {
            return Err(What::LineTooLong(limits.line_bytes));
        }
        let line = std::str::from_utf8(line).map_err(|_| What::NotUtf8)?;
        let line = line.trim_matches([' ', '\t']);
        if line.is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            let metadata = read_metadata(comment)?;
            self.metadata.extend(metadata.map(|(name, told)| Metadata {
                line: number,
                name,
                told,
            }));
            return Ok(());
        }
        if self.samples.len() >= limits.samples {
            return Err(What::TooManySamples(limits.samples));
        }
        let from = self.labels.len();
        let mut cursor = Cursor::new(line);
        let name = self.read_series(&mut cursor, limits)?;
        let (value, timestamp_s) = read_value(&mut cursor, self.dialect)?;
        let labels = from..self.labels.len();
        self.samples.push(Sample { line: number, name, value, timestamp_s, labels });
        Ok(())
    }

    /// Name and labels, up to the value.
    fn read_series(
        &mut self,
        cursor: &mut Cursor<'a>,
        limits: &Limits,
    ) -> Result<Cow<'a, str>, What> {
        let mut name = cursor.name(true).map(Cow::Borrowed);
        if name.is_none() && !cursor.is_at('{') {
            return Err(wrong("a line must begin with the name of a metric, `#` or `{`"));
        }
        let had_blanks = cursor.blanks();
        if cursor.takes('{') {
            self.read_labels(cursor, &mut name, limits.labels)?;
            cursor.blanks();
            if cursor.is_at('{') {
                return Err(What::OneLineHistogram);
            }
        } else if !had_blanks {
            return Err(wrong(
                "after the name of a metric comes a blank or `{` (names with other characters stand \
                 in quotes inside the braces)",
            ));
        }
        name.ok_or_else(|| wrong("there is no name of a metric"))
    }

    /// What stands between braces, the closing one included.
    fn read_labels(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &mut Option<Cow<'a, str>>,
        most: usize,
    ) -> Result<(), What> {
        let from = self.labels.len();
        loop {
            cursor.blanks();
            if cursor.takes('}') {
                return Ok(());
            }
            let is_quoted = cursor.is_at('"');
            let label =
                if is_quoted { cursor.quoted() } else { cursor.name(false).map(Cow::Borrowed) };
            let label =
                label.ok_or_else(|| wrong("a label has no name, or its name is not closed"))?;
            cursor.blanks();
            if cursor.takes('=') {
                cursor.blanks();
                if !cursor.is_at('"') {
                    return Err(wrong(format!("the value of the label {label} is not in quotes")));
                }
                let value = cursor.quoted();
                let value = value.ok_or_else(|| {
                    wrong(format!("the value of the label {label} is not closed"))
                })?;
                if self.labels[from..].iter().any(|other| other.name == label) {
                    return Err(wrong(format!("the label {label} stands twice")));
                }
                if self.labels.len() - from >= most {
                    return Err(What::TooManyLabels(most));
                }
                self.labels.push(Label { name: label, value });
            } else if is_quoted && name.is_none() {
                *name = Some(label);
            } else if cursor.is_at(':') {
                return Err(What::OneLineHistogram);
            } else {
                return Err(wrong(format!("after the label {label} there is no `=`")));
            }
            cursor.blanks();
            if !cursor.takes(',') && !cursor.is_at('}') {
                return Err(wrong("labels are not closed, or have no comma between them"));
            }
        }
    }
}

/// Value and time of a sample, s; what follows ` # ` is an exemplar.
fn read_value(cursor: &mut Cursor<'_>, dialect: Dialect) -> Result<(f64, Option<f64>), What> {
    cursor.blanks();
    if cursor.is_at('{') {
        return Err(What::OneLineHistogram);
    }
    let text = cursor.word();
    if text.is_empty() {
        return Err(wrong("there is no value"));
    }
    let value: f64 = text.parse().map_err(|_| wrong(format!("`{}` is no number", short(text))))?;
    cursor.blanks();
    let mut timestamp_s = None;
    if !cursor.is_at_end() && !cursor.is_at('#') {
        let text = cursor.word();
        let time = text.parse::<f64>().ok().filter(|time| time.is_finite());
        let time = time.ok_or_else(|| wrong(format!("`{}` is no timestamp", short(text))))?;
        timestamp_s = Some(if dialect == Dialect::Text { time / 1e3 } else { time });
        cursor.blanks();
    }
    if !cursor.is_at_end() && !cursor.is_at('#') {
        return Err(wrong("something follows the value and its timestamp"));
    }
    Ok((value, timestamp_s))
}

fn short(text: &str) -> String {
    text.chars().take(30).collect()
}

/// What a line says after its `#`; `None` for a comment.
fn read_metadata(comment: &str) -> Result<Option<(Cow<'_, str>, Told<'_>)>, What> {
    let mut cursor = Cursor::new(comment);
    cursor.blanks();
    let keyword = cursor.word();
    if !matches!(keyword, "TYPE" | "HELP" | "UNIT") {
        return Ok(None);
    }
    cursor.blanks();
    let name = if cursor.is_at('"') { cursor.quoted() } else { Some(Cow::Borrowed(cursor.word())) };
    let name = name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| wrong(format!("`# {keyword}` names no metric")))?;
    cursor.blanks();
    let rest = cursor.rest().trim_end_matches([' ', '\t']);
    let told = match keyword {
        "TYPE" => Told::Type(
            MetricType::from_text(rest)
                .ok_or_else(|| wrong(format!("`{}` is no type of a metric", short(rest))))?,
        ),
        "UNIT" => Told::Unit(rest),
        _ if rest.contains('\\') => Told::Help(Cow::Owned(unescaped(rest))),
        _ => Told::Help(Cow::Borrowed(rest)),
    };
    Ok(Some((name, told)))
}

#[cfg(test)]
mod tests;
