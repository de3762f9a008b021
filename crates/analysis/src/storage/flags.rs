//! Which flag makes an inference server read its weights in a given way.

use loadline_schema::storage::{LOAD_FLAGS, ModelFormat, ModelLoad};

/// Engines that read this format, with the flag for this way; engines without one, and those that read
/// like this by themselves, are left out.
pub(super) fn of(load: &ModelLoad) -> Vec<(String, String)> {
    let reads = |engine: &str| match load.format {
        ModelFormat::Gguf => engine == "llama.cpp",
        ModelFormat::Safetensors => engine != "llama.cpp",
    };
    let found = LOAD_FLAGS.iter().filter(|flag| {
        let is_way = flag.method == load.method && flag.many_readers == (load.readers > 1);
        is_way && !flag.flag.is_empty() && reads(flag.engine)
    });
    found.map(|flag| (flag.engine.to_owned(), with_readers(flag.flag, load.readers))).collect()
}

/// The flag with the number of readers that was measured.
fn with_readers(flag: &str, readers: u32) -> String {
    ["\"num_threads\": 8", "\"concurrency\": 16"].iter().fold(flag.to_owned(), |flag, number| {
        let name = number.split(' ').next().unwrap_or_default();
        flag.replace(number, &format!("{name} {readers}"))
    })
}

#[cfg(test)]
mod tests {
    use loadline_schema::storage::{LoadMethod, Sharing};

    use super::*;

    fn load(format: ModelFormat, method: LoadMethod, readers: u32) -> ModelLoad {
        ModelLoad {
            format,
            bytes: 1 << 30,
            shard_bytes: 1 << 30,
            method,
            readers,
            ranks: 1,
            sharing: Sharing::OneFile,
            cold: true,
            bs_bytes: 1 << 20,
            iodepth: 8,
        }
    }

    #[test]
    fn flags_have_the_measured_number_of_readers() {
        let flags = of(&load(ModelFormat::Safetensors, LoadMethod::Pread, 4));
        assert!(flags.iter().any(|(engine, flag)| engine == "vLLM"
            && flag.contains("runai_streamer")
            && flag.contains("\"concurrency\": 4")));
        assert!(flags.iter().all(|(engine, _)| engine != "llama.cpp"));
    }

    #[test]
    fn gguf_is_for_llama_cpp() {
        let flags = of(&load(ModelFormat::Gguf, LoadMethod::Direct, 1));
        assert_eq!(flags, [("llama.cpp".to_owned(), "--load-mode dio".to_owned())]);
        assert!(of(&load(ModelFormat::Gguf, LoadMethod::Mmap, 1)).is_empty());
    }
}
