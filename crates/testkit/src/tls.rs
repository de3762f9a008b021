//! Certificates for tests: an authority of our own and what it signs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate with its key, ready for a server.
#[derive(Clone)]
pub struct ServerCert {
    config: Arc<ServerConfig>,
}

impl fmt::Debug for ServerCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCert").finish_non_exhaustive()
    }
}

impl ServerCert {
    /// A rustls server that shows it.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// A certificate authority that nobody trusts unless told to. Everything here panics where the
/// machine cannot make keys or write the file: a test's assertion.
pub struct TestCa {
    pem: String,
    path: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for TestCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCa").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TestCa {
    /// Makes a new authority and writes its certificate to `folder/ca.pem`.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Loadline test authority");
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("an authority");
        let path = folder.join("ca.pem");
        std::fs::write(&path, cert.pem()).expect("the certificate is written");
        Self { pem: cert.pem(), path, issuer: Issuer::new(params, key) }
    }

    /// Where the authority's certificate lies, PEM; for `--cacert`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `localhost`, `127.0.0.1` and `::1`.
    pub fn localhost(&self) -> ServerCert {
        self.for_names(&["localhost", "127.0.0.1", "::1"])
    }

    /// A certificate for another host: a client must refuse it.
    pub fn wrong_name(&self) -> ServerCert {
        self.for_names(&["elsewhere.example"])
    }

    /// A certificate for these names or addresses.
    pub fn for_names(&self, names: &[&str]) -> ServerCert {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).expect("valid names");
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a certificate that fits its key");
        ServerCert { config: Arc::new(config) }
    }
}
