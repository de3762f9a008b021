//! llama.cpp behind a safe interface. All unsafe code of this crate lies in this folder.
#![expect(unsafe_code, reason = "llama.cpp is a C library")]

mod batch;
mod context;
mod log;
mod model;

pub(crate) use batch::Batch;
pub(crate) use context::{Context, ContextOptions, KvType};
pub(crate) use model::{Model, Token};

use std::ffi::{CStr, c_char};
use std::sync::Once;

use llama_cpp_sys_2 as sys;
use loadline_schema::engine::EngineDevice;

/// Starts llama.cpp's back ends and takes its log; once in a process.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        log::keep_lines();
        // SAFETY: called once, before any other call of the library.
        unsafe { sys::llama_backend_init() };
    });
}

/// A C string that the library owns, as text.
fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the library hands out strings that end in NUL and live as long as it is loaded.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// The library's version.
pub(crate) fn version() -> Option<String> {
    // SAFETY: returns a constant string.
    text(unsafe { sys::llama_version() })
}

/// Features of the processor and back ends that were compiled in and are used (`AVX2 = 1`, …).
pub(crate) fn system_text() -> Option<String> {
    // SAFETY: returns a string that the library keeps; only this crate calls it, behind `start`.
    text(unsafe { sys::llama_print_system_info() })
}

/// Most sequences of one context.
pub(crate) fn most_sequences() -> usize {
    // SAFETY: returns a constant.
    unsafe { sys::llama_max_parallel_sequences() }
}

/// Most threads of one pool: the length of its processor mask.
pub(crate) const MOST_THREADS: u32 = 512;

/// The devices that it can compute on.
pub(crate) fn devices() -> Vec<EngineDevice> {
    start();
    // SAFETY: the registry is filled by then and does not change.
    let count = unsafe { sys::ggml_backend_dev_count() };
    (0..count)
        .map(|index| {
            // SAFETY: the index is below the count, so that the device exists; the queries only
            // read it, and write to the two locals.
            unsafe {
                let device = sys::ggml_backend_dev_get(index);
                let (mut free, mut total) = (0, 0);
                sys::ggml_backend_dev_memory(device, &raw mut free, &raw mut total);
                EngineDevice {
                    name: text(sys::ggml_backend_dev_name(device)).unwrap_or_default(),
                    description: text(sys::ggml_backend_dev_description(device))
                        .unwrap_or_default(),
                    memory_bytes: (total > 0).then_some(total as u64),
                }
            }
        })
        .collect()
}

/// Whether layers can be put on a GPU at all.
pub(crate) fn has_gpu() -> bool {
    start();
    // SAFETY: asks the registry only.
    unsafe { sys::llama_supports_gpu_offload() }
}
