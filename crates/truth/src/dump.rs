//! The log as a CSV file: one line per answer, times in ns of CLOCK_REALTIME.

use std::io::{self, Write};
use std::path::Path;

use crate::record::{Outcome, TruthRecord};

/// Column names. Those up to `gaps` are the traditional ones; a time that does not exist is 0.
/// `gaps` holds the times between writes, ns, separated by blanks.
pub const HEADER: &str = "conn,rid,stream,chat,blen,arr_k,arr_u,first,last,end,tok,maxlag,gaps,\
start,role,prompt,reasoning,per_write,outcome";

const COLUMNS: usize = 19;

/// Writes one line.
pub(crate) fn write_line(out: &mut impl Write, r: &TruthRecord) -> io::Result<()> {
    write!(
        out,
        "{},{},{},{},{},{},{},{},{},{},{},{},",
        r.connection,
        r.id,
        u8::from(r.stream),
        u8::from(r.chat),
        r.body_bytes,
        r.arrival_kernel_ns,
        r.arrival_user_ns,
        r.first_ns.unwrap_or(0),
        r.last_ns.unwrap_or(0),
        r.end_ns,
        r.tokens,
        r.max_lag_ns
    )?;
    for (index, gap) in r.gaps_ns().enumerate() {
        let blank = if index > 0 { " " } else { "" };
        write!(out, "{blank}{gap}")?;
    }
    let outcome = match r.outcome {
        Outcome::Completed => "completed",
        Outcome::ClientClosed => "client_closed",
    };
    writeln!(
        out,
        ",{},{},{},{},{},{outcome}",
        r.start_ns,
        r.role_ns.unwrap_or(0),
        r.prompt_tokens,
        r.reasoning_tokens,
        r.tokens_per_write
    )
}

fn wrong(line: usize, what: &str) -> io::Error {
    let text = format!("line {line} of the dump: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn parse_line(line: &str) -> Option<TruthRecord> {
    let cells: Vec<&str> = line.split(',').collect();
    if cells.len() != COLUMNS {
        return None;
    }
    let number = |column: usize| cells[column].parse::<u64>().ok();
    let small = |column: usize| cells[column].parse::<u32>().ok();
    let time = |column: usize| number(column).map(|ns| (ns > 0).then_some(ns));
    let first_ns = time(7)?;
    let gaps: Option<Vec<u64>> = cells[12].split_whitespace().map(|gap| gap.parse().ok()).collect();
    let (gaps, tokens) = (gaps?, small(10)?);
    // Without gaps a single write is known to be one; of more writes the times were not kept.
    let kept = first_ns.filter(|first| !gaps.is_empty() || Some(*first) == time(8).flatten());
    let mut write_times_ns = Vec::new();
    if let Some(first) = kept {
        write_times_ns.push(first);
        write_times_ns.extend(gaps.iter().scan(first, |at, gap| {
            *at += gap;
            Some(*at)
        }));
    }
    Some(TruthRecord {
        connection: small(0)?,
        id: number(1)?,
        stream: number(2)? == 1,
        chat: number(3)? == 1,
        body_bytes: small(4)?,
        arrival_kernel_ns: number(5)?,
        arrival_user_ns: number(6)?,
        start_ns: number(13)?,
        role_ns: time(14)?,
        first_ns,
        last_ns: time(8)?,
        end_ns: number(9)?,
        prompt_tokens: small(15)?,
        tokens,
        reasoning_tokens: small(16)?,
        tokens_per_write: small(17)?,
        max_lag_ns: number(11)?,
        write_times_ns,
        outcome: match cells[18] {
            "completed" => Outcome::Completed,
            "client_closed" => Outcome::ClientClosed,
            _ => return None,
        },
    })
}

/// Reads a file that `/dump?path=…` wrote. Fails on a file with other columns, naming the line.
pub fn read(path: &Path) -> io::Result<Vec<TruthRecord>> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, header)| header) != Some(HEADER) {
        return Err(wrong(1, "the column names are not those of this version"));
    }
    lines
        .map(|(index, line)| parse_line(line).ok_or_else(|| wrong(index + 1, "cannot be read")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let kept = crate::record::example();
        let left = TruthRecord {
            first_ns: None,
            last_ns: None,
            tokens: 0,
            write_times_ns: Vec::new(),
            outcome: Outcome::ClientClosed,
            role_ns: Some(5),
            ..kept.clone()
        };
        writeln!(file, "{HEADER}").expect("written");
        write_line(&mut file, &kept).expect("written");
        write_line(&mut file, &left).expect("written");
        assert_eq!(read(file.path()).expect("readable"), [kept, left]);
    }

    #[test]
    fn a_broken_line_is_named() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "{HEADER}\n1,2,3").expect("written");
        let error = read(file.path()).expect_err("broken");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
