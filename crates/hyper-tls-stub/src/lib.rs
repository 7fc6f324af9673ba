//! The name that rusoto_core wants its default client's connector under. It connects to nothing:
//! every request of ours goes through a dispatcher of our own, and one that did not must fail
//! rather than leave in the clear.

use hyper::Uri;
use hyper::client::HttpConnector;
use hyper::service::Service;
use std::future::{Ready, ready};
use std::io;
use std::marker::PhantomData;
use std::task::{Context, Poll};

/// Refuses every connection.
#[derive(Debug, Clone)]
pub struct HttpsConnector<T>(PhantomData<T>);

impl HttpsConnector<HttpConnector> {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "only what rusoto_core calls")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Service<Uri> for HttpsConnector<T> {
    type Response = tokio::net::TcpStream;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Err(io::Error::other("this connector is a stand-in and connects to nothing")))
    }
}
