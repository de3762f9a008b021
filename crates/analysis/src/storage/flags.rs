//! Which flag makes an inference server read its weights in a given way.

use loadline_schema::storage::{LoadMethod, ModelFormat, ModelLoad};

/// Engines that read this format, with the flag for this way; engines without one are left out.
pub(super) fn of(load: &ModelLoad) -> Vec<(String, String)> {
    let n = load.readers;
    let flags: &[(&str, String)] = match (load.format, load.method) {
        (ModelFormat::Gguf, LoadMethod::Mmap) => &[],
        (ModelFormat::Gguf, LoadMethod::Pread) => &[("llama.cpp", "--no-mmap".to_owned())],
        (ModelFormat::Gguf, LoadMethod::Direct) => &[("llama.cpp", "--direct-io".to_owned())],
        (ModelFormat::Safetensors, LoadMethod::Pread) if n == 1 => &[
            ("vLLM", "--safetensors-load-strategy eager".to_owned()),
            ("SGLang", "--weight-loader-disable-mmap".to_owned()),
        ],
        (ModelFormat::Safetensors, LoadMethod::Mmap) if n == 1 => &[],
        (ModelFormat::Safetensors, LoadMethod::Mmap) => &[("SGLang", threads(n))],
        (ModelFormat::Safetensors, LoadMethod::Pread | LoadMethod::Direct) => &[
            (
                "vLLM",
                format!(
                    "--load-format runai_streamer --model-loader-extra-config '{{\"concurrency\":{n}}}'"
                ),
            ),
            ("SGLang", format!("--weight-loader-disable-mmap {}", threads(n))),
        ],
    };
    flags.iter().map(|(engine, flag)| ((*engine).to_owned(), flag.clone())).collect()
}

fn threads(n: u32) -> String {
    format!(
        "--model-loader-extra-config '{{\"enable_multithread_load\":true,\"num_threads\":{n}}}'"
    )
}
