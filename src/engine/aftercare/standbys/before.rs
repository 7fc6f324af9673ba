//! What is known of the standbys of before: asked while the damaged server still answers, kept as
//! notes of the recovery's steps, and read again afterwards. Tells "nobody" and "could not be asked"
//! apart; judges nothing.

use crate::engine::config::Connection;
use crate::engine::explain::Explanation;
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::runner::step::StepContext;

/// The name of the step's note of a standby that was connected before the recovery.
const NOTE: &str = "standby";
/// The name of the step's note that the server told who was connected. Without it nobody knows.
const ASKED: &str = "standbys_asked";
/// The name of the step's note of why it could not be asked.
const NOT_ASKED: &str = "standbys_not_asked";
const CONNECTED_AS: &str = "Standby connected: ";

/// Who is connected to a server as a standby, in one line each; asked before it is stopped.
///
/// # Errors
/// Why it could not be asked, in words: that is not the same as nobody.
async fn connected(connection: &Connection) -> Result<Vec<String>, String> {
    let sql = "SELECT application_name || ' at ' || coalesce(host(client_addr), 'this host') \
               FROM pg_stat_replication ORDER BY 1";
    let options = ConnectOptions::default();
    let session = connect::connect(connection, &options).await.map_err(|e| e.to_string())?;
    let rows = session.query(sql, &[]).await.map_err(|e| connect::reason(&e))?;
    let names: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    names.map_err(|e| connect::reason(&e))
}

/// Asks who is connected to the server that is about to be stopped, and keeps it in the journal;
/// also that it could not be asked.
///
/// # Errors
/// Where the journal cannot be written.
pub fn note_connected(
    context: &dyn StepContext,
    connection: &Connection,
) -> Result<(), Explanation> {
    match context.runtime().block_on(connected(connection)) {
        Ok(standbys) => {
            for standby in &standbys {
                context.note(NOTE, &format!("{CONNECTED_AS}{standby}"))?;
            }
            let count = crate::engine::explain::count(standbys.len(), "standby connection");
            context.note(ASKED, &format!("The server told of {count}"))
        }
        Err(why) => context
            .note(NOT_ASKED, &format!("Which standbys are connected could not be asked: {why}")),
    }
}

/// What is known of the time before the recovery.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) standbys: Vec<String>,
    /// Why there may have been others; `None` where the server told of all.
    pub(super) unknown: Option<String>,
}

impl Before {
    /// By the notes of the recovery's steps, name and text.
    pub(super) fn of<'a>(notes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut standbys, mut asked, mut why) = (Vec::new(), false, None);
        for (name, text) in notes {
            match name {
                NOTE => standbys.push(text.trim_start_matches(CONNECTED_AS).to_owned()),
                ASKED => asked = true,
                NOT_ASKED => why = Some(text.to_owned()),
                _ => {}
            }
        }
        standbys.sort();
        standbys.dedup();
        let silent = || String::from("The recovery did not note which standbys were connected");
        Self { standbys, unknown: (!asked).then(|| why.unwrap_or_else(silent)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Tls;

    #[test]
    fn nobody_was_connected_only_where_the_server_said_so() {
        let of = |notes: &[(&'static str, &'static str)]| Before::of(notes.iter().copied());
        let silent = of(&[("stopped", "The server is down")]);
        assert!(silent.unknown.is_some() && silent.standbys.is_empty());
        let failed = of(&[(NOT_ASKED, "could not be asked: no server answers")]);
        assert_eq!(failed.unknown.as_deref(), Some("could not be asked: no server answers"));
        assert_eq!(of(&[(ASKED, "0")]), Before { standbys: Vec::new(), unknown: None });
        // A step that was tried again has told before.
        let told = of(&[
            (NOTE, "Standby connected: b at here"),
            (NOTE, "Standby connected: a at here"),
            (ASKED, "2"),
            (NOT_ASKED, "gone"),
            (NOTE, "Standby connected: a at here"),
        ]);
        assert_eq!(told.standbys, ["a at here", "b at here"]);
        assert_eq!(told.unknown, None);
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_has_not_said_nobody() {
        let connection = Connection {
            host: String::from("/nowhere"),
            port: 5432,
            user: String::from("postgres"),
            database: String::from("postgres"),
            passfile: None,
            tls: Tls::Off,
            root_certificate: None,
        };
        assert!(connected(&connection).await.is_err());
    }
}
