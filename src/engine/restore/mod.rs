//! Restoring: the base backup's bytes into place, recovery settings, the plan of Option A.

pub mod base;
pub mod places;
pub mod plan;
pub mod steps;
