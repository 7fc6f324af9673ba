//! The rules of `[escalation]`: contacts that can be called, and a wait that ends.

use super::judge::Judge;
use super::locate::Into::{At, Key};
use crate::engine::config::Config;

impl Judge<'_> {
    pub(super) fn escalation(&mut self, config: &Config) {
        let escalation = &config.escalation;
        if escalation.again_after_minutes == 0 {
            let text = "again_after_minutes is 0: nobody could answer in time; write 1 or more";
            self.problem(&[Key("escalation"), Key("again_after_minutes")], text.to_owned());
        }
        for (at, contact) in escalation.contacts.iter().enumerate() {
            let place = |key| [Key("escalation"), Key("contacts"), At(at), Key(key)];
            for (key, value) in [("level", &contact.level), ("name", &contact.name)] {
                if value.trim().is_empty() {
                    self.problem(&place(key), format!("{key} is empty"));
                }
            }
            for name in contact.clusters.iter().filter(|name| config.cluster(name).is_none()) {
                let text = format!(
                    "\"{}\" names the cluster \"{name}\", which is not there",
                    contact.name
                );
                self.problem(&place("clusters"), text);
            }
        }
    }
}
