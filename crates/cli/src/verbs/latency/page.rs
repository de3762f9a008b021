//! Pages of metrics: from a server, a file or stdin.

use std::io::Read;
use std::path::{Path, PathBuf};

use loadline_observe::prometheus::{ACCEPT, Limits, Snapshot, parse};
use loadline_schema::outcome::ErrorKind;
use loadline_serving::ask::{AskError, Reply, ask_up_to};
use loadline_serving::endpoint::{mask_url, split_page};
use loadline_serving::target::{Target, TargetError, TargetSettings};

use crate::exit::{Exit, Failure};
use crate::latency_args::ConnectionArgs;

/// Longest answer of a server. What a page may have, its parser says.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What a SOURCE means.
#[derive(Debug, PartialEq)]
pub(super) enum Source {
    Url(String),
    File(PathBuf),
    Stdin,
}

impl Source {
    /// A URL by its scheme; a file where there is one; `host:port` otherwise.
    pub(super) fn of(text: &str) -> Self {
        let is_file = Path::new(text).exists();
        let after_colon = text.rsplit_once(':').map(|(_, port)| port);
        let port = after_colon.map(|port| port.split('/').next().unwrap_or_default());
        let is_address = port.is_some_and(|port| port.parse::<u16>().is_ok());
        if text == "-" {
            Self::Stdin
        } else if text.contains("://") || text.starts_with("unix:") || (is_address && !is_file) {
            Self::Url(text.to_owned())
        } else {
            Self::File(PathBuf::from(text))
        }
    }

    /// The source for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Url(url) => mask_url(url),
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "stdin".to_owned(),
        }
    }

    /// What a saved page tells.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Failure> {
        let name = self.name();
        read_page(&self.bytes()?, &name)
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let name = self.name();
        let wrong = |error: std::io::Error| {
            let advice = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "; of a server write its URL, as in http://host:8000"
                }
                _ => "",
            };
            Failure::usage(format!("cannot read {name}: {error}{advice}"))
        };
        let source: Box<dyn Read> = match self {
            Self::File(path) if path.is_dir() => {
                return Err(Failure::usage(format!(
                    "{name} is a folder, not a saved page of metrics"
                )));
            }
            Self::File(path) => Box::new(std::fs::File::open(path).map_err(wrong)?),
            _ => Box::new(std::io::stdin().lock()),
        };
        // One byte more than a page may have: that it has too many is the parser's to say.
        let most = Limits::default().bytes as u64 + 1;
        let mut bytes = Vec::new();
        source.take(most).read_to_end(&mut bytes).map_err(wrong)?;
        Ok(bytes)
    }
}

fn read_page(bytes: &[u8], name: &str) -> Result<Snapshot, Failure> {
    let scrape = parse(bytes, None, &Limits::default())
        .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    Ok(Snapshot::of(&scrape))
}

/// A server, and the path that is asked for.
pub(super) struct Web {
    target: Target,
    path: String,
    url: String,
    timeout_ns: u64,
}

impl Web {
    /// A page's server; without a path the page is `/metrics`.
    pub(super) fn new(url: &str, connection: &ConnectionArgs) -> Result<Self, Failure> {
        let (server, path) = split_page(url);
        let path = if matches!(path, "" | "/") { "/metrics" } else { path };
        Self::at(server, path, connection, ACCEPT)
    }

    /// A server with the beginning of every path.
    pub(super) fn at(
        server: &str,
        path: &str,
        connection: &ConnectionArgs,
        accept: &str,
    ) -> Result<Self, Failure> {
        let urls = [server.to_owned()];
        let settings = TargetSettings {
            urls: &urls,
            headers: vec![("Accept".to_owned(), accept.to_owned())],
            api_key: connection.token_env.as_deref().map(token).transpose()?,
            ca_file: connection.ca_file.as_deref(),
            insecure: connection.insecure,
            connect_timeout_ns: connection.connect_timeout.0,
        };
        let target = Target::resolve(&settings).map_err(|error| {
            let exit = match error {
                TargetError::Unreachable { .. } => Exit::Unreachable,
                _ => Exit::Usage,
            };
            Failure { exit, message: error.to_string() }
        })?;
        let path = path.to_owned();
        Ok(Self { target, path, url: server.to_owned(), timeout_ns: connection.timeout.0 })
    }

    /// What is asked for, without secrets.
    pub(super) fn name(&self) -> String {
        mask_url(&format!("{}{}", self.url, self.path))
    }

    /// The page as it is now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Failure> {
        let name = self.name();
        let reply = self.get("", &name)?;
        if !reply.is_success() {
            return Err(refused(&reply, &name));
        }
        read_page(&reply.body, &name)
    }

    /// An answer of any status but 401 and 403; `name` is what is asked for, in words.
    pub(super) fn get(&self, path: &str, name: &str) -> Result<Reply, Failure> {
        let path = format!("{}{path}", self.path);
        let reply = ask_up_to(MOST_BYTES, &self.target, 0, ("GET", &path, None), self.timeout_ns)
            .map_err(|error| self.failed(&error, name))?;
        if matches!(reply.status, 401 | 403) {
            let said = reply.message.unwrap_or_else(|| format!("HTTP status {}", reply.status));
            return Err(denied(&said, name));
        }
        Ok(reply)
    }

    fn failed(&self, error: &AskError, name: &str) -> Failure {
        let why = self.target.masked(&error.why);
        if matches!(error.status, Some(401 | 403)) {
            return denied(why.split("; put the right key").next().unwrap_or(&why), name);
        }
        let exit = match error.kind {
            ErrorKind::BadHttp | ErrorKind::Redirect | ErrorKind::Encoding => Exit::Usage,
            _ => Exit::Unreachable,
        };
        Failure { exit, message: format!("{name}: {why}") }
    }
}

fn denied(said: &str, name: &str) -> Failure {
    let message = format!(
        "{name}: {said}; put the right token into an environment variable and name that with \
         --token-env NAME"
    );
    Failure { exit: Exit::Unreachable, message }
}

/// An error status where a page was wanted.
fn refused(reply: &Reply, name: &str) -> Failure {
    let status = format!("HTTP status {}", reply.status);
    let said = reply.message.clone().unwrap_or(status);
    let advice = match reply.status {
        404 | 405 | 501 => {
            "; most servers have their page at /metrics, TensorRT-LLM at /prometheus/metrics; SGLang \
             has one with --enable-metrics, llama.cpp with --metrics"
        }
        _ => "",
    };
    let exit =
        if reply.status >= 500 && reply.status != 501 { Exit::Unreachable } else { Exit::Usage };
    Failure { exit, message: format!("{name}: {said}{advice}") }
}

/// A token from the environment. It goes into request heads and nowhere else.
fn token(variable: &str) -> Result<String, Failure> {
    let text = std::env::var(variable).map_err(|_| {
        Failure::usage(format!(
            "the environment variable {variable} is not set; export it, or name another with \
             --token-env"
        ))
    })?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage(format!(
            "the environment variable {variable} is empty or holds a character that a header cannot \
             carry (a space, an accent)"
        )));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let url = |text: &str| Source::Url(text.to_owned());
        for text in ["http://h", "https://h/metrics", "unix:/run/s", "gpu1:8000", "h:80/metrics"] {
            assert_eq!(Source::of(text), url(text));
        }
        assert_eq!(Source::of("-"), Source::Stdin);
        for text in ["before.txt", "a:b.txt", "/tmp"] {
            assert_eq!(Source::of(text), Source::File(PathBuf::from(text)));
        }
    }
}
