//! Who is at the other end of the socket: the kernel's word (SO_PEERCRED), turned into a user and
//! a role by the configuration. Never believes what the peer says of itself.

use crate::engine::config::Operator;
use crate::engine::incident::facts::{Actor, Role};
use nix::unistd::{Uid, User, geteuid};

/// The user name of the runner's own entries.
pub const RUNNER: &str = "lifeboat";

/// The actor of entries that the runner makes by itself.
#[must_use]
pub fn runner() -> Actor {
    Actor { user: RUNNER.to_owned(), uid: geteuid().as_raw(), role: Role::Commander }
}

/// Who a user of this machine is to the incident. May ask the name service, so it blocks.
#[must_use]
pub fn actor(uid: u32, operators: &[Operator]) -> Actor {
    let user = User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map_or_else(|| format!("uid {uid}"), |user| user.name);
    let role = role(&user, uid, geteuid().as_raw(), operators);
    Actor { user, uid, role }
}

/// Where no operators are configured, root and the runner's own user are commander. Where some
/// are, exactly the listed users have exactly the listed roles. Everyone else only sees.
#[must_use]
pub fn role(user: &str, uid: u32, own_uid: u32, operators: &[Operator]) -> Role {
    if operators.is_empty() {
        let commands = uid == 0 || uid == own_uid;
        return if commands { Role::Commander } else { Role::Observer };
    }
    operators
        .iter()
        .find(|operator| operator.user == user)
        .map_or(Role::Observer, |operator| operator.role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_operators_root_and_the_own_user_command() {
        assert_eq!(role("root", 0, 1000, &[]), Role::Commander);
        assert_eq!(role("anna", 1000, 1000, &[]), Role::Commander);
        assert_eq!(role("ben", 1001, 1000, &[]), Role::Observer);
    }

    #[test]
    fn with_operators_the_list_alone_counts() {
        let operators = [
            Operator { user: String::from("anna"), role: Role::Operator },
            Operator { user: String::from("ben"), role: Role::Commander },
        ];
        assert_eq!(role("anna", 1000, 1000, &operators), Role::Operator);
        assert_eq!(role("ben", 1001, 1000, &operators), Role::Commander);
        assert_eq!(role("root", 0, 1000, &operators), Role::Observer);
    }
}
