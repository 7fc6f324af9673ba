//! Audit: whether an incident's journal is what was written. Owns the anchors that are put into
//! every repository while an incident is under way, and the judgement of a journal against its own
//! chain and against those anchors.
//!
//! ```text
//! journal ── points (which entries) ── keeper ──► anchors/ in every repository
//!    │                                                │
//!    └──────────────── lines ── judge ◄───────────────┘
//! ```
//!
//! Never changes a journal or an anchor, never keeps a step waiting, and never calls a journal
//! verified that nothing outside of it was compared with.

pub mod check;
pub mod judge;
pub mod keeper;
pub mod lines;
pub mod points;
