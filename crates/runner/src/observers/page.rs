//! A page of metrics that is asked for again and again.

use loadline_observe::prometheus::ACCEPT;
use loadline_serving::ask::ask;
use loadline_serving::endpoint::{Endpoint, mask_url, split_page};
use loadline_serving::socket::Address;
use loadline_serving::target::{Target, TargetSettings};

use crate::RunError;

/// Limit for a page, ns. A Ctrl-C may have to wait for it.
pub(super) const LIMIT_NS: u64 = 2_000_000_000;

/// A page, and how it is reached.
#[derive(Clone)]
pub(crate) struct Page {
    target: Target,
    endpoint: usize,
    path: String,
    /// Its URL without secrets.
    pub(super) name: String,
}

impl Page {
    /// `/metrics` of an endpoint, asked with its own key.
    pub(super) fn of_endpoint(target: &Target, endpoint: usize) -> Self {
        let name = format!("{}/metrics", target.endpoints[endpoint].endpoint);
        Self { target: target.clone(), endpoint, path: "/metrics".to_owned(), name }
    }

    /// The page at a URL; without a path its `/metrics`.
    pub(super) fn at(
        url: &str,
        token: Option<String>,
        load: &Target,
        settings: &TargetSettings<'_>,
    ) -> Result<Self, RunError> {
        let (server, path) = split_page(url);
        // Not to check certificates was said of the endpoints alone.
        let own = Endpoint::parse(server).is_ok_and(|page| {
            load.endpoints.iter().any(|one| one.endpoint.authority == page.authority)
        });
        let path = if matches!(path, "" | "/") { "/metrics" } else { path };
        let urls = [server.to_owned()];
        let target = Target::resolve(&TargetSettings {
            urls: &urls,
            headers: vec![("Accept".to_owned(), ACCEPT.to_owned())],
            api_key: token,
            insecure: settings.insecure && own,
            ..settings.clone()
        });
        let name = mask_url(&format!("{server}{path}"));
        let target = target.map_err(|error| RunError::Page(format!("{name}: {error}")))?;
        Ok(Self { target, endpoint: 0, path: path.to_owned(), name })
    }

    /// Where it really is.
    pub(super) fn place(&self) -> (&Address, String) {
        let one = &self.target.endpoints[self.endpoint];
        (&one.address, one.endpoint.path(&self.path))
    }

    /// The page as it is now; why there is none, in words and without secrets.
    pub(super) fn fetch(&self) -> Result<Vec<u8>, String> {
        let reply = ask(&self.target, self.endpoint, "GET", &self.path, None, LIMIT_NS)
            .map_err(|error| self.target.masked(&error.why))?;
        if reply.is_success() {
            return Ok(reply.body);
        }
        let said = reply.message.unwrap_or_else(|| format!("HTTP status {}", reply.status));
        Err(self.target.masked(&said))
    }
}
