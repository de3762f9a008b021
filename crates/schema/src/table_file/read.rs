//! From CSV text to rows: which separator, which columns, then every cell.

use super::cell::{self, Cell, DecimalSign};
use super::column::{self, Column, Meaning};
use super::{Latencies, TableError, TableFile, TableRow, quoted};
use crate::document::PointLoad;
use crate::event::Warning;
use crate::sla::{Latency, Statistic};
use crate::verdict::Row;

const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

const COLUMNS_HELP: &str = "the first line names the columns: `concurrency`, `batch` or `rate`, \
    then `requests_per_s`, latencies such as `e2e_mean_ms`, `e2e_p99_ms`, `ttft_p99_ms`, and, where \
    known, `output_tokens_per_s`, `output_tokens_per_s_per_user`, `error_rate`, `watts`";

/// A line of the file, split into its fields.
struct Record {
    line: u64,
    fields: Vec<String>,
}

/// A column of the file.
struct Found {
    /// Its place.
    index: usize,
    /// Its heading as written.
    heading: String,
    column: Column,
}

pub(super) fn table(bytes: &[u8]) -> Result<TableFile, TableError> {
    let text = text(bytes)?;
    let (head, records) = split(&text)?;
    let (columns, warnings) = columns(&head)?;
    if records.is_empty() {
        let message = "the table has a heading and no rows";
        return Err(TableError::new(message, "add one line for each load that was measured"));
    }
    let mut rows: Vec<TableRow> = Vec::with_capacity(records.len());
    let mut signs = Signs::default();
    for record in &records {
        rows.push(row(record, &head, &columns, &mut signs)?);
    }
    distinct(&rows)?;
    Ok(TableFile { rows, warnings })
}

/// The bytes as text with plain line ends.
fn text(bytes: &[u8]) -> Result<String, TableError> {
    const HELP: &str = "save the table as CSV in UTF-8";
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(TableError::new("the text is in UTF-16", HELP));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count() as u64;
        TableError::new("a character is not in UTF-8", HELP).on(line)
    })?;
    if text.contains('\0') {
        return Err(TableError::new("this is no text", HELP));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// The heading and the rows, by the separator under which most headings are understood.
fn split(text: &str) -> Result<(Record, Vec<Record>), TableError> {
    let mut best: Option<(usize, u8)> = None;
    for separator in SEPARATORS {
        let head = records(text, separator).next().transpose()?;
        let Some(head) = head else { continue };
        let known = head.fields.iter().filter(|field| column::understand(field).is_ok()).count();
        if best.is_none_or(|(most, _)| known > most) {
            best = Some((known, separator));
        }
    }
    let Some((_, separator)) = best else {
        return Err(TableError::new("the table is empty", COLUMNS_HELP));
    };
    let mut all = records(text, separator).collect::<Result<Vec<_>, _>>()?.into_iter();
    let head = all.next().expect("invariant: a separator was chosen by its first record");
    Ok((head, all.collect()))
}

/// Every line that has anything in it, with its number.
fn records(text: &str, separator: u8) -> impl Iterator<Item = Result<Record, TableError>> + '_ {
    let reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let (mut counted, mut line) = (0_usize, 1_u64);
    reader.into_records().filter_map(move |record| {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let help = "check the quotes of this line";
                return Some(Err(TableError::new(error.to_string(), help).on(line)));
            }
        };
        // A record begins where the one before it ended, blank lines between them included.
        let start = record.position().map_or(counted, |position| position.byte() as usize);
        let blank = text[start..].len() - text[start..].trim_start_matches('\n').len();
        line += text[counted..start + blank].matches('\n').count() as u64;
        counted = start + blank;
        let fields: Vec<String> = record.iter().map(|field| field.trim().to_owned()).collect();
        let is_blank = fields.iter().all(String::is_empty);
        (!is_blank).then_some(Ok(Record { line, fields }))
    })
}

/// What the columns are; those that are not understood are named in a warning.
fn columns(head: &Record) -> Result<(Vec<Found>, Vec<Warning>), TableError> {
    let mut found: Vec<Found> = Vec::new();
    let mut unknown: Vec<String> = Vec::new();
    for (index, heading) in head.fields.iter().enumerate() {
        match column::understand(heading) {
            Ok(column) => {
                twice(&found, heading, column, head.line, index)?;
                found.push(Found { index, heading: heading.clone(), column });
            }
            // A column without a heading and without cells is a separator at the end of the lines.
            Err(_) if heading.is_empty() => {}
            Err(why) => unknown.push(format!("{} ({why})", quoted(heading))),
        }
    }
    let has = |is_it: fn(Meaning) -> bool| found.iter().any(|f| is_it(f.column.meaning));
    let here: Vec<String> = head.fields.iter().map(|heading| quoted(heading)).collect();
    let missing = |what: &str| {
        let message = format!("no column says the {what}; there are {}", here.join(", "));
        Err(TableError::new(message, COLUMNS_HELP).on(head.line))
    };
    if !has(Meaning::is_load) {
        return missing("load");
    }
    if !has(|meaning| meaning == Meaning::RequestsPerS) {
        return missing("requests/s");
    }
    let mut warnings = Vec::new();
    if !unknown.is_empty() {
        let message = format!("columns left out: {}", unknown.join(", "));
        let advice = "rename what should count: <metric>_<statistic>_<unit> as in ttft_p99_ms, \
                      output_tokens_per_s, output_tokens_per_s_per_user, error_rate, watts";
        warnings.push(Warning::new("unknown_columns", message, advice));
    }
    Ok((found, warnings))
}

/// Refuses a second column of the same meaning.
fn twice(
    found: &[Found],
    heading: &str,
    column: Column,
    line: u64,
    index: usize,
) -> Result<(), TableError> {
    let is_same = |other: &&Found| {
        let (a, b) = (other.column.meaning, column.meaning);
        a == b || (a.is_load() && b.is_load())
    };
    let Some(first) = found.iter().find(is_same) else { return Ok(()) };
    let what = if column.meaning.is_load() { "say the load" } else { "hold the same figure" };
    let message = format!("{} and {} both {what}", quoted(&first.heading), quoted(heading));
    Err(TableError::new(message, "leave one of them out").on(line).in_column(index, heading))
}

/// The first cell with each sign before its decimals: a file has one of them.
#[derive(Default)]
struct Signs {
    point: Option<(u64, String)>,
    comma: Option<(u64, String)>,
}

impl Signs {
    /// Notes a cell; an error when the file has both signs.
    fn note(&mut self, sign: Option<DecimalSign>, line: u64, text: &str) -> Result<(), TableError> {
        let seen = match sign {
            None => return Ok(()),
            Some(DecimalSign::Point) => &mut self.point,
            Some(DecimalSign::Comma) => &mut self.comma,
        };
        seen.get_or_insert_with(|| (line, text.to_owned()));
        match (&self.point, &self.comma) {
            (Some((at, point)), Some((on, comma))) => {
                let message = format!(
                    "{} on line {at} has a decimal point, {} on line {on} a decimal comma",
                    quoted(point),
                    quoted(comma)
                );
                Err(TableError::new(message, "use one of them in the whole table").on(line))
            }
            _ => Ok(()),
        }
    }
}

fn row(
    record: &Record,
    head: &Record,
    columns: &[Found],
    signs: &mut Signs,
) -> Result<TableRow, TableError> {
    let line = record.line;
    let (fields, headings) = (record.fields.len(), head.fields.len());
    // Empty fields at the end are what spreadsheets write.
    let surplus = record.fields.get(headings..).unwrap_or_default();
    if fields < headings || surplus.iter().any(|field| !field.is_empty()) {
        let message = format!("{fields} fields under {headings} headings");
        let help = "give each line as many fields as there are headings (empty where unknown), \
                    and put fields that contain the separator in quotes";
        return Err(TableError::new(message, help).on(line));
    }
    let mut made = TableRow { line, ..TableRow::default() };
    for found in columns {
        let text = &record.fields[found.index];
        let meaning = found.column.meaning;
        let at = |error: TableError| error.on(line).in_column(found.index, &found.heading);
        if cell::is_absent(text) {
            if meaning.is_load() || meaning == Meaning::RequestsPerS {
                let help = "every row needs its load and its requests/s: fill it in or leave the \
                            row out";
                return Err(at(TableError::new("the cell is empty", help)));
            }
            continue;
        }
        let read = cell::read(text, meaning.kind(), found.column.power);
        let read = read.map_err(|(message, help)| at(TableError::new(message, help)))?;
        signs.note(read.sign, line, text)?;
        if meaning == Meaning::Rate && read.value <= 0.0 {
            return Err(at(TableError::new("the load is 0", "leave this row out")));
        }
        put(&mut made, meaning, read);
    }
    Ok(made)
}

/// Puts a figure where it belongs.
fn put(made: &mut TableRow, meaning: Meaning, cell: Cell) {
    let row: &mut Row = &mut made.row;
    let value = Some(cell.value);
    match meaning {
        Meaning::Concurrency => {
            let concurrency = Some(cell.value as u64);
            row.load =
                PointLoad { concurrency, arrival: "closed".to_owned(), ..PointLoad::default() };
        }
        Meaning::Rate => {
            row.load =
                PointLoad { rate_per_s: value, arrival: "open".to_owned(), ..PointLoad::default() };
        }
        Meaning::RequestsPerS => {
            row.requests_per_s = value;
            made.requests_rounding_per_s = cell.rounding;
        }
        Meaning::Latency(latency, statistic) => {
            if (latency, statistic) == (Latency::E2e, Statistic::Mean) {
                made.e2e_mean_rounding_ns = Some(cell.rounding);
            }
            let latencies: &mut Latencies = &mut row.latency_ns;
            let figures = latencies.entry(latency.to_string()).or_default();
            figures.insert(statistic.to_string(), cell.value);
        }
        Meaning::OutputTokensPerS => row.output_tokens_per_s = value,
        Meaning::OutputTokensPerSPerUser => row.output_tokens_per_s_per_user = value,
        Meaning::ErrorRate => row.error_rate = value,
        Meaning::Watts => row.watts = value,
    }
}

/// Refuses two rows of one load.
fn distinct(rows: &[TableRow]) -> Result<(), TableError> {
    let key = |row: &TableRow| {
        let load = &row.row.load;
        load.concurrency.map_or_else(|| load.rate_per_s.unwrap_or(0.0), |n| n as f64)
    };
    let mut sorted: Vec<&TableRow> = rows.iter().collect();
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)).then(a.line.cmp(&b.line)));
    match sorted.windows(2).find(|pair| key(pair[0]).total_cmp(&key(pair[1])).is_eq()) {
        None => Ok(()),
        Some(pair) => {
            let message = format!("the load {} is on line {} as well", key(pair[1]), pair[0].line);
            let help = "give one row for each load: the mean where it was measured several times, \
                        one table for each configuration";
            Err(TableError::new(message, help).on(pair[1].line))
        }
    }
}
