//! From what commits name to people: who is not to agree to what he wrote.

use std::collections::BTreeSet;

use crate::domain::{People, Person, UserId};

/// Where forges let people hide their address behind the number of their account: provider, host and what ends it.
const HIDDEN: [(&str, &str, char); 2] =
    [("github", "users.noreply.github.com", '+'), ("gitlab", "users.noreply.gitlab.com", '-')];

/// The people whom the signers of commits name: by address (`mail:…`), by the account in an address that a forge made
/// up, or by key (`ssh:…`).
///
/// What a commit says proves nothing, so this never gives a right: it only takes one away. A name that several people
/// share is taken for all of them.
#[must_use]
pub fn people_named(signers: &BTreeSet<String>, people: &People) -> BTreeSet<UserId> {
    let named = |person: &Person| signers.iter().any(|signer| is_named(person, signer));
    people.users.iter().filter(|(_, person)| named(person)).map(|(user, _)| user.clone()).collect()
}

fn is_named(person: &Person, signer: &str) -> bool {
    if let Some(key) = signer.strip_prefix("ssh:") {
        return person.keys.iter().any(|own| own.ssh.split_whitespace().nth(1) == Some(key));
    }
    let Some(mail) = signer.strip_prefix("mail:") else { return false };
    if person.email.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(mail)) {
        return true;
    }
    let Some((front, host)) = mail.split_once('@') else { return false };
    HIDDEN.iter().any(|(provider, known, end)| {
        let number = front.split_once(*end).map(|(number, _)| number).filter(|_| host == *known);
        let Some(account) = person.identities.get(*provider) else { return false };
        number.is_some_and(|number| match account {
            serde_json::Value::String(known) => known == number,
            serde_json::Value::Number(known) => known.as_u64() == number.parse().ok(),
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn people() -> People {
        let person = |email: Option<&str>, ssh: Option<&str>, github: Option<u32>| Person {
            name: None,
            email: email.map(str::to_owned),
            keys: ssh
                .map(|ssh| crate::domain::PersonKey {
                    ssh: ssh.to_owned(),
                    purposes: BTreeSet::new(),
                    revoked_at: None,
                })
                .into_iter()
                .collect(),
            identities: github
                .map(|id| ("github".to_owned(), id.into()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        };
        let users = [
            ("alice", person(Some("Alice@northwind.example"), None, Some(12345))),
            ("bob", person(Some("bob@northwind.example"), Some("ssh-ed25519 AAAAbob bob@laptop"), None)),
            ("carol", person(None, None, Some(99))),
        ];
        let users = users.map(|(name, person)| (name.parse().expect("a name"), person));
        People { users: users.into(), ..People::default() }
    }

    #[track_caller]
    fn check(signers: &[&str], want: &[&str]) {
        let signers = signers.iter().map(ToString::to_string).collect();
        let got: Vec<_> = people_named(&signers, &people()).iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn commits_name_people_by_address_account_and_key() {
        check(&["mail:alice@northwind.example"], &["alice"]);
        check(&["mail:12345+alice@users.noreply.github.com"], &["alice"]);
        check(&["mail:99+x@users.noreply.github.com", "ssh:AAAAbob"], &["bob", "carol"]);
        check(&["mail:12345+alice@users.noreply.github.com.example", "mail:noreply@github.com"], &[]);
        check(&["mail:12345@users.noreply.github.com", "ssh:AAAA", "mail:", "bob@northwind.example"], &[]);
    }
}
