//! Lists of numbers as llama-bench takes them: `1,4,16`, `8-64*2`, `0-1024+256`.

/// Most numbers that one list can make.
const MOST: usize = 4096;

/// Largest number that llama-bench takes.
const LARGEST: u32 = i32::MAX as u32;

/// Why a text is no list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Nothing between two commas, or nothing at all.
    #[error(
        "part {part} of `{list}` is empty; write numbers and ranges apart by commas: 1,4,8-64*2"
    )]
    Empty {
        /// The whole text.
        list: String,
        /// Which part, from 1.
        part: usize,
    },
    /// A part is neither a number nor a range.
    #[error("`{part}` is no number and no range; write 16, 8-16, 0-1024+256 or 8-64*2")]
    NoRange {
        /// The part.
        part: String,
    },
    /// A number is above what llama.cpp can count to.
    #[error("`{number}` is too large; the most is {LARGEST}")]
    TooLarge {
        /// The number.
        number: String,
    },
    /// The range ends before it begins.
    #[error("`{part}` ends before it begins; write the smaller number first")]
    Backwards {
        /// The part.
        part: String,
    },
    /// The step leads nowhere: + 0, × 0, × 1, or 0 × anything.
    #[error(
        "`{part}` never gets to its end; a sum needs a step of 1 or more, a product a first \
             number of 1 or more and a factor of 2 or more"
    )]
    Stuck {
        /// The part.
        part: String,
    },
    /// Too many numbers.
    #[error("the list makes more than {MOST} numbers; take a larger step")]
    TooMany,
}

/// The numbers of a list, in its order: numbers and ranges apart by commas. A range is
/// `first-last`, `first-last+step` or `first-last*factor`; it ends at or before `last`.
///
/// # Errors
/// What llama-bench refuses, and what it takes but does not mean: a range that ends before it
/// begins (it makes no number there) and an empty part.
pub fn parse_list(list: &str) -> Result<Vec<u32>, ListError> {
    let mut numbers = Vec::new();
    for (index, part) in list.split(',').enumerate() {
        let part = part.trim();
        if part.is_empty() {
            return Err(ListError::Empty { list: list.to_owned(), part: index + 1 });
        }
        range(part, &mut numbers)?;
    }
    Ok(numbers)
}

fn range(part: &str, numbers: &mut Vec<u32>) -> Result<(), ListError> {
    let (first, rest) = part.split_once('-').map_or((part, None), |(a, b)| (a, Some(b)));
    let first = number(first, part)?;
    let (last, product, step) = match rest.map(|rest| (rest, rest.find(['+', '*']))) {
        None => (first, false, 1),
        Some((last, None)) => (number(last, part)?, false, 1),
        Some((rest, Some(at))) => {
            let product = rest.as_bytes()[at] == b'*';
            (number(&rest[..at], part)?, product, number(&rest[at + 1..], part)?)
        }
    };
    if last < first {
        return Err(ListError::Backwards { part: part.to_owned() });
    }
    let mut value = first;
    while value <= last {
        if numbers.len() == MOST {
            return Err(ListError::TooMany);
        }
        numbers.push(value);
        let next = if product { value.checked_mul(step) } else { value.checked_add(step) };
        let Some(next) = next else { break };
        if next <= value {
            return Err(ListError::Stuck { part: part.to_owned() });
        }
        value = next;
    }
    Ok(())
}

fn number(text: &str, part: &str) -> Result<u32, ListError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ListError::NoRange { part: part.to_owned() });
    }
    let value = text.parse::<u32>().ok().filter(|value| *value <= LARGEST);
    value.ok_or_else(|| ListError::TooLarge { number: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_llama_bench() {
        assert_eq!(parse_list("1,4,16").unwrap(), [1, 4, 16]);
        assert_eq!(parse_list("8-64*2").unwrap(), [8, 16, 32, 64]);
        assert_eq!(parse_list("0-1024+256").unwrap(), [0, 256, 512, 768, 1024]);
        assert_eq!(parse_list("1-4").unwrap(), [1, 2, 3, 4]);
        assert_eq!(parse_list("1-10*3,7").unwrap(), [1, 3, 9, 7]);
        assert_eq!(parse_list("5-5").unwrap(), [5]);
        assert_eq!(parse_list(" 1, 2 ").unwrap(), [1, 2]);
    }

    #[test]
    fn what_is_refused_says_why() {
        let lists = [
            "",
            "1,,2",
            "1,",
            "a",
            "-1",
            "1-",
            "1-2+",
            "1-2-3",
            "1.5",
            "64-8",
            "1-8*1",
            "0-8*2",
            "1-8+0",
            "9999999999",
            "0-100000",
            "1-2*2*2",
        ];
        let errors: Vec<String> = lists
            .iter()
            .map(|list| format!("{list:?}: {}", parse_list(list).unwrap_err()))
            .collect();
        insta::assert_snapshot!(errors.join("\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9,+* -]{0,24}") {
            let _ = parse_list(&text);
        }

        #[test]
        fn ranges_grow_to_their_end(first in 0_u32..50, more in 0_u32..500, step in 1_u32..40) {
            let last = first + more;
            let numbers = parse_list(&format!("{first}-{last}+{step}")).unwrap();
            prop_assert_eq!(numbers, (first..=last).step_by(step as usize).collect::<Vec<_>>());
        }
    }
}
