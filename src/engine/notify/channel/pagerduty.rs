//! PagerDuty's Events API, version 2: what an incident's messages are there. One alert an
//! incident, and one more while somebody has to act, so that a person is called again; both are
//! resolved by what ends them.
//!
//! Source of the form: PagerDuty's developer documentation, "Send an event".

use super::{DeliveryError, json};
use crate::engine::config::channels::Importance;
use crate::engine::notify::Message;
use crate::engine::notify::message::Topic;
use serde_json::{Value, json as object};

/// The longest summary that is taken, in characters.
const SUMMARY: usize = 1024;

/// The events that a message makes, each a request's body.
pub(super) fn bodies(message: &Message, routing_key: &str) -> Vec<Result<Vec<u8>, DeliveryError>> {
    events(message).into_iter().map(|event| body(event, message, routing_key)).collect()
}

/// What is done to which alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Trigger(Alert),
    Resolve(Alert),
    /// Somebody answers for it: nobody else is called.
    Acknowledge(Alert),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alert {
    /// The incident itself.
    Incident,
    /// Somebody has to decide or to repair.
    Action,
    /// A level of the ladder is called.
    Escalation,
    Test,
}

impl Alert {
    /// Events with the same key are one alert.
    fn key(self, message: &Message) -> String {
        match self {
            Self::Incident => format!("lifeboat/{}", message.incident),
            Self::Action => format!("lifeboat/{}/action", message.incident),
            Self::Escalation => format!("lifeboat/{}/escalation", message.incident),
            Self::Test => format!("lifeboat/{}", message.id),
        }
    }
}

fn events(message: &Message) -> Vec<Event> {
    use Alert::{Action, Escalation, Incident, Test};
    match message.topic {
        Topic::Declared | Topic::SeveritySet => vec![Event::Trigger(Incident)],
        Topic::DecisionNeeded | Topic::StepFailed | Topic::Interrupted => {
            vec![Event::Trigger(Action)]
        }
        Topic::RecoveryStarted | Topic::PutBack => vec![Event::Resolve(Action)],
        // Nobody has to be called any more.
        Topic::Serving => vec![Event::Resolve(Action), Event::Resolve(Escalation)],
        // An alert that is open calls nobody anew: each call is an alert of its own.
        Topic::Escalated => vec![Event::Resolve(Escalation), Event::Trigger(Escalation)],
        Topic::Acknowledged => vec![Event::Acknowledge(Escalation)],
        Topic::ChecklistDue => vec![Event::Trigger(Action)],
        Topic::Validated if message.importance >= Importance::Attention => {
            vec![Event::Trigger(Action)]
        }
        Topic::Validated => vec![Event::Resolve(Action)],
        Topic::Closed => {
            vec![Event::Resolve(Action), Event::Resolve(Escalation), Event::Resolve(Incident)]
        }
        Topic::Test => vec![Event::Trigger(Test), Event::Resolve(Test)],
    }
}

fn body(event: Event, message: &Message, routing_key: &str) -> Result<Vec<u8>, DeliveryError> {
    let (action, alert) = match event {
        Event::Trigger(alert) => ("trigger", alert),
        Event::Resolve(alert) => ("resolve", alert),
        Event::Acknowledge(alert) => ("acknowledge", alert),
    };
    let mut value = object!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": alert.key(message),
        "client": "Lifeboat",
    });
    if action == "trigger"
        && let Value::Object(fields) = &mut value
    {
        fields.insert(String::from("payload"), payload(message));
    }
    json(&value)
}

fn payload(message: &Message) -> Value {
    let severity = match message.importance {
        _ if message.drill => "info",
        Importance::Urgent => "critical",
        Importance::Attention => "warning",
        Importance::Info => "info",
    };
    object!({
        "summary": message.headline.chars().take(SUMMARY).collect::<String>(),
        "source": message.cluster,
        "severity": severity,
        "timestamp": message.at.to_string(),
        "component": "postgresql",
        "group": message.environment,
        "class": message.topic,
        "custom_details": { "incident": message.incident, "message": message.id, "text": message.text },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::notify::message::{fixture, messages};

    #[test]
    fn an_incident_opens_and_resolves_its_alerts() {
        let mut open: Vec<String> = Vec::new();
        let mut opened = 0;
        for message in messages(&fixture::journal(), &fixture::runbook()) {
            for body in bodies(&message, "R0UTE") {
                let event: Value = serde_json::from_slice(&body.unwrap()).unwrap();
                assert_eq!(event["routing_key"], "R0UTE");
                let key = event["dedup_key"].as_str().unwrap().to_owned();
                if event["event_action"] == "trigger" {
                    for field in ["summary", "source", "severity", "timestamp"] {
                        assert!(event["payload"][field].is_string(), "{event}");
                    }
                    opened += 1;
                    if !open.contains(&key) {
                        open.push(key);
                    }
                } else {
                    assert_eq!(event["event_action"], "resolve");
                    open.retain(|other| *other != key);
                }
            }
        }
        assert!(opened >= 4, "{opened}");
        assert_eq!(open, Vec::<String>::new(), "nothing stays open behind a closed incident");
    }
}
