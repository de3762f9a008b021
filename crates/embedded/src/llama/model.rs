//! A loaded model: its weights, its metadata and its vocabulary.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::{log, start, text};
use crate::error::Error;

/// A token's number in the vocabulary.
pub(crate) type Token = i32;

/// A loaded model.
pub(crate) struct Model {
    pointer: NonNull<sys::llama_model>,
    vocabulary: NonNull<sys::llama_vocab>,
    mmap: bool,
}

// SAFETY: the library does not change a model after it was loaded, and its vocabulary may be used
// by many threads ("the API is thread-safe", llama.h on tokenization).
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// Loads a GGUF file with `gpu_layers` of its layers on the GPU.
    pub(crate) fn load(path: &Path, mmap: bool, gpu_layers: u32) -> Result<Self, Error> {
        start();
        let failed = |reason: String| Error::Load { path: path.display().to_string(), reason };
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| failed("its name has a NUL byte".to_owned()))?;
        std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        let mark = log::mark();
        // SAFETY: returns a plain structure.
        let mut parameters = unsafe { sys::llama_model_default_params() };
        // What is no number of layers stands for all of them.
        parameters.n_gpu_layers = i32::try_from(gpu_layers).unwrap_or(-1);
        parameters.load_mode =
            if mmap { sys::LLAMA_LOAD_MODE_MMAP } else { sys::LLAMA_LOAD_MODE_NONE };
        // SAFETY: the name ends in NUL and lives during the call; the parameters are the
        // library's own with plain numbers changed.
        let pointer = unsafe { sys::llama_model_load_from_file(name.as_ptr(), parameters) };
        let pointer = NonNull::new(pointer).ok_or_else(|| failed(log::reason(mark)))?;
        // SAFETY: the model is loaded; the vocabulary is a part of it.
        let vocabulary = unsafe { sys::llama_model_get_vocab(pointer.as_ptr()) };
        match NonNull::new(vocabulary.cast_mut()) {
            Some(vocabulary) => Ok(Self { pointer, vocabulary, mmap }),
            None => {
                // SAFETY: loaded above and used by nobody else.
                unsafe { sys::llama_model_free(pointer.as_ptr()) };
                Err(failed("it has no vocabulary".to_owned()))
            }
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::llama_model {
        self.pointer.as_ptr()
    }

    fn vocabulary(&self) -> *const sys::llama_vocab {
        self.vocabulary.as_ptr()
    }

    /// Whether its weights are mapped.
    pub(crate) fn is_mapped(&self) -> bool {
        self.mmap
    }

    /// Weights.
    pub(crate) fn parameters(&self) -> u64 {
        // SAFETY: the model is loaded.
        unsafe { sys::llama_model_n_params(self.as_ptr()) }
    }

    /// Size of all weights, bytes.
    pub(crate) fn weight_bytes(&self) -> u64 {
        // SAFETY: the model is loaded.
        unsafe { sys::llama_model_size(self.as_ptr()) }
    }

    /// Layers.
    pub(crate) fn layers(&self) -> u64 {
        // SAFETY: the model is loaded.
        positive(unsafe { sys::llama_model_n_layer(self.as_ptr()) })
    }

    /// Heads of the queries (`.0`), and of keys and values (`.1`), of one layer.
    pub(crate) fn heads(&self) -> (u64, u64) {
        // SAFETY: the model is loaded.
        unsafe {
            (
                positive(sys::llama_model_n_head(self.as_ptr())),
                positive(sys::llama_model_n_head_kv(self.as_ptr())),
            )
        }
    }

    /// Width of the model.
    pub(crate) fn width(&self) -> u64 {
        // SAFETY: the model is loaded.
        positive(unsafe { sys::llama_model_n_embd(self.as_ptr()) })
    }

    /// Longest context that it was trained for, tokens; 0: unknown.
    pub(crate) fn trained_context(&self) -> u64 {
        // SAFETY: the model is loaded.
        positive(unsafe { sys::llama_model_n_ctx_train(self.as_ptr()) })
    }

    /// Whether a sequence can be cut back to any earlier position: not where it keeps a running
    /// state or a sliding window.
    pub(crate) fn can_cut_back(&self) -> bool {
        // SAFETY: the model is loaded.
        unsafe {
            !sys::llama_model_is_recurrent(self.as_ptr())
                && !sys::llama_model_is_hybrid(self.as_ptr())
                && sys::llama_model_n_swa(self.as_ptr()) == 0
        }
    }

    /// Type of most weights (`Q4_1`), as its file says.
    pub(crate) fn quantization(&self) -> Option<String> {
        // SAFETY: the model is loaded; the name is a constant of the library.
        text(unsafe { sys::llama_ftype_name(sys::llama_model_ftype(self.as_ptr())) })
    }

    /// A value of the file's metadata as text; none for lists.
    pub(crate) fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut value = vec![0_u8; 1024];
        // SAFETY: the key ends in NUL; the library writes at most as many bytes as the buffer has,
        // the last one NUL, and returns the whole length or -1.
        let length = unsafe {
            sys::llama_model_meta_val_str(
                self.as_ptr(),
                key.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        let length = usize::try_from(length).ok()?;
        value.truncate(length.min(value.len() - 1));
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// Tokens of the vocabulary.
    pub(crate) fn vocabulary_size(&self) -> u32 {
        // SAFETY: the vocabulary lives as long as the model.
        positive(unsafe { sys::llama_vocab_n_tokens(self.vocabulary()) }) as u32
    }

    /// Whether it can turn text into tokens and back.
    pub(crate) fn has_text(&self) -> bool {
        // SAFETY: as above.
        unsafe { sys::llama_vocab_type(self.vocabulary()) != sys::LLAMA_VOCAB_TYPE_NONE }
    }

    /// Whether generation ends with this token.
    pub(crate) fn is_end(&self, token: Token) -> bool {
        // SAFETY: as above; the library looks the token up in a set.
        unsafe { sys::llama_vocab_is_eog(self.vocabulary(), token) }
    }

    /// Text as tokens. `special`: with the model's first token, where it wants one; `markup`:
    /// names of control tokens in the text become these tokens.
    pub(crate) fn tokenize(&self, text: &str, special: bool, markup: bool) -> Option<Vec<Token>> {
        if !self.has_text() {
            return None;
        }
        let mut tokens: Vec<Token> = vec![0; text.len() + 8];
        for _ in 0..2 {
            // SAFETY: both buffers live during the call and are as long as it is told.
            let count = unsafe {
                sys::llama_tokenize(
                    self.vocabulary(),
                    text.as_ptr().cast(),
                    i32::try_from(text.len()).ok()?,
                    tokens.as_mut_ptr(),
                    i32::try_from(tokens.len()).ok()?,
                    special,
                    markup,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                tokens.truncate(count);
                return Some(tokens);
            }
            tokens.resize(count.unsigned_abs() as usize, 0);
        }
        None
    }

    /// Bytes of a token's text; empty for control tokens. Not always whole characters.
    pub(crate) fn piece(&self, token: Token) -> Vec<u8> {
        if !self.has_text() {
            return Vec::new();
        }
        let mut bytes = vec![0_u8; 64];
        for _ in 0..2 {
            // SAFETY: the buffer lives during the call and is as long as it is told.
            let count = unsafe {
                sys::llama_token_to_piece(
                    self.vocabulary(),
                    token,
                    bytes.as_mut_ptr().cast(),
                    bytes.len() as i32,
                    0,
                    false,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                bytes.truncate(count);
                return bytes;
            }
            bytes.resize(count.unsigned_abs() as usize, 0);
        }
        Vec::new()
    }

    /// A chat as the text that the model's own template makes of it, up to where its answer
    /// begins; none: it has no template that llama.cpp knows. Messages are (role, content).
    pub(crate) fn chat_text(&self, messages: &[(String, String)]) -> Option<String> {
        // SAFETY: the model is loaded; its template lives as long as it.
        let template = unsafe { sys::llama_model_chat_template(self.as_ptr(), std::ptr::null()) };
        if template.is_null() {
            return None;
        }
        let strings: Vec<(CString, CString)> = messages
            .iter()
            .map(|(role, content)| Some((c_string(role)?, c_string(content)?)))
            .collect::<Option<_>>()?;
        let chat: Vec<sys::llama_chat_message> = strings
            .iter()
            .map(|(role, content)| sys::llama_chat_message {
                role: role.as_ptr(),
                content: content.as_ptr(),
            })
            .collect();
        let letters: usize =
            messages.iter().map(|(role, content)| role.len() + content.len()).sum();
        let mut buffer = vec![0_u8; 2 * letters + 256];
        for _ in 0..2 {
            // SAFETY: the template and the messages' strings end in NUL and live during the call,
            // the buffer is as long as it is told.
            let length = unsafe {
                sys::llama_chat_apply_template(
                    template,
                    chat.as_ptr(),
                    chat.len(),
                    true,
                    buffer.as_mut_ptr().cast(),
                    i32::try_from(buffer.len()).ok()?,
                )
            };
            let length = usize::try_from(length).ok()?;
            if length <= buffer.len() {
                buffer.truncate(length);
                return String::from_utf8(buffer).ok();
            }
            buffer.resize(length, 0);
        }
        None
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: contexts hold the model in an `Arc`, so that none is left.
        unsafe { sys::llama_model_free(self.as_ptr()) };
    }
}

fn positive(count: i32) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Text for C; a NUL byte would end it early.
fn c_string(text: &str) -> Option<CString> {
    CString::new(text).ok()
}
