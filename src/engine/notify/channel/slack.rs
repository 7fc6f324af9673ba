//! An incoming webhook of Slack, or of a chat that speaks like it: one text a message. Owns the
//! markup; what stands in a message is escaped, so that it can neither call people nor link.

use super::{DeliveryError, json};
use crate::engine::config::channels::Importance;
use crate::engine::notify::Message;
use serde_json::json as object;

/// Longer texts are cut by the server in places that nobody chose.
const LONGEST: usize = 3000;

pub(super) fn body(message: &Message) -> Result<Vec<u8>, DeliveryError> {
    json(&object!({ "text": text(message) }))
}

fn text(message: &Message) -> String {
    let sign = match message.importance {
        Importance::Urgent => ":rotating_light: ",
        Importance::Attention => ":warning: ",
        Importance::Info => "",
    };
    let mut text = format!("{sign}*{}*", escaped(&message.headline));
    if !message.text.is_empty() {
        text.push('\n');
        text.push_str(&escaped(&message.text));
    }
    if text.chars().count() > LONGEST {
        text = text.chars().take(LONGEST).chain(['…']).collect();
    }
    format!("{text}\n_{} · {} · {:.0}_", message.incident, message.environment, message.at)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::notify::message::{fixture, messages};

    #[test]
    fn what_people_wrote_is_text_and_nothing_else() {
        let mut message = messages(&fixture::journal(), &fixture::runbook()).remove(0);
        message.headline = String::from("<!channel> rows < 5 & gone");
        message.text = "x".repeat(5000);
        let text = text(&message);
        assert!(text.starts_with(":rotating_light: *&lt;!channel&gt; rows &lt; 5 &amp; gone*"));
        assert!(text.chars().count() < LONGEST + 200);
        assert!(text.ends_with("· production · 2026-01-13T10:00:00Z_"), "{text}");
    }
}
