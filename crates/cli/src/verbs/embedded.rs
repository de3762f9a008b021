//! What the children of this program do: measure cells, or serve. They end with their parent.

use std::io::{BufReader, stdin, stdout};

use loadline_embedded::{ServeOptions, ended_by_signal_or_parent, serve};

use crate::args::EmbeddedServerArgs;
use crate::exit::{Exit, Failure};
use crate::output::print;
use crate::verbs::tied::end_with_parent;

/// Cells as the parent asks for them, until it closes the pipe.
pub(crate) fn worker() -> Result<Exit, Failure> {
    end_with_parent()?;
    loadline_embedded::worker(BufReader::new(stdin()), stdout()).map_err(Failure::internal)?;
    Ok(Exit::Ok)
}

/// A server on loopback; its URL is the one line on stdout.
pub(crate) fn server(args: &EmbeddedServerArgs) -> Result<Exit, Failure> {
    end_with_parent()?;
    let options = ServeOptions {
        name: Some(args.name.clone()),
        parallel: args.parallel,
        context_per_slot: args.context_per_slot,
        threads: args.threads,
        gpu_layers: args.gpu_layers,
        every_token_visible: args.every_token_visible,
        ..ServeOptions::new(args.model.clone())
    };
    let ready = |address: std::net::SocketAddr| {
        print(&format!("http://{address}\n"));
    };
    serve(options, ended_by_signal_or_parent(), ready).map_err(Failure::internal)?;
    Ok(Exit::Ok)
}
