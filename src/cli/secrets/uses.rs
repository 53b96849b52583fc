//! Which workflows of a tenant use which secret, read as `validate` reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::worktree::WorkTree;
use crate::desired;
use crate::domain::{Diagnostic, TenantId};
use crate::source::LocalRepository;

/// Uses by the secret's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses(Option<BTreeMap<String, BTreeSet<String>>>);

impl Uses {
    /// The workflows that use a secret; `None` if they are not known.
    pub(crate) fn of(&self, secret: &str) -> Option<Vec<String>> {
        let uses = self.0.as_ref()?;
        Some(uses.get(secret).into_iter().flatten().cloned().collect())
    }

    pub(crate) fn is_known(&self) -> bool {
        self.0.is_some()
    }
}

/// Reads the work tree; unknown where it cannot be read, which `validate` explains.
pub(super) fn of_tenant(tree: &WorkTree, tenant: &TenantId) -> Uses {
    let Some((state, _)) = read(tree, tenant) else { return Uses::default() };
    Uses(state.map(|state| {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, workflow) in &state.workflows {
            let document = serde_json::to_value(workflow).unwrap_or_default();
            let mut names = BTreeSet::new();
            collect(&document, &mut names);
            for name in names {
                uses.entry(name).or_default().insert(id.to_string());
            }
        }
        uses
    }))
}

/// What `validate` finds in the tenant's secrets.
pub(super) fn findings(tree: &WorkTree, tenant: &TenantId) -> Option<Vec<Diagnostic>> {
    read(tree, tenant).map(|(_, found)| found)
}

fn read(tree: &WorkTree, tenant: &TenantId) -> Option<(Option<crate::domain::TenantState>, Vec<Diagnostic>)> {
    let snapshot = LocalRepository::open(&tree.path("")).ok()?.work_tree().ok()?;
    let listing = snapshot.listing().ok()?;
    let shared = snapshot.platform_tree().ok()?;
    let (platform, _) = desired::read_platform(&shared);
    let own = snapshot.tenant_tree(tenant).ok()?;
    let (state, found) = desired::read(&platform?, &listing, &shared, &own, tenant);
    Some((state.map(|state| state.state), found))
}

/// Names under `secrets: [{name}]` of steps and `secret` of webhooks.
fn collect(document: &Json, names: &mut BTreeSet<String>) {
    match document {
        Json::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("secret", Json::String(name)) => {
                        names.insert(name.clone());
                    }
                    ("secrets", Json::Array(items)) => {
                        let listed = items.iter().filter_map(|item| item["name"].as_str());
                        names.extend(listed.map(str::to_owned));
                    }
                    _ => {}
                }
                collect(value, names);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
