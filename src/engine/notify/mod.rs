//! Messages to people who are not at the screen: PagerDuty, chat, webhooks, mail.
//!
//! The journal is the queue. What is told follows from its entries ([`message`]), and each channel
//! keeps how far it got ([`outbox`]); nothing else has to be stored, and nothing is lost between an
//! event and its message. Delivery runs beside the recovery ([`messenger`]) and never holds it up:
//! a network that is away delays messages and nothing else.
//!
//! Never writes the journal, and never lets a secret into a message, an error or a file of its own.

pub mod channel;
pub mod message;
pub mod messenger;
pub mod outbox;
pub mod public;

pub use message::Message;
