//! The rules of masking rules: names that can be names, and nothing that hides nothing.

use super::judge::Judge;
use super::locate::Into::{At, Key};
use crate::engine::config::Cluster;
use crate::engine::config::masking::{Mask, MaskingRule};
use crate::engine::parts::names::Name;

impl Judge<'_> {
    pub(super) fn masking(&mut self, at: usize, cluster: &Cluster) {
        for (index, rule) in cluster.masking.iter().enumerate() {
            let here = |key| [Key("clusters"), At(at), Key("masking"), At(index), Key(key)];
            let MaskingRule { table, column, rule } = rule;
            // Without its schema a table's rule might name another one than is meant.
            if table != "*" && (!table.contains('.') || Name::parse(table).is_err()) {
                let text = format!("\"{table}\" must be written as schema.table, or as * for all");
                self.problem(&here("table"), text);
            }
            if column.is_empty() {
                self.problem(&here("column"), String::from("the column has no name"));
            }
            if *rule == Mask::KeepFirst(0) {
                let text = String::from("keep_first = 0 keeps nothing; write rule = \"hide\"");
                self.problem(&here("rule"), text);
            }
        }
    }
}
