//! Why a page could not be read, in words.

/// What is wrong with a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An HTML page.
    Html,
    /// JSON.
    Json,
    /// Compressed; the format's name.
    Compressed(&'static str),
    /// UTF-16.
    Utf16,
    /// Bytes that no text has: protobuf, perhaps.
    Binary,
    /// No sample at all.
    Empty,
    /// A line that is not UTF-8.
    NotUtf8,
    /// More bytes than the limit.
    TooManyBytes(usize),
    /// More samples than the limit.
    TooManySamples(usize),
    /// More labels on one sample than the limit.
    TooManyLabels(usize),
    /// A line with more bytes than the limit.
    LineTooLong(usize),
    /// A line that breaks the format's rules: which, in words.
    Syntax(String),
    /// OpenMetrics without its last line: it was cut.
    NoEof,
    /// Lines after the last line of OpenMetrics.
    AfterEof,
    /// A histogram on one line, as in the draft of OpenMetrics 2.0.
    OneLineHistogram,
}

/// Why a page could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.in_words())]
pub struct ParseError {
    /// Line, from 1; absent where the page as a whole is meant.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: What,
    /// The beginning of that line, safe to print.
    pub near: String,
    /// Samples read before it: without any, it may be no metrics page.
    pub samples_before: usize,
}

/// Characters of a line that an error shows.
const NEAR_MOST: usize = 60;

impl ParseError {
    /// An error about the page as a whole.
    pub(super) fn whole(what: What) -> Self {
        Self { line: None, what, near: String::new(), samples_before: 0 }
    }

    /// The error with its line.
    pub(super) fn on(what: What, line: u64, text: &[u8], samples_before: usize) -> Self {
        let text = String::from_utf8_lossy(&text[..text.len().min(4 * NEAR_MOST)]);
        let shown = text.chars().take(NEAR_MOST);
        let mut near: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().count() > NEAR_MOST {
            near.push('…');
        }
        Self { line: Some(line), what, near, samples_before }
    }

    fn in_words(&self) -> String {
        let mut text = match self.line {
            Some(line) => format!("line {line}: {}", self.what.in_words()),
            None => self.what.in_words(),
        };
        if !self.near.is_empty() {
            text += &format!(": `{}`", self.near);
        }
        let is_strange = matches!(self.what, What::Syntax(_) | What::NotUtf8);
        if is_strange && self.samples_before == 0 {
            text += "; no sample came before it, so this may be no metrics page at all";
        }
        text
    }
}

impl What {
    fn in_words(&self) -> String {
        match self {
            Self::Html => "this is an HTML page, not metrics; give the path of the metrics, which \
                           is /metrics on most servers"
                .into(),
            Self::Json => {
                "this is JSON, not the text of a metrics page; of a Prometheus server give \
                           the server with --prometheus"
                    .into()
            }
            Self::Compressed(format) => {
                format!("this is compressed with {format}; decompress it first")
            }
            Self::Utf16 => "this is UTF-16; save it again as UTF-8".into(),
            Self::Binary => {
                "these are bytes, not text (protobuf, perhaps); ask the server for text: \
                             Accept: text/plain;version=0.0.4"
                    .into()
            }
            Self::Empty => {
                "there is no sample in it: the server has nothing to tell yet, or this is \
                            another page"
                    .into()
            }
            Self::NotUtf8 => "it is not UTF-8".into(),
            Self::TooManyBytes(limit) => {
                let mib = limit >> 20;
                format!("it has more than {mib} MiB, which no metrics page of a server has")
            }
            Self::TooManySamples(limit) => format!("it has more than {limit} samples"),
            Self::TooManyLabels(limit) => format!("a sample has more than {limit} labels"),
            Self::LineTooLong(limit) => format!("a line has more than {limit} bytes"),
            Self::Syntax(what) => what.clone(),
            Self::NoEof => {
                "it ends without `# EOF`, so OpenMetrics was cut off; fetch it again".into()
            }
            Self::AfterEof => "something follows `# EOF`; two pages in one file?".into(),
            Self::OneLineHistogram => {
                "a whole histogram on one line, as in the draft of OpenMetrics \
                                       2.0, which is not read; ask the server for \
                                       Accept: text/plain;version=0.0.4"
                    .into()
            }
        }
    }
}
