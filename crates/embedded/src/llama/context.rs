//! A context: the KV cache of some sequences, with a pool of threads that computes in it.

use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;
use loadline_schema::engine::FlashAttention;

use super::{Batch, Model, log};
use crate::error::Error;

/// Types that keys and values can have in the KV cache, as llama-bench names them.
const KV_TYPES: &[(&str, sys::ggml_type)] = &[
    ("f32", sys::GGML_TYPE_F32),
    ("f16", sys::GGML_TYPE_F16),
    ("bf16", sys::GGML_TYPE_BF16),
    ("q8_0", sys::GGML_TYPE_Q8_0),
    ("q4_0", sys::GGML_TYPE_Q4_0),
    ("q4_1", sys::GGML_TYPE_Q4_1),
    ("iq4_nl", sys::GGML_TYPE_IQ4_NL),
    ("q5_0", sys::GGML_TYPE_Q5_0),
    ("q5_1", sys::GGML_TYPE_Q5_1),
];

/// Type of keys or values in the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvType(sys::ggml_type);

impl KvType {
    /// The type of a name (`f16`, `q8_0`, …).
    pub(crate) fn of_name(setting: &'static str, name: &str) -> Result<Self, Error> {
        KV_TYPES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kv_type)| Self(*kv_type))
            .ok_or_else(|| {
                let names: Vec<&str> = KV_TYPES.iter().map(|(known, _)| *known).collect();
                Error::setting(setting, name, format!("known types: {}", names.join(", ")))
            })
    }

    /// Size of this many elements, bytes.
    pub(crate) fn bytes(self, elements: u64) -> u64 {
        // A row must hold whole blocks, of 32 elements in all types above.
        let elements = elements.next_multiple_of(32);
        // SAFETY: computes with the type's constants.
        unsafe { sys::ggml_row_size(self.0, elements as i64) as u64 }
    }
}

/// What a context is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContextOptions {
    /// Sequences.
    pub(crate) sequences: u32,
    /// Tokens that each sequence can hold.
    pub(crate) tokens: u32,
    /// Most tokens of one call.
    pub(crate) n_batch: u32,
    /// Most tokens that are computed at once.
    pub(crate) n_ubatch: u32,
    /// Most logits that are computed at once; 0: as many as `n_batch`.
    pub(crate) n_outputs: u32,
    /// Threads.
    pub(crate) threads: u32,
    /// Flash attention.
    pub(crate) flash_attention: FlashAttention,
    /// Type of the keys.
    pub(crate) type_k: KvType,
    /// Type of the values.
    pub(crate) type_v: KvType,
}

/// A context of a model.
pub(crate) struct Context {
    pointer: NonNull<sys::llama_context>,
    pool: Option<NonNull<sys::ggml_threadpool>>,
    model: Arc<Model>,
    n_batch: usize,
}

// SAFETY: a context is bound to no thread, and all changes to it need `&mut self`.
unsafe impl Send for Context {}

impl Context {
    /// Makes a context and its threads, which llama-bench makes, too: they wait actively between
    /// two calls instead of being made anew for each.
    pub(crate) fn new(model: Arc<Model>, options: ContextOptions) -> Result<Self, Error> {
        let mark = log::mark();
        let failed = |reason: String| Error::NoContext {
            sequences: options.sequences,
            tokens: options.tokens,
            reason,
        };
        let total = u64::from(options.sequences) * u64::from(options.tokens.next_multiple_of(256));
        let threads = options.threads as i32;
        // SAFETY: returns a plain structure.
        let mut parameters = unsafe { sys::llama_context_default_params() };
        parameters.n_ctx = u32::try_from(total)
            .map_err(|_| failed(format!("{total} tokens are more than it can count")))?;
        parameters.n_batch = options.n_batch;
        parameters.n_ubatch = options.n_ubatch;
        parameters.n_seq_max = options.sequences;
        parameters.n_outputs_max = options.n_outputs;
        parameters.n_threads = threads;
        parameters.n_threads_batch = threads;
        parameters.flash_attn_type = match options.flash_attention {
            FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        parameters.type_k = options.type_k.0;
        parameters.type_v = options.type_v.0;
        // As llama-bench: a sliding window keeps no more than it needs, each sequence has a
        // KV cache of its own.
        parameters.swa_full = false;
        parameters.kv_unified = false;
        // SAFETY: the model is loaded and outlives the context, which holds it.
        let pointer = unsafe { sys::llama_init_from_model(model.as_ptr(), parameters) };
        let pointer = NonNull::new(pointer).ok_or_else(|| failed(log::reason(mark)))?;
        // SAFETY: the context was made above; it may allow fewer tokens in a call than asked for.
        let n_batch = unsafe { sys::llama_n_batch(pointer.as_ptr()) } as usize;
        let mut context = Self { pointer, pool: None, model, n_batch };
        // SAFETY: the parameters are the library's own; the pool is freed after the context.
        context.pool = unsafe {
            let mut parameters = sys::ggml_threadpool_params_default(threads);
            NonNull::new(sys::ggml_threadpool_new(&raw mut parameters))
        };
        let pool = context.pool.ok_or_else(|| failed(format!("no pool of {threads} threads")))?;
        // SAFETY: both exist until this value is dropped.
        unsafe {
            sys::llama_attach_threadpool(context.as_ptr(), pool.as_ptr(), std::ptr::null_mut());
        }
        Ok(context)
    }

    fn as_ptr(&self) -> *mut sys::llama_context {
        self.pointer.as_ptr()
    }

    fn memory(&self) -> sys::llama_memory_t {
        // SAFETY: the context exists.
        unsafe { sys::llama_get_memory(self.as_ptr()) }
    }

    /// The model.
    pub(crate) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Most tokens of one call.
    pub(crate) fn n_batch(&self) -> usize {
        self.n_batch
    }

    /// Computes all tokens of a batch, in calls of at most `n_batch` of them. Returns before the
    /// device has ended: see [`Self::synchronize`].
    pub(crate) fn decode(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut start = 0;
        while start < batch.len() {
            let end = batch.len().min(start + self.n_batch);
            let mark = log::mark();
            let code = batch.with_part(start..end, |part| {
                // SAFETY: the context exists, and the arrays of the part live during this call.
                unsafe { sys::llama_decode(self.as_ptr(), part) }
            });
            if code != 0 {
                return Err(Error::Decode { tokens: end - start, code, reason: log::reason(mark) });
            }
            start = end;
        }
        Ok(())
    }

    /// Waits until everything is computed.
    pub(crate) fn synchronize(&mut self) {
        // SAFETY: the context exists.
        unsafe { sys::llama_synchronize(self.as_ptr()) };
    }

    /// Logits of the batch's token at `index` in the last call; none: they were not asked for.
    pub(crate) fn logits(&mut self, index: usize) -> Option<&[f32]> {
        let length = self.model.vocabulary_size() as usize;
        // SAFETY: the context exists; a wrong index gives null.
        let pointer =
            unsafe { sys::llama_get_logits_ith(self.as_ptr(), i32::try_from(index).ok()?) };
        // SAFETY: where it is not null, it points to as many logits as the vocabulary has tokens,
        // which stay until the next call that changes the context.
        (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer, length) })
    }

    /// Empties the KV cache.
    pub(crate) fn clear(&mut self) {
        // SAFETY: the context exists.
        unsafe { sys::llama_memory_clear(self.memory(), false) };
    }

    /// Removes a sequence's tokens from `position` on; false: its state cannot be cut there.
    pub(crate) fn remove(&mut self, sequence: u32, position: u32) -> bool {
        // SAFETY: the context exists; sequences are below its count.
        unsafe { sys::llama_memory_seq_rm(self.memory(), sequence as i32, position as i32, -1) }
    }

    /// Copies a whole sequence. The next [`Self::decode`] does the work.
    pub(crate) fn copy(&mut self, from: u32, to: u32) {
        // SAFETY: the context exists; sequences are below its count.
        unsafe { sys::llama_memory_seq_cp(self.memory(), from as i32, to as i32, -1, -1) };
    }

    /// A sequence's state, to be restored later.
    pub(crate) fn save(&mut self, sequence: u32) -> Result<Vec<u8>, Error> {
        // SAFETY: the context exists; the buffer is as long as the library asked for.
        let (state, written) = unsafe {
            let length = sys::llama_state_seq_get_size(self.as_ptr(), sequence as i32);
            let mut state = vec![0_u8; length];
            let written = sys::llama_state_seq_get_data(
                self.as_ptr(),
                state.as_mut_ptr(),
                length,
                sequence as i32,
            );
            (state, written)
        };
        if written == 0 || written > state.len() {
            return Err(Error::State { sequence, done: "saved" });
        }
        Ok(state)
    }

    /// Gives a sequence the state that another one had when it was saved.
    pub(crate) fn restore(&mut self, sequence: u32, state: &[u8]) -> Result<(), Error> {
        // SAFETY: the context exists; the buffer is as long as the call is told.
        let read = unsafe {
            sys::llama_state_seq_set_data(
                self.as_ptr(),
                state.as_ptr(),
                state.len(),
                sequence as i32,
            )
        };
        if read == 0 { Err(Error::State { sequence, done: "restored" }) } else { Ok(()) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made in `new` and freed once, the pool after the context that uses it.
        unsafe {
            sys::llama_free(self.as_ptr());
            if let Some(pool) = self.pool {
                sys::ggml_threadpool_free(pool.as_ptr());
            }
        }
    }
}
