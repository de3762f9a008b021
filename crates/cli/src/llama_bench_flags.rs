//! llama-bench's own option names after `loadline engine`: `-ngl 99` is `--gpu-layers 99`. They have
//! one dash and several letters, which no parser of ours would take.

use std::ffi::OsString;

/// Option of llama-bench or llama-batched-bench, and ours.
const NAMES: [(&str, &str); 8] = [
    ("-ub", "--ubatch-size"),
    ("-ngl", "--gpu-layers"),
    ("-fa", "--flash-attention"),
    ("-ctk", "--type-k"),
    ("-ctv", "--type-v"),
    ("-npl", "--batch"),
    ("-npp", "--prompt-tokens"),
    ("-ntg", "--output-tokens"),
];

/// The words of a command with llama-bench's names replaced, where the verb is `engine`.
pub(crate) fn translated(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let words: Vec<OsString> = words.collect();
    if words.get(1).is_none_or(|verb| verb != "engine") {
        return words;
    }
    let ours = |word: OsString| {
        let found = NAMES.iter().find(|(theirs, _)| word == *theirs);
        found.map_or(word, |(_, ours)| OsString::from(ours))
    };
    words.into_iter().map(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> String {
        let words = translated(line.split(' ').map(OsString::from));
        words.join(std::ffi::OsStr::new(" ")).to_string_lossy().into_owned()
    }

    #[test]
    fn names_are_replaced_after_engine_alone() {
        assert_eq!(
            of("loadline engine -m m.gguf -ngl 99 -ub 256"),
            "loadline engine -m m.gguf --gpu-layers 99 --ubatch-size 256"
        );
        assert_eq!(of("loadline serving -ngl 99"), "loadline serving -ngl 99");
    }
}
