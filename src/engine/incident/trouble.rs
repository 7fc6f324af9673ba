//! What went wrong in a step, as a value: what happened, how it is known, and the cures. Owns the
//! shape, which is part of the journal's format; recognises nothing and carries nothing out.

use serde::{Deserialize, Serialize};

/// The cure that people carry out before it is accepted; all others of theirs are only text.
pub const LOOK_AGAIN: &str = "look-again";

/// The cure that takes a directory, which is typed when it is accepted.
pub const NAMED_PLACE: &str = "named-place";

/// A trouble that was recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Stable: `missing-wal`, `no-space`, …
    pub name: String,
    /// What happened, in two plain lines.
    pub what: String,
    /// How it is known: the server's own words, a file, a segment.
    pub evidence: Vec<Evidence>,
    /// The proposed one first. Empty where nobody knows one.
    pub cures: Vec<Cure>,
}

/// One thing that tells of the trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `log`, `file`, `segment`, `disk`, …
    pub source: String,
    pub text: String,
}

/// Who carries a cure out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Lifeboat, once it is accepted.
    Lifeboat,
    /// Lifeboat; it changes what the gate was passed for, so that the cluster's name is typed again.
    LifeboatByName,
    /// Only people can. Accepting it says that it was done: Lifeboat looks again and goes on.
    People,
}

/// Something that mends a trouble. What is carried out is this value or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cure {
    /// Stable: `raise-settings`, `look-again`, …
    pub id: String,
    /// In a few words, as a command.
    pub title: String,
    /// What it does, or what people have to do.
    pub does: String,
    /// Paths and servers that it changes.
    pub touches: Vec<String>,
    /// Time and data that it costs.
    pub cost: String,
    pub risk: String,
    pub by: By,
    /// What it was made for: files, a port, a library. Fixed when it is proposed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
}

/// In what a recovery differs from its plan because of cures. Added up over the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustments {
    /// WAL is fetched from every repository of the cluster, not from the plan's alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_repositories: bool,
    /// Repositories that WAL is not fetched from any more: they could not be reached, and somebody
    /// decided to go on without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_repositories: Vec<String>,
    /// Base backups that were begun with and given up for another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_bases: Vec<String>,
    /// Libraries that `shared_preload_libraries` goes without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_libraries: Vec<String>,
    /// The server is opened on this port instead of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The new cluster beside the old one takes this port instead of its plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside_port: Option<u16>,
    /// Settings that are at least so high.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minimums: Vec<(String, i64)>,
}

impl Adjustments {
    /// Takes another cure's adjustments in.
    pub fn add(&mut self, more: &Self) {
        self.all_repositories |= more.all_repositories;
        for (all, more) in [
            (&mut self.without_repositories, &more.without_repositories),
            (&mut self.without_bases, &more.without_bases),
            (&mut self.without_libraries, &more.without_libraries),
        ] {
            for name in more {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
        }
        self.port = more.port.or(self.port);
        self.beside_port = more.beside_port.or(self.beside_port);
        for (name, least) in &more.minimums {
            match self.minimums.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = (*known).max(*least),
                None => self.minimums.push((name.clone(), *least)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjustments_add_up() {
        let mut all = Adjustments::default();
        let one =
            Adjustments { port: Some(5433), beside_port: Some(5440), ..Adjustments::default() };
        let low = |least| Adjustments {
            minimums: vec![(String::from("max_connections"), least)],
            without_libraries: vec![String::from("absent")],
            without_repositories: vec![String::from("near")],
            without_bases: vec![String::from("set-1")],
            ..Adjustments::default()
        };
        for more in [one, low(200), low(100)] {
            all.add(&more);
        }
        assert_eq!((all.port, all.beside_port), (Some(5433), Some(5440)));
        assert_eq!(all.minimums, [(String::from("max_connections"), 200)]);
        assert_eq!(all.without_libraries, ["absent"]);
        assert_eq!(all.without_repositories, ["near"]);
        assert_eq!(all.without_bases, ["set-1"]);
        // What says nothing leaves nothing behind, and what older versions wrote still reads.
        assert_eq!(serde_json::to_string(&Adjustments::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Adjustments>("{}").unwrap(), Adjustments::default());
    }
}
