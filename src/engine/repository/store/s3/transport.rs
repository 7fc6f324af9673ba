//! HTTP and TLS for everything that the S3 store says to the world: hyper and rustls, with limits
//! on how long a server may be silent. Knows nothing of S3, and never tries twice.

use super::super::{StoreError, StoreFault};
use super::hearing::Hearing;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, Failure>;

/// How long the other side may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub connect: Duration,
    /// Without a byte, in either direction.
    pub silence: Duration,
}

/// Why a request got no answer, or not all of it.
#[derive(Debug, Clone)]
pub enum Trouble {
    TimedOut(String),
    /// The certificate, or the handshake: trying again does not help.
    Untrusted(String),
    Broken(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut(words) | Self::Untrusted(words) | Self::Broken(words) => {
                f.write_str(words)
            }
        }
    }
}

/// Whose certificates are believed.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    System,
    Only(&'a Path),
}

/// A client with its pool of connections.
#[derive(Clone)]
pub struct Transport {
    client: Client<HttpsConnector<Hearing>, Body>,
    pub patience: Patience,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Transport {
    /// # Errors
    /// Where the certificates could not be read.
    pub fn new(roots: Roots<'_>, patience: Patience) -> Result<Self, StoreError> {
        let unusable = |e: rustls::Error| {
            StoreError::new(StoreFault::Unavailable, format!("TLS could not be set up: {e}"))
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(certificates(roots)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience.connect));
        tcp.set_keepalive(Some(Duration::from_secs(15)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Hearing(tcp));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Shorter than servers keep theirs: a connection that they close is found out late.
            .pool_idle_timeout(Duration::from_secs(15))
            .build(connector);
        Ok(Self { client, patience })
    }

    /// Sends a request and waits for the answer's head, at most `limit`.
    ///
    /// # Errors
    /// Where none came. Whether the request took effect is then unknown.
    pub async fn send(
        &self,
        request: http::Request<Body>,
        limit: Duration,
    ) -> Result<http::Response<Incoming>, Trouble> {
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(Trouble::TimedOut(format!("no answer within {limit:?}"))),
        }
    }

    /// The next piece of an answer's body; `None` at its end.
    ///
    /// # Errors
    /// Where the connection broke, or was silent for too long.
    pub async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>, Trouble> {
        loop {
            let limit = self.patience.silence;
            match tokio::time::timeout(limit, body.frame()).await {
                Err(_) => return Err(Trouble::TimedOut(format!("no byte within {limit:?}"))),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(trouble(&error)),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// The longest of an error's causes, since hyper's own words are "client error (Connect)".
fn trouble(error: &(dyn std::error::Error + 'static)) -> Trouble {
    let (mut words, mut cause) = (error.to_string(), error.source());
    let (mut untrusted, mut timed_out) = (false, false);
    while let Some(error) = cause {
        words = error.to_string();
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            timed_out |= io.kind() == std::io::ErrorKind::TimedOut;
        }
        untrusted |= is_of_tls(error);
        cause = error.source();
    }
    match (untrusted, timed_out) {
        (true, _) => Trouble::Untrusted(words),
        (_, true) => Trouble::TimedOut(words),
        _ => Trouble::Broken(words),
    }
}

/// An I/O error keeps what it wraps to itself.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_of_tls(inner))
}

fn certificates(roots: Roots<'_>) -> Result<RootCertStore, StoreError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Roots::Only(path) => {
            let failed = |e: &dyn std::fmt::Display| {
                let what = format!("the root certificate {} cannot be used: {e}", path.display());
                StoreError::new(StoreFault::Denied, what)
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| failed(&e))? {
                let certificate = certificate.map_err(|e| failed(&e))?;
                store.add(certificate).map_err(|e| failed(&e))?;
            }
            if store.is_empty() {
                return Err(failed(&"it holds no certificate"));
            }
        }
    }
    Ok(store)
}
