//! What the files of a tenant take away, each read for itself: a mistake in one never keeps a right alive that
//! another ends.

use std::collections::BTreeSet;

use super::file::{self, Found};
use crate::desired::written::{Language, Written, WrittenRoles, WrittenSecrets, decode};
use crate::domain::{ElevationId, Grant, Role, SecretName, TenantId, Tree, VersionId, VersionState};

/// The files of a tenant that say who may do what, as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// The grants and the elevations that `roles.yaml` still names, the owner's grant apart; `None` where the
    /// file is missing or has a mistake.
    pub roles: Option<(BTreeSet<Grant>, BTreeSet<ElevationId>)>,
    /// The versions that `secrets.yaml` revokes; `None` as before.
    pub revoked: Option<BTreeSet<(SecretName, VersionId)>>,
}

/// Reads what a tenant's files still give, for a tenant that cannot be read as a whole.
///
/// Source: design page `reconcile.md`, rule 3.
#[must_use]
pub fn read_restrictions(tree: &Tree, tenant: &TenantId) -> Restrictions {
    let roles = written::<WrittenRoles>(tree, &format!("tenants/{tenant}/roles.yaml"));
    let secrets = written::<WrittenSecrets>(tree, &format!("tenants/{tenant}/secrets.yaml"));
    Restrictions { roles: roles.map(still_given), revoked: secrets.map(revoked) }
}

fn written<T: Written>(tree: &Tree, path: &str) -> Option<T> {
    let mut found = Found::default();
    let root = file::parse(path, tree.get(path)?, &mut found)?;
    decode(&root, path, Language::Yaml, &mut found.list)
}

fn still_given(written: WrittenRoles) -> (BTreeSet<Grant>, BTreeSet<ElevationId>) {
    let mut grants = BTreeSet::new();
    for (role, principals) in written.roles {
        let Ok(role) = role.value.parse::<Role>() else { continue };
        grants.extend(principals.into_iter().map(|principal| Grant { role, principal: principal.value }));
    }
    let elevations = written.elevations.into_iter().map(|elevation| elevation.value.id.value);
    (grants, elevations.collect())
}

fn revoked(written: WrittenSecrets) -> BTreeSet<(SecretName, VersionId)> {
    let mut revoked = BTreeSet::new();
    for (name, secret) in written.secrets.into_iter().flat_map(|secrets| secrets.value.0) {
        for version in secret.value.versions.value {
            if version.value.state.value == VersionState::Revoked {
                revoked.insert((name.value.clone(), version.value.id.value));
            }
        }
    }
    revoked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::tree;

    fn read(files: &[(&str, &str)]) -> Restrictions {
        read_restrictions(&tree(files), &"acme".parse().unwrap())
    }

    #[test]
    fn each_file_is_read_for_itself() {
        let found = read(&[
            ("tenants/acme/roles.yaml", "operator: [alice]\ndeveloper: [nobody-we-know]\n"),
            ("tenants/acme/secrets.yaml", "secrets: [\n"),
            ("tenants/acme/workflows/sync.yaml", "run: [\n"),
        ]);
        let (grants, elevations) = found.roles.unwrap();
        assert_eq!((grants.len(), elevations.len()), (2, 0), "people are not looked up here");
        assert_eq!(found.revoked, None);
    }

    #[test]
    fn a_missing_or_mistaken_file_says_nothing() {
        assert_eq!(read(&[]), Restrictions::default());
        for text in ["", "operator: [alice\n", "operater: [alice]\n", "operator: [Alice]\n", "- a\n"] {
            assert_eq!(read(&[("tenants/acme/roles.yaml", text)]).roles, None, "{text:?}");
        }
    }

    #[test]
    fn a_revoked_version_is_named() {
        let text =
            "secrets: { db: { versions: [{ id: v2, state: current }, { id: v1, state: revoked }] } }\n";
        let found = read(&[("tenants/acme/secrets.yaml", text)]);
        assert_eq!(found.revoked.unwrap(), [("db".parse().unwrap(), "v1".parse().unwrap())].into());
    }
}
