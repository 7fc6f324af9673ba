//! The terminal UI's state: the snapshot that screens draw, and what only the app needs to keep
//! it. Owns the data; every change is in `update`.

use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::runner::protocol::Command;
use crate::screens::commands::Key;
use crate::screens::drill;
use crate::screens::layers::{Layer, Reader, Source};
use crate::screens::view::{Listing, Page, View};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

use super::link::Incoming;

/// What happens to the UI.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Key(Key),
    /// Text from the clipboard: goes into a text field or nowhere, never to commands.
    Paste(String),
    Resize(u16, u16),
    Tick(Timestamp),
    Listed(Result<Listing, Explanation>),
    Declared(Result<String, Explanation>),
    AttachFailed {
        generation: u64,
        explanation: Explanation,
    },
    /// A command whose signature was made, or why it was not.
    Signed {
        id: u64,
        generation: u64,
        command: Command,
        unsigned: Option<Unsigned>,
    },
    /// What a line is to be signed with was gathered.
    Evidence {
        item: String,
        gathered: Result<String, Explanation>,
    },
    /// In a drill: whether a game master is there; `None` where it has none.
    Attended(Option<bool>),
    /// From the link of that generation; one of an older link is dropped.
    Link {
        generation: u64,
        incoming: Incoming,
    },
}

/// What the runtime is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    List,
    Declare {
        cluster: String,
        title: String,
    },
    /// Connect, starting a runner where none is alive. Replaces the link that there is.
    Attach {
        incident: String,
        generation: u64,
    },
    Detach,
    Send {
        id: u64,
        command: Command,
    },
    /// Sign the lines with the person's key, for a command that is sent then.
    Sign {
        id: u64,
        generation: u64,
        command: Command,
        namespace: &'static str,
        lines: Vec<String>,
        user: String,
    },
    /// Read a file, or run a command as the person at the screen.
    Gather {
        item: String,
        from: Source,
    },
    /// Clear the window before the next frame.
    Redraw,
    Quit,
    /// Leave, and have the drill ended and cleared away.
    AbortDrill,
}

/// Why a command goes without a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// The person has a key, and it did not sign.
    pub failed: bool,
    pub why: String,
}

/// How far the way back to another choice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    GivingUp,
    PuttingBack,
    /// What failed is put back; a full restore is chosen then.
    ToFullRestore,
}

/// The whole state.
#[derive(Debug)]
pub struct App {
    pub view: View,
    /// The open incident's id.
    pub open: Option<String>,
    /// Of the newest link.
    pub generation: u64,
    /// An attach is on its way.
    pub attaching: bool,
    pub next_id: u64,
    /// The journal so far, while the past is still being sent.
    pub incoming: Option<Incident>,
    pub incoming_findings: BTreeMap<String, String>,
    /// A survey was asked for since the screen came up; not again by itself.
    pub surveyed: bool,
    /// Show the briefing once the incident is up: whoever comes to one that is open was not there when
    /// it was told.
    pub brief: bool,
    /// Approvals and sign-offs are signed with the person's key, where that can be.
    pub signs: bool,
    /// The places of hints that were shown when they were asked for here.
    pub hints_shown: BTreeSet<usize>,
    /// In a drill: what was told from outside and not shown yet.
    pub told: Vec<Reader>,
    /// The operator agreed to give the run up for an earlier point: it is put back when it ended.
    pub leading_back: Option<Back>,
}

impl App {
    #[must_use]
    pub fn new(view: View) -> Self {
        Self {
            view,
            open: None,
            generation: 0,
            attaching: false,
            next_id: 1,
            incoming: None,
            incoming_findings: BTreeMap::new(),
            surveyed: false,
            brief: false,
            signs: false,
            hints_shown: BTreeSet::new(),
            told: Vec::new(),
            leading_back: None,
        }
    }

    /// What to do first: show home, or open an incident.
    pub fn start(&mut self, incident: Option<String>) -> Vec<Effect> {
        // A drill's story comes before its clock runs: nobody declares what they were not told.
        self.brief = incident.is_some() && self.view.briefing.is_some();
        if let Some(briefing) = self.view.briefing.as_ref().filter(|_| incident.is_none()) {
            let layer = Layer::Reader(drill::briefing(&self.view, briefing));
            self.view.layers.push(layer);
        }
        let mut effects = vec![Effect::List];
        if let Some(id) = incident {
            self.view.page = Page::Assessment;
            effects.extend(super::update::open(self, id));
        }
        effects
    }
}
