//! Lifeboat: guided point-in-time recovery for PostgreSQL.
//!
//! `engine ← screens ← app`: the engine acts and knows no screen, a screen draws a model that it
//! cannot change, the app runs both.

pub mod app;
pub mod engine;
pub mod screens;
