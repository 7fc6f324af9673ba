//! The process that owns one incident: steps, gates, cancel, socket.

pub mod plan;
pub mod protocol;
pub mod step;
pub mod work;
