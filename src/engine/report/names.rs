//! People in a report: by their roles, unless their names are asked for. Owns that exchange; what
//! people wrote themselves is theirs and stays as they wrote it.

use super::Report;
use crate::engine::checklist::State;
use crate::engine::incident::facts::Role;
use std::collections::{BTreeMap, HashMap};

/// What stands for each person: `commander`, or `operator 2` where several have the role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(BTreeMap<String, String>);

impl Roles {
    /// People and their roles in the order in which they first acted.
    #[must_use]
    pub fn of(people: &[(String, Role)]) -> Self {
        let mut by_role: HashMap<Role, Vec<&str>> = HashMap::new();
        for (name, role) in people.iter().map(|(name, role)| (name.as_str(), *role)) {
            let known = by_role.values().any(|names| names.contains(&name));
            // The program itself is nobody's secret.
            if !known && name != "lifeboat" {
                by_role.entry(role).or_default().push(name);
            }
        }
        let mut all = BTreeMap::new();
        for (role, names) in by_role {
            let word = role.word();
            let alone = names.len() == 1;
            for (index, name) in (1..).zip(names) {
                let shown = if alone { word.to_owned() } else { format!("{word} {index}") };
                all.insert(name.to_owned(), shown);
            }
        }
        Self(all)
    }

    fn exchange(&self, name: &mut String) {
        if let Some(role) = self.0.get(name) {
            name.clone_from(role);
        }
    }

    /// In a sentence of Lifeboat's own that names people.
    fn within(&self, text: &mut String) {
        let exchanged = |word: &str| {
            let name = word.trim_matches(|c: char| !c.is_alphanumeric() && !"-_".contains(c));
            self.0.get(name).map_or_else(|| word.to_owned(), |role| word.replace(name, role))
        };
        *text = text.split(' ').map(exchanged).collect::<Vec<_>>().join(" ");
    }
}

impl Report {
    /// The same report with roles in place of names.
    #[must_use]
    pub fn by_role(mut self, roles: &Roles) -> Self {
        self.recovery.gate_passed_by.iter_mut().for_each(|name| roles.exchange(name));
        for run in self.salvage.iter_mut().flat_map(|salvage| &mut salvage.runs) {
            roles.exchange(&mut run.by);
        }
        for answer in &mut self.prerequisites {
            answer.by.iter_mut().for_each(|name| roles.exchange(name));
        }
        for call in &mut self.escalation {
            call.acknowledged_by.iter_mut().for_each(|name| roles.exchange(name));
        }
        for line in self.checklist.parts.iter_mut().flat_map(|part| &mut part.lines) {
            line.owner.iter_mut().for_each(|name| roles.exchange(name));
            match &mut line.state {
                State::Signed { by, .. } | State::Waived { by, .. } => roles.exchange(by),
                State::Open | State::Overdue => {}
            }
        }
        for line in &mut self.timeline {
            roles.exchange(&mut line.who);
            // The kinds of lines whose own words name somebody.
            if ["Refused: ", "Hands "].iter().any(|kind| line.text.starts_with(kind)) {
                roles.within(&mut line.text);
            }
        }
        for line in &mut self.approvals {
            roles.exchange(&mut line.who);
            if line.what == "signature" {
                roles.within(&mut line.text);
            }
        }
        self.people = People::Roles;
        self
    }
}

/// How people stand in a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum People {
    #[default]
    Names,
    Roles,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_of_one_role_are_told_apart_and_the_program_is_itself() {
        let people = [
            ("ada", Role::Commander),
            ("lifeboat", Role::Commander),
            ("ben", Role::Operator),
            ("cleo", Role::Operator),
            ("ben", Role::Operator),
        ];
        let people = people.map(|(name, role)| (name.to_owned(), role));
        let roles = Roles::of(&people);
        let shown = |name: &str| {
            let mut name = name.to_owned();
            roles.exchange(&mut name);
            name
        };
        let names = ["ada", "ben", "cleo", "lifeboat", "nobody"].map(shown);
        assert_eq!(names, ["commander", "operator 1", "operator 2", "lifeboat", "nobody"]);
        let mut text = String::from("ben is operator here, this needs commander");
        roles.within(&mut text);
        assert_eq!(text, "operator 1 is operator here, this needs commander");
    }
}
