//! Pieces that several screens draw.

pub mod bars;
pub mod checks;
pub mod past;
