//! Model files: nothing panics, errors have words, and tensors lie inside the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_gguf::Model;

fuzz_target!(|bytes: &[u8]| {
    let file_bytes = bytes.len() as u64;
    match Model::read(bytes, file_bytes) {
        Ok(model) => {
            for tensor in &model.tensors {
                let begin = model.weights_offset + tensor.offset;
                assert!(begin + tensor.bytes <= file_bytes);
                assert!(model.tensor(&tensor.name).is_some());
            }
            let summary = model.summary();
            assert!(summary.weight_bytes <= file_bytes);
            assert!(summary.step_bytes.is_none_or(|bytes| bytes <= summary.weight_bytes));
        }
        Err(error) => assert!((1..4096).contains(&error.to_string().len())),
    }
});
