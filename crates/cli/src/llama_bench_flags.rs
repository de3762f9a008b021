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

/// Options of llama-bench that have no like here.
const UNKNOWN: [&str; 13] = [
    "-pg", "-sm", "-mg", "-ts", "-nkvo", "-mmp", "-embd", "-oe", "-hf", "-hff", "-ncmoe", "-C",
    "-npg",
];

/// The first option of llama-bench after `engine` that has no like here.
pub(crate) fn unknown(words: &[OsString]) -> Option<&str> {
    let is_engine = words.get(1).is_some_and(|verb| verb == "engine");
    let mut texts = words.iter().filter_map(|word| word.to_str()).filter(|_| is_engine);
    texts.find(|word| UNKNOWN.contains(&word.split('=').next().unwrap_or(word)))
}

/// The words of a command with llama-bench's names replaced, where the verb is `engine`.
pub(crate) fn translated(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let words: Vec<OsString> = words.collect();
    if words.get(1).is_none_or(|verb| verb != "engine") {
        return words;
    }
    let ours = |word: OsString| {
        let text = word.to_string_lossy();
        let (name, value) = text.split_once('=').map_or((&*text, None), |(n, v)| (n, Some(v)));
        let Some((_, ours)) = NAMES.iter().find(|(theirs, _)| name == *theirs) else {
            return word;
        };
        OsString::from(value.map_or((*ours).to_owned(), |value| format!("{ours}={value}")))
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
        assert_eq!(of("loadline engine -ngl=9"), "loadline engine --gpu-layers=9");
        assert_eq!(of("loadline serving -ngl 99"), "loadline serving -ngl 99");
    }
}
