//! Restoring: the base backup's bytes into place, recovery settings, the plans of the runbook's
//! Option A (`plan`, and from one recovery point back to an earlier one `step_back`, or in
//! another place `other_place`) and Option B (`full`, `full_plan`), and the steps of both.

pub mod base;
pub mod full;
pub mod full_plan;
pub mod line;
pub mod other_place;
pub mod places;
pub mod plan;
pub mod rights;
pub mod step_back;
pub mod steps;
