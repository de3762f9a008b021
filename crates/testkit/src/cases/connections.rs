//! Connections that end between answers. Each is about the second request of a client with one
//! slot: the first is answered well.

use std::time::Duration;

use super::{Case, Expect};
use crate::fault::{Action, Script};
use crate::sse::{Framing, Reply};

fn usual() -> Reply {
    Reply::chat(&["Hello", " there"]).usage(9, 2).done()
}

fn case(name: &'static str, script: Script, expect: Expect) -> Case {
    Case { name, script, expect }
}

/// Cases of reuse. `expect` is of the second request; the first is ok in all of them.
pub fn connections() -> Vec<Case> {
    let good = Expect::stream("Hello there", 2).usage(9, 2);
    vec![
        case(
            "stale: closed on the second request before any byte",
            vec![
                Action::ReadRequest,
                Action::Send(usual().bytes()),
                Action::ReadRequest,
                Action::Close,
            ],
            Expect::failed(&["stale_connection"], None),
        ),
        case(
            "stale: reset on the second request before any byte",
            vec![
                Action::ReadRequest,
                Action::Send(usual().bytes()),
                Action::ReadRequest,
                Action::Reset,
            ],
            Expect::failed(&["stale_connection"], None),
        ),
        case(
            "closed after each answer without saying so",
            Action::answer_once(usual().bytes()),
            // Known before the reuse when the client looks; else the second one is stale.
            good.clone(),
        ),
        case(
            "Keep-Alive: timeout=1",
            vec![
                Action::ReadRequest,
                Action::Send(usual().header("keep-alive: timeout=1").bytes()),
                Action::Pause(Duration::from_secs(1)),
                Action::Close,
            ],
            good.clone(),
        ),
        case(
            "Connection: close",
            Action::answer_once(usual().header("connection: close").bytes()),
            good.clone(),
        ),
        case(
            "Connection: close and a length",
            Action::answer_once(
                usual().framing(Framing::Length).header("Connection: close").bytes(),
            ),
            good,
        ),
    ]
}
