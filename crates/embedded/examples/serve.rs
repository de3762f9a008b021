//! The server by hand: `serve MODEL [ADDRESS [PARALLEL [THREADS]]]`, until SIGINT, SIGTERM or the
//! end of standard input.

use std::path::PathBuf;

use loadline_embedded::{Error, ServeOptions, ended_by_signal_or_parent, serve};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().unwrap_or_default());
    let mut options = ServeOptions::new(model);
    if let Some(address) = arguments.next().and_then(|text| text.parse().ok()) {
        options.listen = address;
    }
    let mut number = || arguments.next().and_then(|text| text.parse().ok());
    options.parallel = number().unwrap_or(4);
    options.threads = number().unwrap_or(2);
    serve(options, ended_by_signal_or_parent(), |address| {
        let mut output = std::io::stdout();
        let _ = std::io::Write::write_fmt(&mut output, format_args!("{address}\n"));
    })
}
