//! One URL of the target, taken apart once: where to connect, what to say in the head, what to show.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;

/// How to reach an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// A unix socket (`unix:/path/to/socket`).
    Unix(PathBuf),
}

/// An endpoint of the target. With or without `/v1`, or with the whole path of an API call: all
/// mean the same server.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// How to reach it.
    pub transport: Transport,
    /// `Host` header.
    pub authority: String,
    /// Path before `/v1`, without a slash at the end; mostly empty.
    pub base_path: String,
    /// Query appended to each path, with its `?`; mostly empty. May hold a key.
    query: String,
    /// `Authorization` from a user name and password in the URL.
    basic_auth: Option<String>,
}

/// A URL that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{url}' is not the address of a server: {why}")]
pub struct EndpointError {
    url: String,
    why: String,
}

/// What an API call's path may end with, longest first: the user may have copied it whole.
const API_PATHS: [&str; 4] = ["/v1/chat/completions", "/v1/completions", "/v1/models", "/v1"];

/// Server and path of a page's URL, the path exactly as it was written.
pub fn split_page(url: &str) -> (&str, &str) {
    if url.starts_with("unix:") {
        return (url, "");
    }
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    url.split_at(path)
}

impl Endpoint {
    /// Understands `http://host:port[/prefix][/v1]`, `https://…`, `host:port` and `unix:/path`.
    ///
    /// # Errors
    /// When there is no host, the port is not a number, or the scheme is another one.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let fail = |why: &str| EndpointError { url: mask_url(url), why: why.to_owned() };
        let text = url.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.trim_start_matches("//");
            if path.is_empty() {
                return Err(fail("unix: needs the path of a socket, as in unix:/run/server.sock"));
            }
            return Ok(Self {
                transport: Transport::Unix(PathBuf::from(path)),
                authority: "localhost".to_owned(),
                base_path: String::new(),
                query: String::new(),
                basic_auth: None,
            });
        }
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: http::Uri =
            full.parse().map_err(|_| fail("expected something like http://host:8000"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(fail("only http://, https:// and unix: are spoken")),
        };
        let authority = uri.authority().ok_or_else(|| fail("it names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(fail("it names no host"));
        }
        let (user, host_and_port) = match authority.as_str().rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, authority.as_str()),
        };
        let after_host = &host_and_port[host_and_port.rfind(']').map_or(0, |at| at + 1)..];
        if after_host.contains(':') && authority.port_u16().is_none() {
            return Err(fail("the port is not a number from 0 to 65535"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            transport: Transport::Tcp { host, port, tls },
            authority: host_and_port.to_owned(),
            base_path: base_path(uri.path()),
            query: uri.query().map(|query| format!("?{query}")).unwrap_or_default(),
            basic_auth: user.map(|user| {
                let plain = percent_decoded(user);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
            }),
        })
    }

    /// Path of an API call, such as `/v1/chat/completions`, on this endpoint.
    pub fn path(&self, call: &str) -> String {
        format!("{}{call}{}", self.base_path, self.query)
    }

    /// `Authorization` that the URL itself carries.
    pub fn basic_auth(&self) -> Option<&str> {
        self.basic_auth.as_deref()
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tcp { tls: true, .. })
    }

    /// Whether the address is this machine's or in a private range, as far as its text tells; a
    /// name other than `localhost` is not.
    pub fn is_private(&self) -> bool {
        let host = match &self.transport {
            Transport::Unix(_) => return true,
            Transport::Tcp { host, .. } => host,
        };
        match host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(ip)) => {
                ip.is_loopback() || ip.is_private() || ip.is_link_local()
            }
            Ok(std::net::IpAddr::V6(ip)) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        }
    }
}

/// The endpoint without secrets, as it is shown and stored.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Unix(path) => write!(f, "unix:{}", path.display()),
            Transport::Tcp { tls, .. } => {
                let scheme = if *tls { "https" } else { "http" };
                let user = if self.basic_auth.is_some() { "***@" } else { "" };
                let query = if self.query.is_empty() { "" } else { "?***" };
                write!(f, "{scheme}://{user}{}{}{query}", self.authority, self.base_path)
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

fn base_path(path: &str) -> String {
    let path = path.trim_end_matches('/');
    let base = API_PATHS.iter().find_map(|call| path.strip_suffix(call)).unwrap_or(path);
    base.trim_end_matches('/').to_owned()
}

/// A URL as it may be shown: user, password and query values replaced.
pub fn mask_url(url: &str) -> String {
    let (start, rest) =
        url.split_once("://").map_or(("", url), |(scheme, rest)| (&url[..scheme.len() + 3], rest));
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{start}***@{host}{path}{query}"),
        None => format!("{start}{host}{path}{query}"),
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(url: &str) -> (String, u16, bool, String) {
        let endpoint = Endpoint::parse(url).expect("valid");
        match endpoint.transport {
            Transport::Tcp { host, port, tls } => (host, port, tls, endpoint.base_path),
            Transport::Unix(_) => panic!("not TCP"),
        }
    }

    #[test]
    fn all_spellings_mean_the_same_server() {
        let expected = ("gpu1".to_owned(), 8000, false, String::new());
        for url in [
            "http://gpu1:8000",
            "http://gpu1:8000/",
            "http://gpu1:8000/v1",
            "http://gpu1:8000/v1/",
            "http://gpu1:8000/v1/chat/completions",
            "http://gpu1:8000/v1/models",
            "gpu1:8000",
        ] {
            assert_eq!(tcp(url), expected, "{url}");
        }
        assert_eq!(tcp("https://a.b/llm/v1"), ("a.b".to_owned(), 443, true, "/llm".to_owned()));
        assert_eq!(tcp("http://[::1]:80/x").0, "::1");
    }

    #[test]
    fn paths_keep_prefix_and_query() {
        let endpoint = Endpoint::parse("https://h/a/v1?api-version=2").expect("valid");
        assert_eq!(endpoint.path("/v1/models"), "/a/v1/models?api-version=2");
        assert_eq!(endpoint.authority, "h");
    }

    #[test]
    fn secrets_are_not_shown() {
        let endpoint = Endpoint::parse("http://me:s%40cret@h:1/v1?key=abc").expect("valid");
        assert_eq!(endpoint.to_string(), "http://***@h:1?***");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(http://***@h:1?***)");
        assert_eq!(endpoint.basic_auth(), Some("Basic bWU6c0BjcmV0"));
        assert_eq!(mask_url("ftp://u:p@h/x?k=v"), "ftp://***@h/x?***");
    }

    #[test]
    fn unix_sockets_and_private_ranges() {
        let unix = Endpoint::parse("unix:/run/s.sock").expect("valid");
        assert_eq!(unix.transport, Transport::Unix("/run/s.sock".into()));
        assert!(unix.is_private());
        for (url, private) in [
            ("http://127.0.0.1:1", true),
            ("http://10.1.2.3", true),
            ("http://[fd00::1]", true),
            ("localhost:8000", true),
            ("http://8.8.8.8", false),
            ("https://api.example.com", false),
        ] {
            assert_eq!(Endpoint::parse(url).expect("valid").is_private(), private, "{url}");
        }
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, part) in [
            ("ftp://h", "only http://"),
            ("http://", "is not the address"),
            ("http://h:99999", "port"),
            ("http://h:x", "the port is not a number"),
            ("unix:", "path of a socket"),
            ("", "is not the address"),
        ] {
            let message = Endpoint::parse(url).expect_err(url).to_string();
            assert!(message.contains(part), "{url}: {message}");
        }
    }

    #[test]
    fn a_path_stays_as_it_was_written() {
        assert_eq!(split_page("http://h:8000"), ("http://h:8000", ""));
        assert_eq!(split_page("http://h:8000/metrics/"), ("http://h:8000", "/metrics/"));
        assert_eq!(split_page("h:1/v1?key=a"), ("h:1", "/v1?key=a"));
        assert_eq!(split_page("http://h?a"), ("http://h", "?a"));
        assert_eq!(split_page("unix:/run/s"), ("unix:/run/s", ""));
    }
}
