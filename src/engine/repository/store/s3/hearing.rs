//! Hears a server out that refuses before it has read a request. Such a server answers and hangs
//! up; hyper ends the request at the first write that fails, and the answer would be lost. Owns
//! that single rule, below TLS; knows nothing of HTTP.

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// Makes connections that hear the other side out.
#[derive(Clone)]
pub struct Hearing(pub HttpConnector);

impl Service<Uri> for Hearing {
    type Response = Heard<<HttpConnector as Service<Uri>>::Response>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async move { Ok(Heard { inner: connecting.await?, hung_up: false }) })
    }
}

/// A connection. Once the other side reads no more, what is written is dropped; what it said before
/// is there to be read, and where it said nothing the reading fails.
pub struct Heard<T> {
    inner: T,
    hung_up: bool,
}

impl<T> Heard<T> {
    /// The outcome of a write of `size` bytes, with a hang-up taken as written.
    fn judge(&mut self, outcome: io::Result<usize>, size: usize) -> io::Result<usize> {
        match outcome {
            Err(e) if is_hang_up(&e) => {
                self.hung_up = true;
                Ok(size)
            }
            other => other,
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl<T: Connection> Connection for Heard<T> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<T: Read + Unpin> Read for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hung_up {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = ready!(Pin::new(&mut self.inner).poll_write(context, bytes));
        Poll::Ready(self.judge(outcome, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = pieces.iter().map(|piece| piece.len()).sum();
        if self.hung_up {
            return Poll::Ready(Ok(size));
        }
        let outcome = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, pieces));
        Poll::Ready(self.judge(outcome, size))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hung_up {
            return Poll::Ready(Ok(()));
        }
        let outcome = ready!(Pin::new(&mut self.inner).poll_flush(context));
        Poll::Ready(self.judge(outcome.map(|()| 0), 0).map(drop))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
