//! Something is taken: the data directory's `postmaster.pid`, a socket's lock file, or the port.
//! A file that a living server may hold is never touched.

use super::{
    FREE_PORT, Ground, LOOK_AGAIN, OTHER_PORT, Scene, World, by_lifeboat, by_people, evidence,
    trouble,
};
use crate::engine::incident::trouble::Trouble;

const PORT: [&str; 3] =
    ["could not create any TCP/IP sockets", "Address already in use", "(os error 98)"];

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let lock = scene.quoted_after("lock file").filter(|_| {
        scene.says("already exists") || scene.says("is empty") || scene.says("bogus data")
    });
    match lock.as_deref() {
        Some("postmaster.pid") => return pid_file(scene, world),
        Some(path) => return socket_lock(scene, path, world),
        None => {}
    }
    // The name is the same in every language; the state says that a lock file is there.
    if scene.has_state("F0001") && scene.lines.iter().any(|line| line.contains("postmaster.pid")) {
        return pid_file(scene, world);
    }
    let sign = PORT.into_iter().find(|sign| scene.says(sign))?;
    port(scene, sign, world)
}

fn pid_file(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let shown = evidence("log", scene.line_with("postmaster.pid")?);
    let path = world.data().join("postmaster.pid");
    match world.pid_file_is_stale() {
        Ok(proof) => {
            let aside = by_lifeboat(
                "set-pid-file-aside",
                "Set the left-over postmaster.pid aside, and go on",
                "That no server holds it is proven once more, then the file is renamed and kept \
                 beside the data directory. The server is started again.",
                "seconds",
                "none: refused the moment that a process of this directory is seen",
            )
            .touching(vec![path.display().to_string()]);
            trouble(
                "stale-pid-file",
                format!(
                    "{} is left over from a server that has ended; its process number belongs to \
                     another program now. The server does not start over it.",
                    path.display()
                ),
                vec![shown, evidence("process", proof)],
                vec![aside],
            )
        }
        Err(why) => trouble(
            "lock-in-use",
            format!(
                "Another server may use {}: {why}. Its lock file stays where it is, and nothing was \
                 started over it.",
                world.data().display()
            ),
            vec![shown, evidence("process", why)],
            vec![by_people(
                LOOK_AGAIN,
                "See to that server, then look again",
                "Stop it in order where it should not run (systemd, a watchdog or another container \
                 may have started it). Never delete a lock file while its server may live.",
            )],
        ),
    }
}

fn socket_lock(scene: &Scene<'_>, path: &str, world: &dyn World) -> Option<Trouble> {
    let own = world.port();
    let other = world.free_port().map(|free| {
        by_lifeboat(
            OTHER_PORT,
            &format!("Give the new cluster port {free} instead of {own}"),
            "The new server is started at that port until it is swapped in; it is closed all the \
             same. The file stays where it is, and the old cluster is not touched.",
            "seconds; nothing is copied again",
            "none: once it is swapped in, it has the cluster's own port",
        )
        .with(vec![free.to_string()])
    });
    let end = by_people(
        LOOK_AGAIN,
        "End what holds the socket, then look again",
        "The log names the process. Stop that server in order; never delete its lock file.",
    );
    trouble(
        "lock-in-use",
        format!(
            "Another server uses the socket whose lock file is {path}. The file stays where it is."
        ),
        vec![evidence("log", scene.line_with(path)?)],
        match world.ground() {
            Ground::Beside => other.into_iter().chain([end]).collect(),
            _ => vec![end],
        },
    )
}

fn port(scene: &Scene<'_>, sign: &str, world: &dyn World) -> Option<Trouble> {
    let own = world.port();
    let shown = evidence("log", scene.line_with(sign)?);
    let free = world.free_port().map(|free| {
        by_lifeboat(
            FREE_PORT,
            &format!("Open the database on port {free}, until its next start"),
            "The server is started on the next free port. Its own configuration is not changed: its \
             next start is on its own port again.",
            "seconds",
            "applications that ask the usual port do not find it there",
        )
        .with(vec![free.to_string()])
    });
    let end = by_people(
        LOOK_AGAIN,
        &format!("End what listens on port {own}, then look again"),
        format!(
            "`ss -ltnp 'sport = :{own}'` as root names the process. It may be the old server, \
                 started again by somebody."
        ),
    );
    trouble(
        "port-taken",
        format!(
            "Another program listens on port {own}, so the recovered server could not be opened \
             there. Its data is whole; it waits."
        ),
        vec![shown],
        std::iter::once(end).chain(free).collect(),
    )
}
