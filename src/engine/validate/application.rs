//! Whether the application can work: its own connection and its health address. Asks only; the
//! server must be open for it.

use super::Subject;
use super::check::begin;
use crate::engine::explain::Explain;
use crate::engine::incident::facts::Check;
use crate::engine::postgres::connect::{self, ConnectOptions};
use std::time::Duration;

const CLOSED: &str = "The server is still closed to the application.";

pub(super) async fn connection(subject: &Subject<'_>) -> Check {
    let begun = begin("application:connection", "The application's connection works");
    let Some(connection) = &subject.cluster.application else {
        return begun.not_run("The configuration does not say how the application connects.");
    };
    if !subject.open {
        return begun.not_run(CLOSED);
    }
    let session = match connect::connect(connection, &ConnectOptions::default()).await {
        Ok(session) => session,
        Err(error) => return begun.failed(error.explanation().to_string()),
    };
    let sql = "SELECT current_database()::text, pg_is_in_recovery()";
    match session.query_one(sql, &[]).await {
        Ok(row) => {
            let database: String = row.try_get(0).unwrap_or_default();
            let begun = begun.found(format!("connected to {database} as {}", connection.user));
            match row.try_get(1) {
                Ok(false) => begun.verified("It connects and the server takes writes."),
                Ok(true) => begun.failed("It connects to a server that takes no writes."),
                Err(error) => begun.could_not_verify(connect::reason(&error)),
            }
        }
        Err(error) => begun.failed(connect::reason(&error)),
    }
}

pub(super) async fn health(subject: &Subject<'_>, limit: Duration) -> Check {
    let begun = begin("application:health", "The application says that it is healthy");
    let Some(url) = subject.cluster.health_url.clone() else {
        return begun.not_run("The configuration names no health address.");
    };
    if !subject.open {
        return begun.not_run(CLOSED);
    }
    let begun = begun.expected("status 200 to 299");
    match tokio::task::spawn_blocking(move || status(&url, limit)).await {
        Ok(Ok(status)) => {
            let begun = begun.found(format!("status {status}"));
            if (200..300).contains(&status) {
                begun.verified("It answers that it is healthy.")
            } else {
                begun.failed("It answers that it is not healthy.")
            }
        }
        Ok(Err(reason)) => begun.failed(format!("It does not answer: {reason}.")),
        Err(error) => begun.could_not_verify(error.to_string()),
    }
}

fn status(url: &str, limit: Duration) -> Result<u16, String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .build();
    let agent = ureq::Agent::new_with_config(config);
    agent.get(url).call().map(|answer| answer.status().as_u16()).map_err(|e| e.to_string())
}
