//! How an operation can end, and why: seven outcomes, and the kinds of error that lead to them.

/// A `Copy` enum with a fixed spelling for files, tables and the command line.
macro_rules! spelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling used in files, tables and flags.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value with this spelling, or `None`.
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use spelled;

spelled! {
    /// How an operation ended. An *attempt* is an operation whose outcome is `ok`, `failed`,
    /// `timed_out`, `cut_short` or `dropped`.
    Outcome {
        /// A complete, understood answer.
        Ok = "ok",
        /// A bad answer or none: refused, an error status, unreadable, the connection was lost
        /// before the answer began.
        Failed = "failed",
        /// No end within a time limit.
        TimedOut = "timed_out",
        /// The answer began and ended early.
        CutShort = "cut_short",
        /// We stopped it (Ctrl-C, the run was stopped).
        Cancelled = "cancelled",
        /// Due, and never sent.
        Dropped = "dropped",
        /// Started, and still open when the client was killed. Never stored: counted as started
        /// minus recorded.
        Unknown = "unknown",
    }
}

impl Outcome {
    /// Whether this outcome belongs to the denominator of attainment.
    pub const fn is_attempt(self) -> bool {
        !matches!(self, Self::Cancelled | Self::Unknown)
    }
}

spelled! {
    /// Why an operation did not end `ok`.
    ErrorKind {
        /// The host name could not be resolved.
        Dns = "dns",
        /// The port is closed, or the network or the local ports said no.
        ConnectRefused = "connect_refused",
        /// No connection within the connect limit.
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake failed (certificate, protocol).
        Tls = "tls",
        /// A reused connection was closed before any byte of the answer.
        StaleConnection = "stale_connection",
        /// The connection was reset.
        Reset = "reset",
        /// The connection was closed before the answer's head.
        EofBeforeHeaders = "eof_before_headers",
        /// Status 400–499 but 429.
        Http4xx = "http_4xx",
        /// Status 429: too many requests.
        Http429 = "http_429",
        /// Status 500–599.
        Http5xx = "http_5xx",
        /// A good status, and not an event stream nor the API's JSON.
        NotSse = "not_sse",
        /// A chunk that is not the API's JSON.
        BadJson = "bad_json",
        /// The HTTP framing itself could not be read.
        BadHttp = "bad_http",
        /// An error object inside the stream.
        ServerErrorEvent = "server_error_event",
        /// No first token within its limit.
        FirstTokenTimeout = "first_token_timeout",
        /// Too long between two tokens.
        GapTimeout = "gap_timeout",
        /// No end of the answer within the total limit.
        TotalTimeout = "total_timeout",
        /// The connection was closed inside the answer, or the stream ended without a finish.
        EofMidStream = "eof_mid_stream",
        /// A redirect, which is not followed.
        Redirect = "redirect",
        /// A content encoding that was not asked for.
        Encoding = "encoding",
        /// The limit of requests in flight was reached when it was due.
        InFlightLimit = "in_flight_limit",
        /// The trial ended before it could start.
        TrialEnded = "trial_ended",
    }
}

spelled! {
    /// Which part of a trial an operation's intended time lies in.
    Phase {
        /// Before the measure window.
        WarmUp = "warm_up",
        /// In the measure window: the cohort.
        Measure = "measure",
        /// After the window, keeping the load up until the cohort has ended.
        Drain = "drain",
    }
}

spelled! {
    /// Where arrival times come from.
    TimestampSource {
        /// The kernel's receive stamp of the read's last byte (`SO_TIMESTAMPNS`).
        KernelRx = "kernel_rx",
        /// The clock read after the read returned.
        User = "user",
        /// Some reads of this answer had one, some the other.
        Mixed = "mixed",
    }
}

spelled! {
    /// Where a token count comes from.
    TokenSource {
        /// The server's `usage`.
        Usage = "usage",
        /// The server's `/tokenize` over the text.
        Tokenize = "tokenize",
        /// The number of token-bearing events: a lower bound where events carry several.
        Chunks = "chunks",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_round_trips() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_text(outcome.as_str()), Some(*outcome));
        }
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_text(kind.as_str()), Some(*kind));
            let json = serde_json::to_string(kind).expect("serialises");
            assert_eq!(json, format!("\"{kind}\""));
        }
        assert_eq!(Outcome::from_text("fine"), None);
    }
}
