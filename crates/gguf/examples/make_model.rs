//! Writes a made model: `make_model PRESET_OR_SHAPE TYPE PATH`.

use std::path::Path;
use std::process::ExitCode;

use loadline_gguf::{Made, Shape, Weights};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints what it did")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, weights, path] = arguments.as_slice() else {
        eprintln!("usage: make_model PRESET_OR_SHAPE TYPE PATH");
        return ExitCode::from(2);
    };
    match make(shape, weights, Path::new(path)) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("make_model: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(shape: &str, weights: &str, path: &Path) -> Result<String, loadline_gguf::GgufError> {
    let made = Made::new(shape.parse::<Shape>()?, weights.parse::<Weights>()?)?;
    let summary = made.write(path, 1)?;
    Ok(format!("{summary:#?}"))
}
