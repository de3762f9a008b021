//! Tables of a given width: numbers to the right, heads in two lines (group and label), and where
//! the columns do not fit, a second table below that repeats the key.

use crate::style::{Style, Tone};
use crate::words::{columns, cut};

/// Blanks before a column that begins a group, and inside a group.
const GROUP_GAP: usize = 2;

/// Which side of a column its texts lean on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    Left,
    Right,
}

/// A column: its group (columns of one group stay together), its label, its cells.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    group: String,
    label: String,
    lean: Lean,
    cells: Vec<String>,
    tone: Tone,
}

impl Column {
    /// A column of numbers.
    pub(crate) fn numbers(group: &str, label: &str, cells: Vec<String>) -> Self {
        let (group, label) = (group.to_owned(), label.to_owned());
        Self { group, label, lean: Lean::Right, cells, tone: Tone::Plain }
    }

    /// A column of words.
    pub(crate) fn words(label: &str, cells: Vec<String>) -> Self {
        Self { lean: Lean::Left, ..Self::numbers("", label, cells) }
    }

    /// The same as a member of a group.
    pub(crate) fn in_group(self, group: &str) -> Self {
        Self { group: group.to_owned(), ..self }
    }

    /// The same in another tone.
    pub(crate) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// Whether any cell is so.
    pub(crate) fn any(&self, is_so: impl Fn(&str) -> bool) -> bool {
        self.cells.iter().any(|cell| is_so(cell))
    }

    /// The cells, from the top.
    pub(crate) fn cells(&self) -> &[String] {
        &self.cells
    }

    /// Group and label in one line: "TTFT, ms P50".
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.group, self.label).trim().to_owned()
    }

    /// Whether any cell says something else than these.
    pub(crate) fn has_content(&self, empty: &[&str]) -> bool {
        self.cells.iter().any(|cell| !empty.contains(&cell.as_str()))
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| columns(cell));
        cells.chain([columns(&self.label)]).max().unwrap_or(0)
    }

    fn padded(&self, text: &str, width: usize) -> String {
        let fill = " ".repeat(width.saturating_sub(columns(text)));
        match self.lean {
            Lean::Left => format!("{text}{fill}"),
            Lean::Right => format!("{fill}{text}"),
        }
    }
}

/// Columns under one group head, side by side.
struct Group<'a> {
    name: &'a str,
    members: Vec<(&'a Column, usize)>,
}

impl<'a> Group<'a> {
    /// Neighbouring columns with the same group; those without a group stand alone.
    fn gather(all: &'a [Column]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for column in all {
            let member = (column, column.width());
            match groups.last_mut() {
                Some(last) if !column.group.is_empty() && last.name == column.group => {
                    last.members.push(member);
                }
                _ => groups.push(Self { name: &column.group, members: vec![member] }),
            }
        }
        for group in &mut groups {
            let missing = columns(group.name).saturating_sub(group.width());
            group.members[0].1 += missing;
        }
        groups
    }

    fn width(&self) -> usize {
        let gaps = GROUP_GAP * (self.members.len() - 1);
        self.members.iter().map(|(_, width)| width).sum::<usize>() + gaps
    }

    /// The group's name, over the middle of several columns, over the edge of one.
    fn head(&self) -> String {
        let fill = self.width().saturating_sub(columns(self.name));
        let left = match self.members[..] {
            [(column, _)] if column.lean == Lean::Left => 0,
            [_] => fill,
            _ => fill.div_ceil(2),
        };
        format!("{}{}{}", " ".repeat(left), self.name, " ".repeat(fill - left))
    }
}

/// A table; its first column is the key.
pub(crate) struct Table {
    columns: Vec<Column>,
}

impl Table {
    /// A table of these columns, which must have equally many cells.
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    /// Columns that it takes in one piece.
    pub(crate) fn width(&self) -> usize {
        let groups = Group::gather(&self.columns);
        let gaps = GROUP_GAP * groups.len().saturating_sub(1);
        groups.iter().map(Group::width).sum::<usize>() + gaps
    }

    /// The table's lines, in several pieces where it is too wide, each line at most
    /// `style.columns()` wide.
    pub(crate) fn lines(&self, style: Style) -> Vec<String> {
        let mut groups = Group::gather(&self.columns).into_iter();
        let Some(key) = groups.next() else { return Vec::new() };
        let mut lines = Vec::new();
        let mut piece: Vec<Group<'_>> = Vec::new();
        let mut used = key.width();
        for group in groups {
            let added = GROUP_GAP + group.width();
            if used + added > style.columns() && !piece.is_empty() {
                lines.extend(piece_lines(&key, &piece, style));
                lines.push(String::new());
                piece.clear();
                used = key.width();
            }
            used += added;
            piece.push(group);
        }
        lines.extend(piece_lines(&key, &piece, style));
        lines
    }
}

fn piece_lines(key: &Group<'_>, rest: &[Group<'_>], style: Style) -> Vec<String> {
    let groups: Vec<&Group<'_>> = std::iter::once(key).chain(rest).collect();
    let gap = " ".repeat(GROUP_GAP);
    let finish = |parts: Vec<String>| parts.join(&gap).trim_end().to_owned();
    let mut lines = Vec::new();
    if groups.iter().any(|group| !group.name.is_empty()) {
        let head = finish(groups.iter().map(|group| group.head()).collect());
        lines.push(style.paint(&cut(&head, style.columns()), Tone::Faint));
    }
    let members: Vec<&(&Column, usize)> = groups.iter().flat_map(|group| &group.members).collect();
    let labels = members.iter().map(|(column, width)| column.padded(&column.label, *width));
    let labels = finish(labels.collect());
    lines.push(style.paint(&cut(&labels, style.columns()), Tone::Faint));
    let rows = members.iter().map(|(column, _)| column.cells.len()).max().unwrap_or(0);
    for row in 0..rows {
        let cell = |(column, width): &&(&Column, usize)| {
            let text = column.cells.get(row).map_or("", String::as_str);
            (column.padded(text, *width), column.tone)
        };
        lines.push(row_line(members.iter().map(cell), &gap, style));
    }
    lines
}

/// Cells side by side, cut at the width of the page, in their colours.
fn row_line(cells: impl Iterator<Item = (String, Tone)>, gap: &str, style: Style) -> String {
    let mut line = String::new();
    let mut left = style.columns();
    for (index, (text, tone)) in cells.enumerate() {
        let text = if index > 0 { format!("{gap}{text}") } else { text };
        let shown = cut(&text, left);
        left -= columns(&shown).min(left);
        line.push_str(&style.paint(&shown, tone));
        if left == 0 {
            break;
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(group: &str, label: &str) -> Column {
        Column::numbers(group, label, vec!["1".into(), "22".into()])
    }

    #[test]
    fn groups_stand_over_their_columns() {
        let table = Table::new(vec![
            column("", "load"),
            column("TTFT, ms", "P50"),
            column("TTFT, ms", "P99"),
            Column::words("source", vec!["usage".into(), "chunks".into()]),
        ]);
        let lines = table.lines(Style::default());
        assert_eq!(
            lines,
            [
                "      TTFT, ms",
                "load  P50  P99  source",
                "   1    1    1  usage",
                "  22   22   22  chunks"
            ]
        );
        assert_eq!(table.width(), 22);
    }

    #[test]
    fn what_does_not_fit_goes_below_with_the_key() {
        let wide = |group: &str| Column::numbers(group, &"x".repeat(20), vec!["1".into()]);
        let table = Table::new(vec![column("", "load"), wide("a"), wide("b")]);
        let lines = table.lines(Style { width: 40, colour: false });
        assert!(lines.iter().all(|line| columns(line) <= 40), "{lines:?}");
        let keys = lines.iter().filter(|line| line.starts_with("load")).count();
        assert_eq!(keys, 2, "{lines:?}");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let table = Table::new(vec![
            Column::words("name", vec!["日本".into(), "ab".into()]),
            column("", "n"),
        ]);
        assert_eq!(table.lines(Style::default())[1..], ["日本   1", "ab    22"]);
    }

    #[test]
    fn colours_take_no_columns() {
        let table = Table::new(vec![column("", "n").toned(Tone::Bad)]);
        let lines = table.lines(Style { width: 80, colour: true });
        assert_eq!(lines[1], "\x1b[31m 1\x1b[0m");
    }
}
