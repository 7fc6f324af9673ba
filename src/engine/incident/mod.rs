//! One incident: its journal, and the model folded from it. Nothing else is state.

pub mod event;
pub mod facts;
pub mod model;
pub mod narrate;

pub use event::{Entry, Event};
pub use model::Incident;
