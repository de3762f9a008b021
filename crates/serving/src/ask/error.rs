//! Why a control request failed, in words for people: what, where, and what to do about it.

use std::io;

use loadline_schema::outcome::ErrorKind;
use rustls::{CertificateError, Error as Tls};

use crate::answer::Failure;
use crate::endpoint::{Endpoint, Transport};
use crate::target::Target;

/// A request beside the load that failed. Secrets of the target are masked in every text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {url}: {why}")]
pub struct AskError {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// HTTP method.
    pub method: &'static str,
    /// What was asked, without secrets and query.
    pub url: String,
    /// What happened and what to do.
    pub why: String,
    /// HTTP status, where an answer's head came.
    pub status: Option<u16>,
}

/// A failure before it is known which request it belongs to.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: ErrorKind,
    pub(super) why: String,
    pub(super) status: Option<u16>,
}

impl Trouble {
    pub(super) fn new(kind: ErrorKind, why: String) -> Self {
        Self { kind, why, status: None }
    }

    /// The failure of an answer, with what to do where that is known.
    pub(super) fn of_answer(failure: &Failure, endpoint: &Endpoint) -> Self {
        let kind = ErrorKind::from_text(failure.kind.as_str())
            .expect("invariant: every kind of failure is a kind of error");
        let why = if wants_tls(&failure.detail) && !endpoint.is_tls() {
            format!("the server wants TLS: use {}", other_scheme(endpoint))
        } else if kind == ErrorKind::Redirect {
            format!("redirects are not followed; it points to {}: use that address", failure.detail)
        } else if let (Some(said), Some(status)) = (failure.server_message(), failure.status) {
            format!("HTTP status {status}: {said}")
        } else {
            failure.detail.clone()
        };
        Self { kind, why, status: failure.status }
    }

    pub(super) fn at(
        self,
        target: &Target,
        endpoint: usize,
        method: &'static str,
        path: &str,
    ) -> AskError {
        let Self { kind, why, status } = self;
        let endpoint = &target.endpoints[endpoint].endpoint;
        let why = match kind {
            ErrorKind::Tls if why == PLAIN_HTTP => {
                format!("the server speaks plain HTTP on this port: use {}", other_scheme(endpoint))
            }
            _ if matches!(status, Some(401 | 403)) => format!(
                "{}; put the right key into an environment variable and name that with --api-key-env NAME",
                target.masked(&why)
            ),
            _ => target.masked(&why),
        };
        let url = target.masked(&shown_url(endpoint, path));
        AskError { kind, method, url, why, status }
    }
}

/// Endpoint and path as they are shown: the query may hold a key and is left out.
pub(super) fn shown_url(endpoint: &Endpoint, path: &str) -> String {
    let base = endpoint.to_string();
    format!("{}{path}", base.strip_suffix("?***").unwrap_or(&base))
}

/// The same address with the other of `http` and `https`.
fn other_scheme(endpoint: &Endpoint) -> String {
    let scheme = match endpoint.transport {
        Transport::Tcp { tls: true, .. } => "http",
        _ => "https",
    };
    format!("{scheme}://{}{}", endpoint.authority, endpoint.base_path)
}

/// Whether an answer's failure means that plain HTTP was spoken to a port with TLS: by the first
/// byte of an alert, or in the words of nginx, Go and Apache.
fn wants_tls(detail: &str) -> bool {
    const SIGNS: [&str; 4] = [
        "the server answers in TLS",
        "HTTP request was sent to HTTPS port",
        "HTTP request to an HTTPS server",
        "plain HTTP to an SSL-enabled server port",
    ];
    SIGNS.iter().any(|sign| detail.contains(sign))
}

/// Marks a server that answered the TLS greeting in plain HTTP, until the address is known.
const PLAIN_HTTP: &str = "plain HTTP";

/// Why a handshake failed. `first` are the first bytes that the server sent.
pub(super) fn handshake_trouble(error: &io::Error, first: &[u8]) -> Trouble {
    if error.kind() == io::ErrorKind::TimedOut {
        let why = "the server left the TLS greeting unanswered; if it speaks plain HTTP on this port, \
                   use http://";
        return Trouble::new(ErrorKind::ConnectTimeout, why.to_owned());
    }
    if first.starts_with(b"HTTP/") {
        return Trouble::new(ErrorKind::Tls, PLAIN_HTTP.to_owned());
    }
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    let why = match tls {
        Some(Tls::InvalidCertificate(certificate)) => certificate_words(certificate),
        Some(other) => format!("the TLS handshake failed: {other}"),
        None if first.is_empty() => format!(
            "the server closed the connection in the TLS handshake ({error}); if it speaks plain \
             HTTP on this port, use http://"
        ),
        None => format!("the TLS handshake failed: {error}"),
    };
    Trouble::new(ErrorKind::Tls, why)
}

fn certificate_words(error: &CertificateError) -> String {
    const UNKNOWN: &str = "the server's certificate is of no authority that this machine knows: \
                           name its authority with --cacert FILE, or use --insecure to check nothing";
    match error {
        CertificateError::UnknownIssuer => UNKNOWN.to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the server's certificate is for another name ({error}): use that name in the \
                 address, or --insecure to check nothing"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the server's certificate has expired ({error}): renew it, or use --insecure to check \
             nothing"
        ),
        other => format!(
            "the server's certificate is not accepted ({other}): if its authority is your own, name \
             it with --cacert FILE; --insecure checks nothing"
        ),
    }
}
