//! PostgreSQL's own passfile: `host:port:database:user:password`, first match wins. A file that
//! others can read is refused, as PostgreSQL's programs refuse it.

use super::ConnectError;
use crate::engine::config::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The password for the connection, where the file has one.
pub(super) fn password(
    path: &Path,
    connection: &Connection,
    database: &str,
) -> Result<Option<Zeroizing<String>>, ConnectError> {
    let fail = |reason: String| ConnectError::Passfile { path: path.to_owned(), reason };
    let metadata = fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    if !metadata.is_file() {
        return Err(fail(String::from("is not a plain file")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(fail(format!("can be read by others (mode {mode:04o}); it must be 0600")));
    }
    let text =
        fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let text = Zeroizing::new(text);
    let port = connection.port.to_string();
    // PostgreSQL calls its default socket directories "localhost" here.
    let socket = Path::new(&connection.host).is_absolute();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some([host, line_port, name, user, password]) = fields(line) else { continue };
        let host_fits = fits(&host, &connection.host) || (socket && *host == "localhost");
        if host_fits
            && fits(&line_port, &port)
            && fits(&name, database)
            && fits(&user, &connection.user)
        {
            return Ok(Some(password));
        }
    }
    Ok(None)
}

fn fits(pattern: &str, value: &str) -> bool {
    pattern == "*" || pattern == value
}

/// The five fields; a backslash takes the next character as it is.
fn fields(line: &str) -> Option<[Zeroizing<String>; 5]> {
    let mut all: [Zeroizing<String>; 5] = Default::default();
    let mut at = 0;
    let mut characters = line.trim_end_matches(['\r', '\n']).chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => all.get_mut(at)?.push(characters.next().unwrap_or('\\')),
            // A colon that is not escaped ends the password too; PostgreSQL ignores the rest.
            ':' if at == 4 => break,
            ':' => at += 1,
            other => all.get_mut(at)?.push(other),
        }
    }
    (at == 4).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Tls;
    use proptest::prelude::*;

    fn connection(host: &str) -> Connection {
        Connection {
            host: host.to_owned(),
            port: 5433,
            user: String::from("app"),
            database: String::from("shop"),
            passfile: None,
            tls: Tls::Off,
            root_certificate: None,
        }
    }

    fn found(content: &str, host: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        crate::engine::files::create(&path, content.as_bytes(), 0o600).unwrap();
        password(&path, &connection(host), "shop").unwrap().map(|password| password.to_string())
    }

    #[test]
    fn the_first_line_that_fits_wins() {
        let content = "# comment\ndb1:5432:*:app:no\ndb1:5433:shop:app:yes\n*:*:*:*:late\n";
        assert_eq!(found(content, "db1"), Some(String::from("yes")));
        assert_eq!(found(content, "db2"), Some(String::from("late")));
        assert_eq!(found("db1:5433:other:app:no\nshort:line\n", "db1"), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        assert_eq!(found("*:*:*:app:a\\:b\\\\c\n", "db1"), Some(String::from("a:b\\c")));
        assert_eq!(found("\\:\\:1:5433:shop:app:six\n", "::1"), Some(String::from("six")));
        assert_eq!(found("localhost:*:*:*:local\n", "/tmp"), Some(String::from("local")));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        fs::write(&path, "*:*:*:*:secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = password(&path, &connection("db1"), "shop").unwrap_err().to_string();
        assert!(error.contains("0640") && error.contains("pass"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".*") {
            let _ = fields(&line);
        }
    }
}
