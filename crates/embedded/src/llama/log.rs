//! llama.cpp's log: nothing of it is printed; the last warnings and errors are kept to say why
//! something failed.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llama_cpp_sys_2 as sys;

/// Lines that are kept.
const KEPT: usize = 20;

static LOG: Mutex<Log> = Mutex::new(Log { lines: VecDeque::new(), told: 0, open: false });

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Warning,
    Error,
}

/// The last lines.
struct Log {
    lines: VecDeque<(Level, String)>,
    /// Lines told since the start.
    told: u64,
    /// Whether the last line of the library was kept and goes on.
    open: bool,
}

impl Log {
    fn add(&mut self, level: Option<Level>, text: &str) {
        self.open = level.is_some();
        let Some(level) = level else { return };
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((level, text.trim_end().to_owned()));
        self.told += 1;
    }

    fn go_on(&mut self, text: &str) {
        if let (true, Some((_, line))) = (self.open, self.lines.back_mut()) {
            line.push_str(text.trim_end());
        }
    }

    /// The first error after `mark`, else the last warning, without the function that tells it.
    fn reason(&self, mark: u64) -> Option<String> {
        let new = usize::try_from(self.told - mark).unwrap_or(usize::MAX).min(self.lines.len());
        let lines = || self.lines.iter().skip(self.lines.len() - new);
        let error = lines().find(|(level, _)| *level == Level::Error);
        let line = error.or_else(|| lines().next_back())?;
        Some(without_function(&line.1).to_owned())
    }
}

/// `llama_model_load: error loading model: …` without its first word.
fn without_function(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, rest)) if !name.contains(' ') && name.contains('_') => rest,
        _ => line,
    }
}

fn log() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends the library's log here.
pub(super) fn keep_lines() {
    // SAFETY: the function has the signature that the library wants and needs no user data.
    unsafe { sys::llama_log_set(Some(keep), std::ptr::null_mut()) };
}

extern "C" fn keep(level: sys::ggml_log_level, pointer: *const c_char, _: *mut c_void) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: the library passes a string that ends in NUL and lives during this call.
    let text = unsafe { CStr::from_ptr(pointer) }.to_string_lossy();
    match level {
        sys::GGML_LOG_LEVEL_CONT => log().go_on(&text),
        sys::GGML_LOG_LEVEL_ERROR => log().add(Some(Level::Error), &text),
        sys::GGML_LOG_LEVEL_WARN => log().add(Some(Level::Warning), &text),
        _ => log().add(None, &text),
    }
}

/// A point in the log, for [`reason`].
pub(super) fn mark() -> u64 {
    log().told
}

/// Why a call failed: the decisive line since `mark`.
pub(super) fn reason(mark: u64) -> String {
    log().reason(mark).unwrap_or_else(|| "llama.cpp does not say why".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Log {
        Log { lines: VecDeque::new(), told: 0, open: false }
    }

    #[test]
    fn the_first_error_is_decisive() {
        let mut log = empty();
        log.add(Some(Level::Error), "old_call: old\n");
        let mark = log.told;
        log.add(Some(Level::Warning), "some_call: careful\n");
        log.add(Some(Level::Error), "gguf_init: bad magic");
        log.go_on(" 'abcd'\n");
        log.add(None, "chatter\n");
        log.go_on("more chatter\n");
        log.add(Some(Level::Error), "llama_model_load: failed\n");
        assert_eq!(log.reason(mark).as_deref(), Some("bad magic 'abcd'"));
        assert_eq!(log.reason(log.told), None);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut log = empty();
        for number in 0..100 {
            log.add(Some(Level::Warning), &format!("line {number}\n"));
        }
        assert_eq!(log.lines.len(), KEPT);
        assert_eq!(log.reason(0).as_deref(), Some("line 99"));
    }
}
