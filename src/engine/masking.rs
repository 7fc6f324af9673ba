//! Masking: what is shown of a row's values on screens, in reports and in answers to programs.
//! Owns the one function that all of them go through; never changes data, and never keeps a value.
//!
//! The first rule that names the table and the column holds. A value without a rule is shown as it
//! is, and so is NULL: that a value is missing is what one looks for after a recovery.

use crate::engine::config::masking::{Mask, MaskingRule};
use crate::engine::parts::names::Name;
use ring::hmac;
use std::borrow::Cow;

/// In the place of what is not shown.
pub const HIDDEN: &str = "(hidden)";
/// Bytes of a hash that are shown: enough to tell a table's values apart.
const HASH_BYTES: usize = 6;

/// The rules of one cluster, ready for use.
#[derive(Clone)]
pub struct Masking {
    rules: Vec<MaskingRule>,
    /// New for every value of this type: a hash that was seen once is no help in guessing.
    salt: hmac::Key,
    /// Whether there was any randomness for it.
    salted: bool,
}

impl std::fmt::Debug for Masking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masking").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Default for Masking {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Masking {
    /// The rules as configured, with a salt of its own.
    #[must_use]
    pub fn of(rules: &[MaskingRule]) -> Self {
        let mut salt = [0; 32];
        let salted = getrandom::fill(&mut salt).is_ok();
        let name = |table: &str| match Name::parse(table) {
            Ok(name) if table != "*" => name.to_string(),
            _ => table.to_owned(),
        };
        let rules = rules
            .iter()
            .map(|rule| MaskingRule {
                table: name(&rule.table),
                column: rule.column.clone(),
                rule: rule.rule.clone(),
            })
            .collect();
        Self { rules, salt: hmac::Key::new(hmac::HMAC_SHA256, &salt), salted }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any column of `schema.table` is masked.
    #[must_use]
    pub fn touches(&self, table: &str) -> bool {
        self.rules.iter().any(|rule| is_table(rule, table))
    }

    /// Whether that column is masked.
    #[must_use]
    pub fn masks(&self, table: &str, column: &str) -> bool {
        self.rule(table, column).is_some()
    }

    /// What is shown of a value. `table` is `schema.table` without quotes, `column` to the letter.
    #[must_use]
    pub fn value<'v>(&self, table: &str, column: &str, value: &'v str) -> Cow<'v, str> {
        self.shown(self.rule(table, column), value)
    }

    /// What is shown of a value by that rule.
    #[must_use]
    pub fn shown<'v>(&self, mask: Option<&Mask>, value: &'v str) -> Cow<'v, str> {
        match mask {
            None => Cow::Borrowed(value),
            // Without a salt a hash can be guessed.
            Some(Mask::Hash) if !self.salted => Cow::Borrowed(HIDDEN),
            Some(Mask::Hide) => Cow::Borrowed(HIDDEN),
            Some(Mask::Hash) => {
                let hash = hmac::sign(&self.salt, value.as_bytes());
                let shown = hash.as_ref().get(..HASH_BYTES).unwrap_or_default();
                Cow::Owned(format!("#{}", data_encoding::HEXLOWER.encode(shown)))
            }
            Some(Mask::KeepFirst(most)) => {
                let letters = (*most).min(value.chars().count() / 2);
                let kept: String = value.chars().take(letters).collect();
                Cow::Owned(format!("{kept}***"))
            }
            Some(Mask::Constant(text)) => Cow::Owned(text.clone()),
        }
    }

    /// The rule for a column of a query's answer: by the table's column that it is, where the server
    /// can tell (`origin`), else by its name, whichever table a rule with that name is for: rather
    /// one too many is hidden than one too few. What a query has computed under another name has no
    /// rule here.
    #[must_use]
    pub fn of_answer(&self, origin: Option<(&str, &str)>, name: &str) -> Option<&Mask> {
        let own = origin.and_then(|(table, column)| self.rule(table, column));
        let named = || self.rules.iter().find(|rule| rule.column == name).map(|rule| &rule.rule);
        own.or_else(named)
    }

    /// A server's words about a statement that failed. Where there is a rule at all, the values
    /// that they quote, such as `Key (email)=(…)`, `Failing row contains (…)` and `invalid input
    /// syntax for type integer: "…"`, are hidden: which column each one is of, the words do not
    /// say. Names, such as a constraint's, are left.
    #[must_use]
    pub fn server_words<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut told = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, end)) = first_quote(rest) {
            let (before, values) = rest.split_at(at);
            told.push_str(before);
            told.push_str("hidden");
            // Values may hold such a sign themselves: the line's last one ends them.
            let line = values.find('\n').unwrap_or(values.len());
            let end = values.get(..line).and_then(|line| line.rfind(end)).unwrap_or(line);
            rest = values.get(end..).unwrap_or_default();
        }
        told.push_str(rest);
        Cow::Owned(told)
    }

    /// The rule that holds for a column, and its place among the rules.
    #[must_use]
    pub fn rule_of(&self, table: &str, column: &str) -> Option<(usize, &MaskingRule)> {
        self.rules.iter().enumerate().find(|(_, rule)| {
            is_table(rule, table) && (rule.column == "*" || rule.column == column)
        })
    }

    fn rule(&self, table: &str, column: &str) -> Option<&Mask> {
        self.rule_of(table, column).map(|(_, rule)| &rule.rule)
    }
}

/// What stands in front of values in PostgreSQL's messages, and the sign behind them.
const QUOTES: [(&str, char); 4] =
    [(")=(", ')'), ("Failing row contains (", ')'), (": \"", '"'), ("value \"", '"')];

/// Where the first such mark ends, and the sign behind its value.
fn first_quote(text: &str) -> Option<(usize, char)> {
    let ends = |mark: &str| text.find(mark).map(|at| at + mark.len());
    QUOTES.iter().filter_map(|(mark, end)| Some((ends(mark)?, *end))).min()
}

fn is_table(rule: &MaskingRule, table: &str) -> bool {
    rule.table == "*" || rule.table == table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(table: &str, column: &str, rule: Mask) -> MaskingRule {
        MaskingRule { table: table.to_owned(), column: column.to_owned(), rule }
    }

    fn masking(mask: Mask) -> Masking {
        Masking::of(&[rule("public.people", "email", mask)])
    }

    #[test]
    fn each_rule_shows_what_it_says() {
        let shown = |mask, value| masking(mask).value("public.people", "email", value).into_owned();
        assert_eq!(shown(Mask::Hide, "ada@example.org"), HIDDEN);
        assert_eq!(shown(Mask::KeepFirst(3), "ada@example.org"), "ada***");
        assert_eq!(shown(Mask::KeepFirst(3), "ada"), "a***", "never more than half");
        assert_eq!(shown(Mask::KeepFirst(9), "äöüß"), "äö***");
        assert_eq!(shown(Mask::KeepFirst(1), ""), "***");
        assert_eq!(shown(Mask::Constant("somebody".into()), "ada"), "somebody");
    }

    #[test]
    fn hashes_tell_equal_from_other_and_nothing_more() {
        let one = masking(Mask::Hash);
        let hash = |of: &Masking, value| of.value("public.people", "email", value).into_owned();
        assert_eq!(hash(&one, "ada"), hash(&one, "ada"));
        assert_ne!(hash(&one, "ada"), hash(&one, "bob"));
        assert_ne!(hash(&one, "ada"), hash(&masking(Mask::Hash), "ada"), "each run has its salt");
        assert_eq!(hash(&one, "ada").len(), 13);
    }

    #[test]
    fn the_first_rule_that_fits_holds_and_others_are_left_alone() {
        let all = Masking::of(&[
            rule("public.people", "id", Mask::KeepFirst(1)),
            rule("\"Odd\".\"Table\"", "*", Mask::Hide),
            rule("*", "email", Mask::Constant("x".into())),
        ]);
        assert_eq!(all.value("public.people", "name", "Ada"), "Ada");
        assert_eq!(all.value("public.people", "id", "1234"), "1***");
        assert_eq!(all.value("Odd.Table", "email", "a"), HIDDEN);
        assert_eq!(all.value("any.other", "email", "a"), "x");
        assert!(all.touches("any.other") && all.masks("Odd.Table", "a"));
        assert!(!all.masks("public.people", "name"));
        assert!(Masking::default().is_empty() && !Masking::default().touches("public.people"));
    }

    #[test]
    fn an_answer_is_masked_by_what_it_is_and_else_by_its_name() {
        let all = Masking::of(&[
            rule("public.people", "email", Mask::Hide),
            rule("public.people", "*", Mask::Hash),
            rule("crm.contacts", "phone", Mask::KeepFirst(2)),
        ]);
        let of = |origin, name| all.of_answer(origin, name).cloned();
        assert_eq!(of(Some(("public.people", "email")), "x"), Some(Mask::Hide), "renamed");
        assert_eq!(of(Some(("public.people", "name")), "name"), Some(Mask::Hash));
        assert_eq!(of(None, "email"), Some(Mask::Hide), "computed, and named so");
        assert_eq!(of(Some(("public.view", "phone")), "phone"), Some(Mask::KeepFirst(2)));
        assert_eq!(of(Some(("public.orders", "total")), "total"), None);
        assert_eq!(of(None, "max"), None);
    }

    #[test]
    fn a_servers_words_lose_their_values() {
        let text = "duplicate key value violates unique constraint \"people_email\" \
                    (Key (email)=(a(d)a@example.org) already exists.)\nFailing row contains (1, x).";
        let told = masking(Mask::Hide).server_words(text).into_owned();
        assert!(
            !told.contains("ada") && !told.contains("example") && !told.contains("(1"),
            "{told}"
        );
        assert!(told.contains("people_email") && told.contains("Key (email)=(hidden"), "{told}");
        assert_eq!(Masking::default().server_words(text), text);
    }

    #[test]
    fn a_servers_words_about_a_cast_lose_its_value_and_keep_names() {
        let told = |text: &str| masking(Mask::Hide).server_words(text).into_owned();
        assert_eq!(
            told("ERROR: invalid input syntax for type integer: \"ada \"the\" first\"\nLINE 1"),
            "ERROR: invalid input syntax for type integer: \"hidden\"\nLINE 1"
        );
        assert_eq!(
            told("value \"5550199\" is out of range for type smallint"),
            "value \"hidden\" is out of range for type smallint"
        );
        let name = "relation \"public.people\" does not exist";
        assert_eq!(told(name), name);
    }

    proptest! {
        #[test]
        fn nothing_of_a_hidden_value_is_shown(value in "[a-z]{4,40}") {
            for mask in [Mask::Hide, Mask::Hash, Mask::Constant("-".into())] {
                let shown = masking(mask).value("public.people", "email", &value).into_owned();
                prop_assert!(!shown.contains(&value));
            }
            let kept = masking(Mask::KeepFirst(40)).value("public.people", "email", &value).into_owned();
            prop_assert!(kept.len() <= value.len() / 2 + 3);
        }
    }
}
