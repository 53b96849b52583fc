//! What only time makes a mistake of. Never an error: the same files stay valid.

use super::file::{self, Found};
use crate::desired::rules;
use crate::desired::written::{Language, WrittenSecrets, decode};
use crate::domain::{Diagnostic, TenantId, Timestamp, Tree, VersionState};

/// Says which rotations are overdue at `now`.
#[must_use]
pub fn check_clock(tree: &Tree, tenant: &TenantId, now: Timestamp) -> Vec<Diagnostic> {
    let mut found = Found::default();
    check_rotations(&format!("tenants/{tenant}/secrets.yaml"), tree, now, &mut found);
    found.finish_as(Some(tenant), false)
}

/// Whether a file could have such a finding at all: most have no such field, and are not read twice.
fn mentions(tree: &Tree, path: &str, field: &str) -> bool {
    let content = tree.get(path).and_then(|entry| entry.content.as_deref());
    content.is_some_and(|bytes| bytes.windows(field.len()).any(|window| window == field.as_bytes()))
}

fn check_rotations(path: &str, tree: &Tree, now: Timestamp, found: &mut Found) {
    let Some(entry) = tree.get(path).filter(|_| mentions(tree, path, "rotate_every")) else { return };
    let mut ignored = Vec::new();
    let written = file::parse(path, entry, found)
        .and_then(|root| decode::<WrittenSecrets>(&root, path, Language::Yaml, &mut ignored));
    for (name, secret) in
        written.and_then(|written| written.secrets).into_iter().flat_map(|list| list.value.0)
    {
        let Some(every) = secret.value.rotate_every.map(|every| every.value) else { continue };
        let current = secret.value.versions.value.iter().map(|version| &version.value);
        for version in current.filter(|version| version.state.value == VersionState::Current) {
            let Some(created) = &version.created else { continue };
            let age = now.since(created.value);
            if age > every {
                let days = age.as_millis() / 86_400_000;
                let message = format!(
                    "the current version of `{}` is {days} days old, it should be rotated every {every}",
                    name.value
                );
                let finding = rules::ROTATION_OVERDUE.at(path, Some(created.span), message);
                found.push(finding.help(format!("`tenantry secrets rotate {}`", name.value)));
            }
        }
    }
    // Its own mistakes are told by the rules of the tree.
    found.list.retain(|finding| finding.rule.id == rules::ROTATION_OVERDUE.id);
}
