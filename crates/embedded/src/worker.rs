//! The measuring child: requests in, replies out, one JSON line each.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use loadline_schema::engine_protocol::{Reply, Request};

use crate::error::Error;
use crate::facts::facts;
use crate::llama::Model;
use crate::measure::measure;
use crate::memory::{self, Roots};

/// Answers requests until the input ends. A request that fails is answered by `failed`, and the
/// next one is taken.
///
/// # Errors
///
/// Only when the pipes to the parent break.
pub fn worker(input: impl BufRead, mut output: impl Write) -> Result<(), Error> {
    let roots = Roots::default();
    let mut open = None;
    for line in input.lines() {
        let line = line.map_err(Error::Pipe)?;
        if line.trim().is_empty() {
            continue;
        }
        let done = serde_json::from_str(&line)
            .map_err(Error::Request)
            .and_then(|request| answer(request, &mut open, &roots, &mut output));
        match done {
            Ok(()) => {}
            Err(error @ (Error::Pipe(_) | Error::Reply(_))) => return Err(error),
            Err(error) => tell(&mut output, &Reply::Failed { message: error.to_string() })?,
        }
    }
    Ok(())
}

/// The open model.
struct Open {
    model: Arc<Model>,
    path: PathBuf,
    mmap: bool,
    gpu_layers: u32,
}

impl Open {
    fn load(path: PathBuf, mmap: bool, gpu_layers: u32, roots: &Roots) -> Result<Self, Error> {
        memory::model_fits(roots, &path, gpu_layers)?;
        let model = Arc::new(Model::load(&path, mmap, gpu_layers)?);
        Ok(Self { model, path, mmap, gpu_layers })
    }
}

fn answer(
    request: Request,
    open: &mut Option<Open>,
    roots: &Roots,
    output: &mut impl Write,
) -> Result<(), Error> {
    match request {
        Request::Open { model, mmap, gpu_layers } => {
            // The old weights must be gone before the new ones come.
            *open = None;
            let opened = Open::load(model.into(), mmap, gpu_layers, roots)?;
            let facts = facts(&opened.model, &opened.path, &roots.proc);
            *open = Some(opened);
            tell(output, &Reply::Opened { facts: Box::new(facts) })
        }
        Request::Measure { cell, trials } => {
            let mut opened = open.take().ok_or(Error::NoModel)?;
            if opened.gpu_layers != cell.gpu_layers {
                let Open { model, path, mmap, .. } = opened;
                drop(model);
                opened = Open::load(path, mmap, cell.gpu_layers, roots)?;
            }
            let opened = open.insert(opened);
            measure(&opened.model, &cell, trials, roots, |index, trial| {
                tell(output, &Reply::Trial { index, trial })
            })?;
            tell(output, &Reply::Done)
        }
    }
}

/// Writes a reply and flushes it: the parent waits for it.
fn tell(output: &mut impl Write, reply: &Reply) -> Result<(), Error> {
    let mut line = serde_json::to_vec(reply).map_err(Error::Reply)?;
    line.push(b'\n');
    output.write_all(&line).and_then(|()| output.flush()).map_err(Error::Pipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(input: &str) -> Vec<Reply> {
        let mut output = Vec::new();
        worker(input.as_bytes(), &mut output).expect("the pipes hold");
        let text = String::from_utf8(output).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("a reply")).collect()
    }

    fn message(reply: &Reply) -> &str {
        match reply {
            Reply::Failed { message } => message,
            other => panic!("not a failure: {other:?}"),
        }
    }

    #[test]
    fn failures_do_not_end_it() {
        let input = concat!(
            "{\"ask\":\"dance\"}\n",
            "\n",
            r#"{"ask":"open","model":"/nowhere/m.gguf","mmap":true}"#,
            "\n",
            r#"{"ask":"measure","cell":{"batch":1,"context":0,"prompt_tokens":1,"output_tokens":1,"threads":1,"gpu_layers":0,"n_batch":1,"n_ubatch":1,"flash_attention":"auto","type_k":"f16","type_v":"f16"},"trials":1}"#,
            "\n",
        );
        let replies = replies(input);
        assert_eq!(replies.len(), 3);
        assert!(message(&replies[0]).starts_with("request line: "));
        assert!(message(&replies[1]).contains("/nowhere/m.gguf: No such file"));
        assert!(message(&replies[2]).starts_with("no model is open"));
    }

    #[test]
    fn a_file_that_is_no_model_is_told_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, b"this is no model at all").expect("a file");
        let request =
            Request::Open { model: path.display().to_string(), mmap: true, gpu_layers: 0 };
        let replies = replies(&serde_json::to_string(&request).expect("a line"));
        let message = message(&replies[0]);
        assert!(message.contains("magic"), "{message}");
    }
}
