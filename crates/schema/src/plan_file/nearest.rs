//! "Did you mean": the allowed name nearest to a misspelled one.

/// The allowed name that takes the fewest edits, if that is at most a third of its letters.
pub(super) fn nearest<'a>(name: &str, allowed: &[&'a str]) -> Option<&'a str> {
    // A long unknown name is no misspelling, and the distance costs its length.
    if name.chars().count() > 40 {
        return None;
    }
    let name = name.to_lowercase().replace('-', "_");
    let scored = allowed.iter().map(|candidate| (distance(&name, candidate), *candidate));
    let (edits, best) = scored.min_by_key(|(edits, _)| *edits)?;
    (edits <= best.chars().count().div_ceil(3)).then_some(best)
}

/// Edits (insert, delete, replace, swap neighbours) between two words: the optimal string
/// alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_find_their_word_and_strangers_do_not() {
        let allowed = ["prompt", "output", "load", "duration", "requests"];
        assert_eq!(nearest("promt", &allowed), Some("prompt"));
        assert_eq!(nearest("laod", &allowed), Some("load"));
        assert_eq!(nearest("Request", &allowed), Some("requests"));
        assert_eq!(nearest("temperature", &allowed), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
