//! How wide and how colourful a text may be.

/// What the place of output can show. Whether colours are wanted (`NO_COLOR`, a pipe) is for the
/// caller to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns; less than 40 is taken as 40.
    pub width: usize,
    /// Whether to use ANSI colours.
    pub colour: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 80, colour: false }
    }
}

/// What a piece of text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Headings and names.
    Strong,
    /// What may be skipped: units, intervals, notes.
    Faint,
    /// What needs attention.
    Warning,
    /// What went wrong.
    Bad,
}

impl Style {
    /// Usable columns.
    pub(crate) fn columns(self) -> usize {
        self.width.max(40)
    }

    /// The text in its colour. Colours take no columns.
    pub(crate) fn paint(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
