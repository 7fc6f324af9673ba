//! The metrics over HTTP, for a Prometheus that comes to fetch them. Owns the socket and one text,
//! which somebody else renews; a request never starts any work on a server or repository.

use super::MetricsError;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// From the OpenMetrics specification, 1.0.
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// A client that says nothing for so long is left.
const HEADERS: Duration = Duration::from_secs(10);
/// Clients at a time; the others wait.
const CLIENTS: usize = 16;

/// Where metrics are fetched from.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Listener {
    /// # Errors
    /// Where the address cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let failed = |source| MetricsError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Answers with the newest text for as long as its sender lives.
    pub async fn serve(self, mut text: watch::Receiver<Option<String>>) {
        let places = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = gone(&mut text) => return,
            };
            // A client that left before it was heard is nothing to stop for.
            let Ok((stream, _)) = accepted else { continue };
            let text = text.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = answer(&request, text.borrow().as_deref());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADERS)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop((served, place));
            });
        }
    }
}

async fn gone(text: &mut watch::Receiver<Option<String>>) {
    while text.changed().await.is_ok() {}
}

fn answer(request: &Request<Incoming>, text: Option<&str>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered.\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match (request.uri().path(), text) {
        ("/metrics", Some(text)) => said(StatusCode::OK, OPENMETRICS, text),
        ("/metrics", None) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "No figures were gathered yet.\n")
        }
        _ => plain(StatusCode::NOT_FOUND, "Lifeboat's metrics are at /metrics.\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    said(status, PLAIN, text)
}

fn said(status: StatusCode, kind: HeaderValue, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
