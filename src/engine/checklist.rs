//! The post-recovery checklist: lines from the runbook data, sign-offs from the journal.
