//! Posting to a server over HTTP, and what its answer means for a message. Never puts an address
//! into an error: it may be the secret.

use super::{DeliveryError, LIMIT};
use std::path::Path;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// A server that asks for a longer pause is asked again all the same.
const LONGEST_PAUSE: u64 = 3600;

pub(super) fn post(
    url: &str,
    authority: Option<&Path>,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> Result<(), DeliveryError> {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(LIMIT))
        .http_status_as_error(false)
        // A message does not follow its server elsewhere.
        .max_redirects(0)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = authority {
        config = config.tls_config(TlsConfig::builder().root_certs(roots(path)?).build());
    }
    let agent = ureq::Agent::new_with_config(config.build());
    let mut request = agent.post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send(body).map_err(|error| failed(&error))?;
    let pause = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    judge(answer.status().as_u16(), pause)
}

/// What a status means.
fn judge(status: u16, retry_after: Option<&str>) -> Result<(), DeliveryError> {
    match status {
        200..=299 => Ok(()),
        // Too many, or not now.
        408 | 425 | 429 | 500..=599 => Err(DeliveryError::Later {
            why: format!("the server answered with status {status}"),
            after: retry_after
                .and_then(|text| text.trim().parse::<u64>().ok())
                .map(|seconds| Duration::from_secs(seconds.min(LONGEST_PAUSE))),
        }),
        // The key, the address or the message is wrong; the first two can be put right, and then
        // the message is still worth sending.
        401 | 403 | 404 | 410 => Err(DeliveryError::later(format!(
            "the server answered with status {status}: look at the channel's address and secret"
        ))),
        _ => Err(DeliveryError::Never(format!("the server refused it with status {status}"))),
    }
}

fn failed(error: &ureq::Error) -> DeliveryError {
    DeliveryError::later(match error {
        ureq::Error::HostNotFound => String::from("the server's name is not known"),
        ureq::Error::Timeout(_) => format!("the server did not answer in {} s", LIMIT.as_secs()),
        ureq::Error::ConnectionFailed => String::from("no connection could be made"),
        ureq::Error::Io(error) => format!("the connection failed: {}", error.kind()),
        ureq::Error::Rustls(error) => format!("the encrypted connection failed: {error}"),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            String::from("the channel's address is not one: look at it")
        }
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => {
            String::from("the server sent the message elsewhere, where it does not follow")
        }
        _ => String::from("the request could not be made"),
    })
}

fn roots(path: &Path) -> Result<RootCerts, DeliveryError> {
    let fault = |why: String| {
        DeliveryError::later(format!("the certificate {} cannot be used: {why}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let mut all: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(one) = item.map_err(|error| fault(error.to_string()))? {
            all.push(one);
        }
    }
    if all.is_empty() {
        return Err(fault(String::from("it holds none in PEM form")));
    }
    Ok(RootCerts::new_with_certs(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_means() {
        for status in [200, 202, 204] {
            assert_eq!(judge(status, None), Ok(()));
        }
        let pause = |status, after| match judge(status, after) {
            Err(DeliveryError::Later { after, .. }) => after.map(|pause| pause.as_secs()),
            other => panic!("{status}: {other:?}"),
        };
        assert_eq!(pause(429, Some("30")), Some(30));
        assert_eq!(pause(503, Some("99999")), Some(3600));
        assert_eq!(pause(500, Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(pause(404, None), None);
        for status in [301, 400, 413, 422] {
            assert!(matches!(judge(status, None), Err(DeliveryError::Never(_))), "{status}");
        }
    }

    #[test]
    fn a_failure_does_not_tell_the_address() {
        // Port 9 of this machine: nobody listens there.
        let secret = "http://127.0.0.1:9/services/T000/B000/hunter2";
        let told = post(secret, None, &[], b"{}").unwrap_err().to_string();
        assert!(!told.contains("hunter2") && !told.contains("127.0.0.1"), "{told}");
        let told = post("not an address: hunter2", None, &[], b"{}").unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
