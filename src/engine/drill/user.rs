//! Which operating-system user the sandbox's server runs as. PostgreSQL refuses to run as root,
//! so root hands over to an unprivileged user; anybody else runs it as themselves.

use super::error::DrillError;
use crate::engine::postgres::discovery::Owner;
use nix::unistd::{self, Uid, User};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user that is asked for, else `postgres`, else `nobody`, where we are root; else us.
///
/// # Errors
/// Where there is none, or it is root, or we are not root and another one is asked for.
pub fn choose(wanted: Option<&str>) -> Result<Owner, DrillError> {
    if !unistd::geteuid().is_root() {
        let us = Owner::current();
        return match wanted.filter(|wanted| us.name.as_deref() != Some(wanted)) {
            Some(wanted) => Err(DrillError::User(format!(
                "only root can run the sandbox as {wanted}; you are {us}"
            ))),
            None => Ok(us),
        };
    }
    let names = wanted.map_or_else(|| vec!["postgres", "nobody"], |name| vec![name]);
    match names.iter().find_map(|name| Owner::named(name).ok()) {
        Some(owner) if owner.uid == 0 => {
            Err(DrillError::User(String::from("PostgreSQL refuses to run as root")))
        }
        Some(owner) => Ok(owner),
        None => Err(DrillError::User(format!("there is no user {}", names.join(" or ")))),
    }
}

/// Whether the user may pass through `folder` and all above it, by owner and mode.
#[must_use]
pub fn can_enter(folder: &Path, user: &Owner) -> bool {
    folder.ancestors().all(|part| {
        let Ok(meta) = part.metadata() else { return false };
        let bit = if meta.uid() == user.uid {
            0o100
        } else if meta.gid() == user.gid {
            0o010
        } else {
            0o001
        };
        meta.mode() & bit != 0
    })
}

/// The name of a user, or the number where it has none.
#[must_use]
pub fn name_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_never_the_servers_user() {
        let refused = choose(Some("root"));
        if unistd::geteuid().is_root() {
            assert!(refused.unwrap_err().to_string().contains("refuses to run as root"));
        } else {
            assert!(refused.unwrap_err().to_string().contains("only root"));
        }
    }

    #[test]
    fn a_private_folder_on_the_way_keeps_others_out() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let stranger = Owner { uid: 4_000_000, gid: 4_000_000, name: None };
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        assert!(!can_enter(&inner, &stranger));
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
        std::fs::set_permissions(&inner, PermissionsExt::from_mode(0o711)).unwrap();
        assert!(can_enter(&inner, &stranger));
    }
}
