//! A webhook by the Standard Webhooks specification: the message as JSON, with an id that stays the
//! same for each try, and signed over id, moment and body with HMAC-SHA256.
//!
//! Source of the form: the specification of Standard Webhooks, "Signature scheme".

use super::{DeliveryError, json};
use crate::engine::notify::Message;
use data_encoding::BASE64;
use jiff::Timestamp;
use ring::hmac;
use serde_json::json as object;
use zeroize::Zeroizing;

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Signed {
    pub headers: [(&'static str, String); 3],
    pub body: Vec<u8>,
}

pub(super) fn signed(
    message: &Message,
    secret: &str,
    now: Timestamp,
) -> Result<Signed, DeliveryError> {
    let body = json(&object!({
        "type": format!("incident.{}", topic(message)),
        "timestamp": message.at.to_string(),
        "data": message,
    }))?;
    let key = secret
        .strip_prefix("whsec_")
        .and_then(|text| BASE64.decode(text.as_bytes()).ok())
        .map(Zeroizing::new)
        .ok_or_else(|| {
            DeliveryError::later(
                "the webhook's secret is not whsec_ and a key in Base64: put it right",
            )
        })?;
    let moment = now.as_second().to_string();
    let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    signing.update(format!("{}.{moment}.", message.id).as_bytes());
    signing.update(&body);
    let signature = format!("v1,{}", BASE64.encode(signing.sign().as_ref()));
    Ok(Signed {
        headers: [
            ("webhook-id", message.id.clone()),
            ("webhook-timestamp", moment),
            ("webhook-signature", signature),
        ],
        body,
    })
}

fn topic(message: &Message) -> String {
    serde_json::to_value(message.topic)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::notify::message::{fixture, messages};

    #[test]
    fn the_signature_covers_id_moment_and_body() {
        let message = messages(&fixture::journal(), &fixture::runbook()).remove(0);
        let now: Timestamp = "2026-01-13T10:00:01Z".parse().unwrap();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let sent = signed(&message, secret, now).unwrap();
        let [(_, id), (_, moment), (_, signature)] = &sent.headers;
        assert_eq!((id.as_str(), moment.as_str()), ("INC-20260113-001/1", "1768298401"));
        let key = BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut whole = format!("{id}.{moment}.").into_bytes();
        whole.extend(&sent.body);
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &whole);
        assert_eq!(*signature, format!("v1,{}", BASE64.encode(expected.as_ref())));
        let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(body["type"], "incident.declared");
        assert_eq!(body["data"]["cluster"], "orders");

        let told = signed(&message, "hunter2", now).unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
