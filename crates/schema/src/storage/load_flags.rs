//! How engines are asked to read weights in another way than they do by themselves. The sources stand
//! in `docs/model-load.md`.

use super::LoadMethod;

/// A flag of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadFlag {
    /// The engine, as people call it.
    pub engine: &'static str,
    /// The way of reading that it comes nearest to.
    pub method: LoadMethod,
    /// Whether several readers share the work.
    pub many_readers: bool,
    /// What to add to the engine's command line; empty where the engine does so by itself.
    pub flag: &'static str,
}

const fn flag(
    engine: &'static str,
    method: LoadMethod,
    many_readers: bool,
    flag: &'static str,
) -> LoadFlag {
    LoadFlag { engine, method, many_readers, flag }
}

/// Engines and flags, each engine's default first; one flag for each way.
pub const LOAD_FLAGS: &[LoadFlag] = &[
    flag("vLLM", LoadMethod::Mmap, false, ""),
    flag(
        "vLLM",
        LoadMethod::Mmap,
        true,
        r#"--model-loader-extra-config '{"enable_multithread_load": true, "num_threads": 8}'"#,
    ),
    flag("vLLM", LoadMethod::Pread, false, "--safetensors-load-strategy eager"),
    flag(
        "vLLM",
        LoadMethod::Pread,
        true,
        r#"--load-format runai_streamer --model-loader-extra-config '{"concurrency": 16}'"#,
    ),
    flag("vLLM", LoadMethod::Direct, true, "--load-format instanttensor"),
    flag("SGLang", LoadMethod::Mmap, true, ""),
    flag(
        "SGLang",
        LoadMethod::Mmap,
        false,
        r#"--model-loader-extra-config '{"enable_multithread_load": false}'"#,
    ),
    flag("SGLang", LoadMethod::Pread, true, "--weight-loader-disable-mmap"),
    flag(
        "SGLang",
        LoadMethod::Pread,
        false,
        r#"--weight-loader-disable-mmap --model-loader-extra-config '{"enable_multithread_load": false}'"#,
    ),
    flag("llama.cpp", LoadMethod::Mmap, false, ""),
    flag("llama.cpp", LoadMethod::Pread, false, "--load-mode none"),
    flag("llama.cpp", LoadMethod::Direct, false, "--load-mode dio"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_an_engine() {
        for method in LoadMethod::ALL {
            let engines = LOAD_FLAGS.iter().filter(|flag| flag.method == *method);
            let asked = engines.filter(|flag| !flag.flag.is_empty()).count();
            assert!(asked > 0, "{method}");
        }
    }

    #[test]
    fn every_engine_has_one_default_and_no_way_twice() {
        for flag in LOAD_FLAGS {
            let same = |other: &&LoadFlag| other.engine == flag.engine;
            let defaults = LOAD_FLAGS.iter().filter(same).filter(|other| other.flag.is_empty());
            assert_eq!(defaults.count(), 1, "{}", flag.engine);
            let way = (flag.method, flag.many_readers);
            let twice = LOAD_FLAGS.iter().filter(same);
            assert_eq!(twice.filter(|other| (other.method, other.many_readers) == way).count(), 1);
        }
    }

    /// A flag can be pasted into a shell: quotes are closed, and what they hold is JSON.
    #[test]
    fn flags_are_well_formed() {
        for flag in LOAD_FLAGS.iter().filter(|flag| !flag.flag.is_empty()) {
            assert!(flag.flag.starts_with("--"), "{}", flag.flag);
            let parts: Vec<&str> = flag.flag.split('\'').collect();
            assert_eq!(parts.len() % 2, 1, "{}", flag.flag);
            for quoted in parts.iter().skip(1).step_by(2) {
                serde_json::from_str::<serde_json::Value>(quoted).expect("JSON");
            }
        }
    }
}
