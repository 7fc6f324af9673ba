//! The runbook as data: tiers, checklists, ladder, texts; a team's own file laid over ours.
