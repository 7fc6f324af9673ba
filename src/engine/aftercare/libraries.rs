//! Extensions and functions whose program library is not on this machine: they fail at the first
//! call, and a preloaded one keeps the server from starting. Looks for files; loads nothing.

use super::Item;
use super::ward::{Found, Ward, field, listed};
use crate::engine::incident::facts::Role;
use crate::engine::validate::check::begin;
use std::path::{Path, PathBuf};

pub(super) const ITEM: Item = Item {
    id: "libraries",
    title: "Every extension's library is on this machine",
    looks: "Looks for the library file of every function and extension in every database.",
    agrees: Role::Operator,
    look,
    act: None,
    act_proves: false,
};

const USED: &str = "SELECT DISTINCT p.probin, coalesce(e.extname, '') \
     FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c' \
     LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid \
          AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' \
     LEFT JOIN pg_extension e ON e.oid = d.refobjid \
     WHERE p.probin IS NOT NULL ORDER BY 1, 2";

const PLACES: &str = "SELECT (SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'), \
     current_setting('dynamic_library_path')";

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let places = match ward.ask(PLACES) {
        Ok(rows) => {
            rows.first().map(|row| places(field(row, 0), field(row, 1))).unwrap_or_default()
        }
        Err(why) => {
            let begun = begin("libraries:server", "Where the server looks for libraries is known");
            return begun.could_not_verify(why).into();
        }
    };
    ward.in_each("libraries", &mut found, |ward, name, session, found| {
        let used = ward.rows(session, USED)?;
        let gone = used.iter().filter(|row| !is_there(field(row, 0), &places)).map(|row| {
            match (field(row, 0), field(row, 1)) {
                (library, "") => library.to_owned(),
                (library, extension) => format!("{library} (extension {extension})"),
            }
        });
        let gone: Vec<String> = gone.collect();
        let begun = begin(format!("libraries:{name}"), format!("{name}: every library is there"));
        found.check(if gone.is_empty() {
            begun.found(format!("{} in use", used.len())).verified("Every file is there.")
        } else {
            begun.found(format!("missing: {}", listed(&gone, 8))).failed(
                "Install the packages that bring them, of the server's own version. What uses \
                 them fails until then; nothing is lost.",
            )
        });
        Ok(())
    });
    found
}

/// The folders in which the server looks for a library without a path.
fn places(packaged: &str, path: &str) -> Vec<PathBuf> {
    let path = if path.is_empty() { "$libdir" } else { path };
    let each = path.split(':').filter(|part| !part.is_empty());
    each.map(|part| PathBuf::from(part.replacen("$libdir", packaged, 1)))
        .chain([PathBuf::from(packaged)])
        .collect()
}

fn is_there(library: &str, places: &[PathBuf]) -> bool {
    let exists = |path: &Path| {
        let mut with = path.as_os_str().to_os_string();
        with.push(".so");
        path.is_file() || Path::new(&with).is_file()
    };
    match library.strip_prefix("$libdir/") {
        // The packaged folder stands last.
        Some(name) => places.last().is_some_and(|folder| exists(&folder.join(name))),
        None if library.starts_with('/') => exists(Path::new(library)),
        None => places.iter().any(|folder| exists(&folder.join(library))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_where_the_server_would_look() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("amcheck.so"), "").unwrap();
        let packaged = folder.path().display().to_string();
        let at = places(&packaged, "$libdir");
        assert!(is_there("$libdir/amcheck", &at));
        assert!(is_there("amcheck", &at));
        assert!(is_there(&format!("{packaged}/amcheck"), &at));
        assert!(!is_there("$libdir/postgis-3", &at));
        assert!(!is_there("/nowhere/amcheck", &at));
        assert_eq!(places("/p", "/own:$libdir/more"), ["/own", "/p/more", "/p"].map(PathBuf::from));
    }
}
