//! The line from the terminal UI to runners and to the list of incidents: two small traits, so
//! that the UI runs against fakes in tests. Owns the contract; never interprets a message.

use crate::engine::explain::Explanation;
use crate::engine::runner::protocol::{Command, Message};
use crate::screens::view::Listing;

/// What comes from a runner: its messages, then perhaps the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    Message(Box<Message>),
    /// The link is gone for good; why.
    Lost(String),
}

/// Takes what comes in; callable from any thread.
pub type Inbox = Box<dyn Fn(Incoming) + Send + Sync>;

/// Where incidents are found, declared and attached to. Its methods may block and are never
/// called on the thread that draws.
pub trait Dialer: Send + Sync {
    /// The clusters of the configuration and all incidents.
    ///
    /// # Errors
    /// Where the list of incidents cannot be read at all.
    fn list(&self) -> Result<Listing, Explanation>;

    /// Declares an incident; gives its id. Nothing on the server is changed.
    ///
    /// # Errors
    /// Where it could not be written.
    fn declare(&self, cluster: &str, title: &str) -> Result<String, Explanation>;

    /// Connects to the incident's runner, which is started where none is alive. The first
    /// message is [`Message::Hello`].
    ///
    /// # Errors
    /// Where there is no incident of that id, or no runner could be started or reached.
    fn attach(&self, incident: &str, inbox: Inbox) -> Result<Box<dyn Wire>, Explanation>;

    /// In a drill: whether a game master is there; `None` where it has none. It is asked by the
    /// thread that draws and returns at once.
    fn attended(&self) -> Option<bool> {
        None
    }
}

/// An attached runner. Dropping it detaches and stops nothing.
pub trait Wire: Send {
    /// Sends a command; the answer comes as a [`Message::Reply`] with the same id. Never blocks.
    fn send(&self, id: u64, command: Command);
}
