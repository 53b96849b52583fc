//! A uid, and whom it wants to act as, to an actor.

use crate::domain::{Actor, ChangeControlMode, Platform, UserId};

use super::Trust;

/// Who is calling, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose rights decide.
    pub actor: Actor,
    /// How he is known, for the audit: `uid 1000`, or `uid 1000, by --as`.
    pub proof: String,
}

/// A caller cannot be who he says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// `--as` where persons have to prove who they are.
    #[error("`--as` works only where change control is `open` or trust.toml says `solo = true`")]
    AsNotAllowed,
    /// `--as` names nobody.
    #[error("there is no person `{0}` in the applied platform/people.yaml")]
    NoSuchPerson(UserId),
}

/// Says who the peer of a Unix socket is.
///
/// `wanted` is what `--as` asks for. It is granted in mode `open`, and under `solo`, to whoever reaches the
/// socket: there a person proves nothing anyway, and the audit shows the uid behind it.
///
/// # Errors
/// [`LoginError`].
pub fn identify(
    uid: u32,
    wanted: Option<&UserId>,
    trust: &Trust,
    platform: Option<&Platform>,
) -> Result<Caller, LoginError> {
    let Some(wanted) = wanted else {
        let actor = trust.local.get(&uid).map_or(Actor::Local(uid), |user| Actor::User(user.clone()));
        return Ok(Caller { actor, proof: format!("uid {uid}") });
    };
    let open = platform.is_some_and(|platform| trust.mode(platform.settings.mode) == ChangeControlMode::Open);
    if !open && !trust.solo {
        return Err(LoginError::AsNotAllowed);
    }
    if !platform.is_some_and(|platform| platform.people.users.contains_key(wanted)) {
        return Err(LoginError::NoSuchPerson(wanted.clone()));
    }
    Ok(Caller { actor: Actor::User(wanted.clone()), proof: format!("uid {uid}, by --as") })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::domain::{Ceilings, OnRewrite, People, Person, Retention, Settings};

    fn platform(mode: ChangeControlMode) -> Platform {
        let person = Person { name: None, email: None, keys: vec![], identities: BTreeMap::new() };
        Platform {
            settings: Settings {
                id: String::new(),
                name: String::new(),
                branch: "main".into(),
                on_rewrite: OnRewrite::Hold,
                mode,
                policy: String::new(),
                limits: Ceilings::default(),
                retention: Retention::default(),
                recovery: vec![],
                private: vec![],
                indexes: vec![],
                mail: false,
            },
            people: People {
                users: BTreeMap::from([("alice".parse().unwrap(), person)]),
                ..People::default()
            },
            admins: BTreeSet::new(),
            maintainers: BTreeMap::new(),
        }
    }

    #[track_caller]
    fn check(
        wanted: Option<&str>,
        trust: &str,
        mode: Option<ChangeControlMode>,
        want: Result<(&str, &str), LoginError>,
    ) {
        let wanted = wanted.map(|name| name.parse().unwrap());
        let trust = Trust::parse(trust).unwrap();
        let got = identify(1000, wanted.as_ref(), &trust, mode.map(platform).as_ref());
        let got = got.map(|caller| (caller.actor.to_string(), caller.proof));
        assert_eq!(got, want.map(|(actor, proof)| (actor.to_owned(), proof.to_owned())));
    }

    #[test]
    fn a_uid_is_the_person_that_trust_names_or_nobody() {
        use ChangeControlMode::{Open, PullRequest};
        check(None, "", Some(Open), Ok(("local:1000", "uid 1000")));
        check(None, "[local]\n1000 = \"alice\"\n", Some(PullRequest), Ok(("user:alice", "uid 1000")));
        check(None, "[local]\n1001 = \"alice\"\n", None, Ok(("local:1000", "uid 1000")));
    }

    #[test]
    fn another_person_only_where_nobody_proves_anything() {
        use ChangeControlMode::{Open, PullRequest, Signed};
        let alice = Ok(("user:alice", "uid 1000, by --as"));
        check(Some("alice"), "", Some(Open), alice.clone());
        check(Some("alice"), "solo = true", Some(Signed), alice);
        check(Some("alice"), "", Some(PullRequest), Err(LoginError::AsNotAllowed));
        check(Some("alice"), "weakest_mode = \"signed\"", Some(Open), Err(LoginError::AsNotAllowed));
        check(Some("alice"), "", None, Err(LoginError::AsNotAllowed));
        check(Some("mallory"), "", Some(Open), Err(LoginError::NoSuchPerson("mallory".parse().unwrap())));
    }
}
