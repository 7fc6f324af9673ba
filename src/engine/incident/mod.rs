//! One incident: its journal, and the model folded from it. Nothing else is state.

pub mod approval;
pub mod care;
pub mod clocks;
pub mod event;
pub mod facts;
#[cfg(test)]
pub mod fixture;
pub mod journal;
pub mod model;
pub mod narrate;
pub mod outlook;
pub mod parts;
pub mod past;
pub mod people;
pub mod raised;
pub mod salvage;
pub mod store;
pub mod trouble;

pub use event::{Entry, Event};
pub use model::Incident;
