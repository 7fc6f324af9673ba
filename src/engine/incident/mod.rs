//! One incident: its journal, and the model folded from it. Nothing else is state.

pub mod approval;
pub mod care;
pub mod event;
pub mod facts;
pub mod journal;
pub mod model;
pub mod narrate;
pub mod past;
pub mod people;
pub mod store;
pub mod trouble;

pub use event::{Entry, Event};
pub use model::Incident;
