//! The target: its endpoints with their addresses, what goes into each request's head, and the
//! secrets that must not come out again.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use loadline_clock::monotonic_ns;
use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::Api;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::endpoint::{Endpoint, EndpointError, Transport};
use crate::keep_alive::KeepAlive;
use crate::socket::Address;
use crate::tls::{TlsError, client_config};

/// How to reach the target, before any look-up.
#[derive(Debug, Clone, Default)]
pub struct TargetSettings<'a> {
    /// URLs.
    pub urls: &'a [String],
    /// Additional header lines (name, value).
    pub headers: Vec<(String, String)>,
    /// Key, sent as `Authorization: Bearer`.
    pub api_key: Option<String>,
    /// PEM file of CA certificates to trust beside the system's.
    pub ca_file: Option<&'a Path>,
    /// Do not check certificates.
    pub insecure: bool,
    /// Limit for the first connection, ns.
    pub connect_timeout_ns: u64,
}

/// An endpoint whose name was looked up and which took a connection.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The URL, taken apart.
    pub endpoint: Endpoint,
    /// The address that took the first connection.
    pub address: Address,
    /// Name for the certificate, where the connection is encrypted.
    pub server_name: Option<ServerName<'static>>,
    /// Time of the name look-up, ns; absent where no name had to be looked up.
    pub dns_ns: Option<u64>,
    /// Whether it keeps connections open, as learned so far.
    pub keep_alive: KeepAlive,
    /// Header lines common to all requests, from `Host` on.
    pub(crate) head_lines: String,
}

/// Everything that a connection to the target needs. Cheap to clone.
#[derive(Clone)]
pub struct Target {
    /// Endpoints in rotation, never empty.
    pub endpoints: Arc<[Resolved]>,
    /// TLS settings; absent when no endpoint is encrypted.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    secrets: Arc<[String]>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.endpoints.iter().map(|one| &one.endpoint)).finish()
    }
}

/// Why the target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A URL that names no endpoint.
    #[error(transparent)]
    Url(#[from] EndpointError),
    /// TLS settings.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A header line that cannot be sent.
    #[error("header '{name}' cannot be sent: {why}")]
    Header {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// Nothing answers there.
    #[error("cannot reach {endpoint}: {why}")]
    Unreachable {
        /// The endpoint, without secrets.
        endpoint: String,
        /// What kind of error it is.
        kind: ErrorKind,
        /// Why, and what to do.
        why: String,
    },
    /// No URL was given.
    #[error("no endpoint was given")]
    Empty,
}

impl Target {
    /// Looks every endpoint up and connects to it once.
    ///
    /// # Errors
    /// A URL or header that cannot be used, unusable TLS settings, or an endpoint that takes no
    /// connection.
    pub fn resolve(settings: &TargetSettings<'_>) -> Result<Self, TargetError> {
        let endpoints =
            settings.urls.iter().map(|url| Endpoint::parse(url)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(TargetError::Empty);
        }
        let tls = endpoints
            .iter()
            .any(Endpoint::is_tls)
            .then(|| client_config(settings.ca_file, settings.insecure))
            .transpose()?;
        let mut secrets: Vec<String> = settings.api_key.iter().cloned().collect();
        secrets.extend(endpoints.iter().filter_map(|one| one.basic_auth().map(str::to_owned)));
        secrets.extend(
            settings.headers.iter().filter(|(name, _)| is_secret(name)).map(|h| h.1.clone()),
        );
        let endpoints = endpoints
            .into_iter()
            .map(|endpoint| resolve_one(endpoint, settings))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { endpoints: endpoints.into(), tls, secrets: secrets.into() })
    }

    /// Replaces every secret of this target in a text of the server's or the system's.
    pub fn masked(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|secret| secret.len() >= 4);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// Start of a POST to an endpoint, up to and with `Content-Length: `.
    pub(crate) fn post_head(&self, endpoint: usize, api: Api) -> Vec<u8> {
        let one = &self.endpoints[endpoint];
        let path = one.endpoint.path(api_path(api));
        format!(
            "POST {path} HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: ",
            one.head_lines
        )
        .into_bytes()
    }
}

/// Path of an API dialect.
pub fn api_path(api: Api) -> &'static str {
    match api {
        Api::Chat => "/v1/chat/completions",
        Api::Completions => "/v1/completions",
    }
}

/// Whether a header's value is taken for a secret: not stored, not shown.
pub fn is_secret(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    ["authorization", "key", "token", "secret", "cookie", "password"]
        .iter()
        .any(|part| name.contains(part))
}

fn resolve_one(endpoint: Endpoint, settings: &TargetSettings<'_>) -> Result<Resolved, TargetError> {
    let head_lines = head_lines(&endpoint, settings)?;
    let keep_alive = KeepAlive::default();
    let timeout = Duration::from_nanos(settings.connect_timeout_ns);
    let (host, port, tls) = match &endpoint.transport {
        Transport::Unix(path) => {
            let address = Address::Unix(path.clone());
            UnixStream::connect(path).map_err(|error| unreachable(&endpoint, &error))?;
            return Ok(Resolved {
                endpoint,
                address,
                server_name: None,
                dns_ns: None,
                keep_alive,
                head_lines,
            });
        }
        Transport::Tcp { host, port, tls } => (host.as_str(), *port, *tls),
    };
    let begin = monotonic_ns();
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| TargetError::Unreachable {
            endpoint: endpoint.to_string(),
            kind: ErrorKind::Dns,
            why: format!("the name '{host}' cannot be looked up ({error}); check its spelling"),
        })?
        .collect();
    let is_name = host.parse::<std::net::IpAddr>().is_err();
    let dns_ns = is_name.then(|| monotonic_ns() - begin);
    let address = first_that_connects(&endpoint, &addresses, timeout)?;
    let server_name = if tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TargetError::Unreachable {
            endpoint: endpoint.to_string(),
            kind: ErrorKind::Tls,
            why: format!("'{host}' is not a name that a certificate can hold"),
        })?;
        Some(name)
    } else {
        None
    };
    Ok(Resolved {
        endpoint,
        address: Address::Ip(address),
        server_name,
        dns_ns,
        keep_alive,
        head_lines,
    })
}

fn first_that_connects(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    timeout: Duration,
) -> Result<SocketAddr, TargetError> {
    let mut last = std::io::Error::other("its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, timeout) {
            Ok(_) => return Ok(*address),
            Err(error) => last = error,
        }
    }
    Err(unreachable(endpoint, &last))
}

fn unreachable(endpoint: &Endpoint, error: &std::io::Error) -> TargetError {
    use std::io::ErrorKind as Io;
    let (kind, advice) = match error.kind() {
        Io::ConnectionRefused => {
            (ErrorKind::ConnectRefused, "is the server running, and on this port?")
        }
        Io::TimedOut => {
            (ErrorKind::ConnectTimeout, "does a firewall drop it? --connect-timeout sets the limit")
        }
        Io::NotFound => (ErrorKind::ConnectRefused, "there is no such socket"),
        Io::PermissionDenied => (ErrorKind::ConnectRefused, "this user may not connect to it"),
        _ => (ErrorKind::ConnectRefused, "check the address and the network"),
    };
    let why = format!("{error}; {advice}");
    TargetError::Unreachable { endpoint: endpoint.to_string(), kind, why }
}

fn head_lines(endpoint: &Endpoint, settings: &TargetSettings<'_>) -> Result<String, TargetError> {
    let mut lines = format!("Host: {}\r\n", endpoint.authority);
    let given =
        |name: &str| settings.headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
    let defaults = [
        ("User-Agent", concat!("loadline/", env!("CARGO_PKG_VERSION"))),
        ("Accept", "text/event-stream, application/json"),
    ];
    for (name, value) in defaults {
        if !given(name) {
            push_line(&mut lines, name, value)?;
        }
    }
    push_line(&mut lines, "Accept-Encoding", "identity")?;
    if !given("Authorization") {
        if let Some(key) = &settings.api_key {
            push_line(&mut lines, "Authorization", &format!("Bearer {key}"))?;
        } else if let Some(basic) = endpoint.basic_auth() {
            push_line(&mut lines, "Authorization", basic)?;
        }
    }
    for (name, value) in &settings.headers {
        const OURS: [&str; 6] = [
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "accept-encoding",
            "expect",
        ];
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            let why = "Loadline sets it itself";
            return Err(TargetError::Header { name: name.clone(), why });
        }
        push_line(&mut lines, name, value)?;
    }
    Ok(lines)
}

fn push_line(lines: &mut String, name: &str, value: &str) -> Result<(), TargetError> {
    let fail = |why| Err(TargetError::Header { name: name.to_owned(), why });
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return fail("that is not a header name");
    }
    if http::HeaderValue::from_str(value).is_err() {
        return fail("its value holds a line break or another character that HTTP does not allow");
    }
    lines.push_str(name);
    lines.push_str(": ");
    lines.push_str(value);
    lines.push_str("\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(headers: &[(&str, &str)], key: Option<&str>) -> Result<String, TargetError> {
        let settings = TargetSettings {
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            api_key: key.map(str::to_owned),
            ..TargetSettings::default()
        };
        head_lines(&Endpoint::parse("http://u:p@h:1").expect("valid"), &settings)
    }

    #[test]
    fn head_has_what_every_request_needs() {
        let text = lines(&[("X-A", "b")], Some("k")).expect("valid");
        assert!(text.starts_with("Host: h:1\r\nUser-Agent: loadline/"), "{text}");
        assert!(text.contains("\r\nAccept-Encoding: identity\r\n"));
        assert!(text.contains("\r\nAuthorization: Bearer k\r\n"));
        assert!(text.ends_with("\r\nX-A: b\r\n"));
    }

    #[test]
    fn own_headers_and_broken_ones_are_refused() {
        assert!(lines(&[("Content-Length", "1")], None).is_err());
        assert!(lines(&[("a b", "1")], None).is_err());
        assert!(lines(&[("a", "1\r\nb: 2")], None).is_err());
        assert!(
            lines(&[("Authorization", "x")], Some("k"))
                .expect("valid")
                .contains("Authorization: x")
        );
    }

    #[test]
    fn a_closed_port_is_named_with_advice() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        drop(listener);
        let urls = [url.clone()];
        let settings =
            TargetSettings { urls: &urls, connect_timeout_ns: 1_000_000_000, ..Default::default() };
        let message = Target::resolve(&settings).expect_err("closed").to_string();
        assert!(message.contains(&url) && message.contains("is the server running"), "{message}");
    }

    #[test]
    fn secrets_are_masked_in_texts() {
        let target = Target {
            endpoints: Vec::new().into(),
            tls: None,
            secrets: vec!["sk-12345".to_owned()].into(),
        };
        assert_eq!(target.masked("bad key sk-12345!"), "bad key ***!");
        assert!(is_secret("X-Api-Key") && is_secret("Authorization") && !is_secret("X-Trace"));
    }
}
