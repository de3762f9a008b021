//! The lines between the program and its measuring child: one JSON object each, requests down,
//! replies up, in order.

use crate::engine::{EngineCell, EngineFacts, EngineTrial};
use serde::{Deserialize, Serialize};

/// What the parent asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Load a model; one that is open is closed first. Answered by `opened` or `failed`.
    Open {
        /// The GGUF file.
        model: String,
        /// Whether its weights are mapped instead of read (`-mmp` of llama-bench).
        mmap: bool,
        /// Layers on the GPU; a cell that wants another number loads the model again.
        #[serde(default)]
        gpu_layers: u32,
    },
    /// Measure a cell. Answered by one `trial` for each trial as it ends, then `done`, or by
    /// `failed`, after which no more comes for this cell.
    Measure {
        /// The cell.
        cell: EngineCell,
        /// Trials after the warm-up.
        trials: u32,
    },
}

/// What the child answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The model is loaded.
    Opened {
        /// The engine and its model; `model.source` and `model.random_weights` are the parent's
        /// to fill in.
        facts: Box<EngineFacts>,
    },
    /// A trial ended.
    Trial {
        /// Its number in the cell, from 0.
        index: u32,
        /// What was measured.
        trial: EngineTrial,
    },
    /// All trials of the cell were told.
    Done,
    /// The request could not be fulfilled; the next one may be.
    Failed {
        /// Why.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_written() {
        let line = r#"{"ask":"open","model":"m.gguf","mmap":true}"#;
        let request: Request = serde_json::from_str(line).expect("a request");
        assert_eq!(request, Request::Open { model: "m.gguf".into(), mmap: true, gpu_layers: 0 });
        let line = r#"{"ask":"measure","cell":{"batch":1,"context":0,"prompt_tokens":128,"output_tokens":64,"threads":2,"gpu_layers":0,"n_batch":2048,"n_ubatch":512,"flash_attention":"auto","type_k":"f16","type_v":"f16"},"trials":3}"#;
        let request: Request = serde_json::from_str(line).expect("a request");
        assert_eq!(serde_json::to_string(&request).expect("a line"), line);
    }

    #[test]
    fn replies_survive_a_round_trip() {
        let replies = [
            Reply::Opened { facts: Box::default() },
            Reply::Trial {
                index: 2,
                trial: EngineTrial {
                    prompt_tokens: 128,
                    prompt_ns: Some(3),
                    steal: Some(0.25),
                    ..EngineTrial::default()
                },
            },
            Reply::Done,
            Reply::Failed { message: "no".into() },
        ];
        for reply in replies {
            let line = serde_json::to_string(&reply).expect("a line");
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Reply>(&line).expect("a reply"), reply);
        }
    }
}
