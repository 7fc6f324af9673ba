//! The seam to rusoto: its signed request goes out over a transport of our own. One [`Call`] is one
//! try, and remembers what the server or the connection said, since rusoto's own errors drop most
//! of it. Owns the traps: what rusoto would send wrongly or read wrongly is put right here.

use super::transport::{Body, Transport, Trouble};
use bytes::{Bytes, BytesMut};
use futures_util::stream::try_unfold;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use rusoto_core::request::{DispatchSignedRequestFuture, HttpResponse};
use rusoto_core::signature::{SignedRequest, SignedRequestPayload};
use rusoto_core::{ByteStream, DispatchSignedRequest, HttpDispatchError};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An error's description longer than this is not read.
const LONGEST_REFUSAL: usize = 64 << 10;

/// The headers that rusoto may see. Some others it parses, and panics where they are odd.
const HEADERS: [&str; 9] = [
    "etag",
    "content-range",
    "content-type",
    "last-modified",
    "x-amz-version-id",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-server-side-encryption",
    "x-amz-meta-lifeboat-writer",
];

/// What a server said instead of doing it.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    pub status: u16,
    /// S3's own word, such as `NoSuchKey`; empty where it gave none.
    pub code: String,
    pub message: String,
    /// Where the bucket is, for one that was asked for in another region.
    pub region: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Heard {
    Refusal(Refusal),
    Trouble(Trouble),
}

/// One try of one request.
#[derive(Debug)]
pub struct Call {
    transport: Transport,
    /// Sends `If-None-Match: *`.
    only_if_absent: bool,
    heard: Mutex<Option<Heard>>,
}

impl Call {
    pub fn new(transport: &Transport, only_if_absent: bool) -> Arc<Self> {
        Arc::new(Self { transport: transport.clone(), only_if_absent, heard: Mutex::default() })
    }

    /// What went wrong, where it was the server or the way to it.
    pub fn heard(&self) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, heard: Heard) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }

    fn trouble(&self, trouble: Trouble) -> HttpDispatchError {
        let text = trouble.to_string();
        self.hear(Heard::Trouble(trouble));
        HttpDispatchError::new(text)
    }

    async fn run(
        self: Arc<Self>,
        request: SignedRequest,
    ) -> Result<HttpResponse, HttpDispatchError> {
        let (size, completes) = (body_size(&request), completes_upload(&request));
        let request = into_http(request, self.only_if_absent).map_err(HttpDispatchError::new)?;
        // A long body is allowed its time on the way, at 64 KiB a second or better; and a large
        // upload is put together before it is answered.
        let way = Duration::from_secs(size >> 16) * 2;
        let patience = self.transport.patience.silence * if completes { 4 } else { 1 };
        let sent = self.transport.send(request, patience + way).await;
        let (head, body) = sent.map_err(|t| self.trouble(t))?.into_parts();
        let mut headers = HashMap::new();
        for name in HEADERS {
            if let Some(value) = head.headers.get(name).and_then(|v| v.to_str().ok()) {
                headers.insert(name.to_owned(), value.to_owned());
            }
        }
        let length = head.headers.get("content-length").and_then(|v| v.to_str().ok());
        if let Some(length) = length.and_then(|l| l.parse::<i64>().ok()) {
            headers.insert(String::from("content-length"), length.to_string());
        }
        let mut status = head.status.as_u16();
        let body = if !head.status.is_success() || completes {
            let text = self.buffer(body).await.map_err(|t| self.trouble(t))?;
            let mut refusal = Refusal::of(status, &text);
            // "Completed" comes before the work is done: the error is then in the body.
            if head.status.is_success() && text_has(&text, "<Error>") {
                status = 500;
                refusal.status = status;
            }
            if !(200..300).contains(&status) {
                let region = head.headers.get("x-amz-bucket-region");
                refusal.region = region.and_then(|v| v.to_str().ok()).map(str::to_owned);
                self.hear(Heard::Refusal(refusal));
            }
            ByteStream::new(futures_util::stream::once(async { Ok(text) }))
        } else {
            ByteStream::new(self.stream(body))
        };
        // The types are those of rusoto's http 0.2, which is named nowhere else.
        let broken = |_| HttpDispatchError::new(String::from("an answer that is no HTTP"));
        Ok(HttpResponse {
            status: status.try_into().map_err(|_| broken(()))?,
            headers: (&headers).try_into().map_err(|_| broken(()))?,
            body,
        })
    }

    async fn buffer(&self, mut body: Incoming) -> Result<Bytes, Trouble> {
        let mut text = BytesMut::new();
        while let Some(piece) = self.transport.next(&mut body).await? {
            if text.len() < LONGEST_REFUSAL {
                text.extend_from_slice(&piece);
            }
        }
        Ok(text.freeze())
    }

    fn stream(
        self: Arc<Self>,
        body: Incoming,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        try_unfold((self, body), |(call, mut body)| async move {
            match call.transport.next(&mut body).await {
                Ok(piece) => Ok(piece.map(|piece| (piece, (call, body)))),
                Err(trouble) => {
                    let kind = match trouble {
                        Trouble::TimedOut(_) => io::ErrorKind::TimedOut,
                        _ => io::ErrorKind::ConnectionAborted,
                    };
                    Err(io::Error::new(kind, call.trouble(trouble)))
                }
            }
        })
    }
}

impl Refusal {
    fn of(status: u16, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let word = |tag: &str| {
            let (_, rest) = text.split_once(&format!("<{tag}>"))?;
            let (word, _) = rest.split_once(&format!("</{tag}>"))?;
            // It is shown on a terminal: no controls, and no novels.
            Some(word.chars().filter(|c| !c.is_control()).take(300).collect::<String>())
        };
        Self {
            status,
            code: word("Code").unwrap_or_default(),
            message: word("Message").unwrap_or_default(),
            region: None,
        }
    }
}

fn text_has(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|w| w == word.as_bytes())
}

fn body_size(request: &SignedRequest) -> u64 {
    let size = request.headers().get("content-length").and_then(|values| values.first());
    size.and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn completes_upload(request: &SignedRequest) -> bool {
    request.method() == "POST" && request.params.contains_key("uploadId")
}

fn into_http(request: SignedRequest, only_if_absent: bool) -> Result<http::Request<Body>, String> {
    // The path as it was signed: rusoto's own `path` is not encoded.
    let (path, query) = (request.canonical_path(), request.canonical_query_string());
    let question = if query.is_empty() { "" } else { "?" };
    let address = format!("{}://{}{path}{question}{query}", request.scheme(), request.hostname());
    let mut built = http::Request::builder().method(request.method()).uri(address);
    for (name, values) in request.headers() {
        for value in values {
            built = built.header(name.as_str(), value.as_slice());
        }
    }
    if only_if_absent {
        // Not signed: the signature covers what was there before, and need not cover more.
        built = built.header("if-none-match", "*");
    }
    let body: Body = match request.payload {
        None => Full::new(Bytes::new()).map_err(|e| match e {}).boxed_unsync(),
        Some(SignedRequestPayload::Buffer(bytes)) => {
            Full::new(bytes).map_err(|e| match e {}).boxed_unsync()
        }
        Some(SignedRequestPayload::Stream(stream)) => {
            StreamBody::new(stream.map_ok(Frame::data).map_err(Into::into)).boxed_unsync()
        }
    };
    built.body(body).map_err(|e| format!("the request could not be built: {e}"))
}

/// What rusoto is given as its dispatcher.
pub struct Line(pub Arc<Call>);

impl DispatchSignedRequest for Line {
    fn dispatch(
        &self,
        request: SignedRequest,
        _timeout: Option<Duration>,
    ) -> DispatchSignedRequestFuture {
        Box::pin(Arc::clone(&self.0).run(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusoto_core::Region;

    #[test]
    fn the_address_is_the_one_that_was_signed() {
        let region = Region::Custom {
            name: String::from("here"),
            endpoint: String::from("https://s3.example.net:9000"),
        };
        let mut request = SignedRequest::new("GET", "s3", &region, "/bucket/a b/ü+%?.gz");
        request.add_param("list-type", "2");
        request.complement();
        let sent = into_http(request, true).unwrap();
        let address = "https://s3.example.net:9000/bucket/a%20b/%C3%BC%2B%25%3F.gz?list-type=2";
        assert_eq!(sent.uri(), address);
        assert_eq!(sent.headers()["if-none-match"], "*");
        assert_eq!(sent.headers()["host"], "s3.example.net:9000");
    }

    #[test]
    fn a_refusal_is_read_without_trusting_it() {
        let text = b"<Error><Code>SlowDown</Code><Message>Reduce\x1b[31m it</Message></Error>";
        let refusal = Refusal::of(503, text);
        assert_eq!(
            (refusal.code.as_str(), refusal.message.as_str()),
            ("SlowDown", "Reduce[31m it")
        );
        for odd in [&b""[..], b"<Code>", b"</Code><Code>", b"\xff\xfe"] {
            assert_eq!(Refusal::of(500, odd).code, "");
        }
    }
}
