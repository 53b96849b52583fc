//! From what was written to what is meant.

mod approvals;
mod change;
mod clock;
mod content;
mod expressions;
mod file;
mod hosts;
mod names;
mod order;
mod partial;
mod place;
mod platform;
mod reach;
mod restrictions;
mod roles;
mod routes;
mod scripts;
mod search;
mod secrets;
mod steps;
mod tenant;
mod triggers;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::desired::rules;
use crate::desired::written::{
    Language, WrittenRoles, WrittenSecrets, WrittenTenant, WrittenWorkflow, decode,
};
use crate::domain::{
    CommitId, DesiredState, Diagnostic, Grant, GroupId, Listing, Platform, Principal, Severity, TenantId,
    TenantSettings, TenantState, Tree, UserId, WorkflowId,
};
use crate::expression::Parsed;
use crate::sops::Recipient;
use crate::yaml;
use file::Found;

pub use change::{
    Author, Requirements, Side, Signature, TenantChange, check_change, check_signatures, requirements,
};
pub use clock::check_clock;
pub use content::holds_secret;
pub use platform::{platform_facts, read_platform};
pub use restrictions::{Restrictions, read_restrictions};
pub use search::Search;

/// One tenant's files while they are lowered.
struct Tenancy<'a> {
    /// Whose.
    tenant: &'a TenantId,
    /// `tenants/T/`.
    root: String,
    /// What binds it.
    platform: &'a Platform,
    /// Its directory.
    tree: &'a Tree,
    /// Holds the files below `shared/`.
    shared: &'a Tree,
}

/// Reads one tenant. `shared` is the tree that [`read_platform`] took: workflows for many tenants lie there.
///
/// The state is `None` as soon as one finding is an error: a tenant is applied as a whole or not at all. Findings
/// are sorted by path and place. Pure: the same trees give the same result.
#[must_use]
pub fn read(
    platform: &Platform,
    listing: &Listing,
    shared: &Tree,
    tree: &Tree,
    tenant: &TenantId,
) -> (Option<DesiredState>, Vec<Diagnostic>) {
    read_with(&mut Parsed::default(), platform, listing, shared, tree, tenant)
}

/// [`read`] for one tenant of many: an expression that another one has, too, is read once.
#[must_use]
pub fn read_with(
    parsed: &mut Parsed,
    platform: &Platform,
    listing: &Listing,
    shared: &Tree,
    tree: &Tree,
    tenant: &TenantId,
) -> (Option<DesiredState>, Vec<Diagnostic>) {
    let root = format!("tenants/{tenant}/");
    let tenancy = Tenancy { tenant, root, platform, tree, shared };
    let mut found = Found::with(std::mem::take(parsed));
    let state = tenancy.lower(&mut found);
    *parsed = std::mem::take(&mut found.parsed);
    let findings = found.finish(Some(tenant));
    let valid = findings.iter().all(|finding| finding.severity < Severity::Error);
    let state = state.filter(|_| valid).map(|state| {
        let used: BTreeSet<&str> =
            state.workflows.values().filter_map(|workflow| workflow.uses.as_deref()).collect();
        let used = used.iter().filter_map(|uses| uses.strip_prefix("shared/"));
        DesiredState {
            tenant: tenant.clone(),
            revision: tree.revision.clone(),
            keys: listing.keys(tenant, used),
            state,
        }
    });
    (state, findings)
}

/// The directories below `shared/` that a tenant's workflows name, also where they cannot be read in full.
#[must_use]
pub fn shared_used(tree: &Tree, tenant: &TenantId) -> BTreeSet<String> {
    let mut found = Found::default();
    tree.below(&format!("tenants/{tenant}/workflows/"))
        .filter_map(|(path, entry)| file::parse(path, entry, &mut found))
        .filter_map(|root| {
            let uses = root.get("uses")?.scalar()?.strip_prefix("shared/")?;
            // What is pinned does not change with the directory.
            (!uses.contains('@')).then(|| uses.to_owned())
        })
        .collect()
}

/// The shared workflows that a tenant pins, by name and commit, as far as both are spelled well.
#[must_use]
pub fn pins_used(tree: &Tree, tenant: &TenantId) -> BTreeSet<(String, CommitId)> {
    let mut found = Found::default();
    tree.below(&format!("tenants/{tenant}/workflows/"))
        .filter_map(|(path, entry)| file::parse(path, entry, &mut found))
        .filter_map(|root| workflow::pin(root.get("uses")?.scalar()?))
        .collect()
}

/// Says what lies below `tenants/` and is no tenant.
#[must_use]
pub fn check_listing(listing: &Listing) -> Vec<Diagnostic> {
    let mut found = Found::default();
    let paths: Vec<String> = listing.tenants.keys().map(|tenant| format!("tenants/{tenant}")).collect();
    let tenants = listing.tenants.keys().zip(&paths);
    names::check("tenant", tenants.map(|(tenant, path)| (tenant.as_str(), path.as_str(), None)), &mut found);
    let misplaced = listing.misplaced.iter().map(|path| {
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
        match name.parse::<TenantId>() {
            Err(error) if !name.contains('.') => rules::BAD_NAME
                .at(path, None, format!("`{}` cannot name a tenant: {error}", name.escape_debug()))
                .help("rename the directory"),
            _ => rules::UNKNOWN_PLACE
                .at(path, None, "nothing is read at this place")
                .help("below `tenants/` lies one directory for each tenant"),
        }
    });
    found.list.extend(misplaced);
    found.finish(None)
}

/// Finds what only several tenants together show: one recipient in two of them.
///
/// `recipients` are the keys that each tenant names for itself. `texts` gives the bytes of a file, for its places and for the comments that set a warning aside.
#[must_use]
pub fn check_fleet<'a>(
    recipients: impl IntoIterator<Item = (&'a TenantId, &'a [String])>,
    texts: &dyn Fn(&str) -> Option<Arc<[u8]>>,
) -> Vec<Diagnostic> {
    let mut owners: BTreeMap<&str, &TenantId> = BTreeMap::new();
    let mut found = Vec::new();
    for (tenant, named) in recipients {
        for recipient in named {
            match owners.get(recipient.as_str()) {
                Some(first) if *first != tenant => {
                    found.extend(shared_recipient(first, tenant, recipient, texts));
                }
                Some(_) => {}
                None => {
                    owners.insert(recipient, tenant);
                }
            }
        }
    }
    found
}

fn shared_recipient(
    first: &TenantId,
    second: &TenantId,
    recipient: &str,
    texts: &dyn Fn(&str) -> Option<Arc<[u8]>>,
) -> Vec<Diagnostic> {
    let mut found = Found::default();
    let mut place = |tenant: &TenantId, own: bool| {
        let path = format!("tenants/{tenant}/tenant.yaml");
        let bytes = texts(&path);
        let document = bytes.and_then(|bytes| yaml::parse(&bytes, &yaml::Budget::default()).ok()?.pop());
        let span = document.as_ref().and_then(|document| {
            let recipients = document.root.get("secrets")?.get("recipients")?.as_sequence()?;
            let same = |node: &&yaml::Node| {
                node.scalar()
                    .and_then(|text| text.parse::<Recipient>().ok())
                    .is_some_and(|key| key.as_str() == recipient)
            };
            recipients.iter().find(same).map(|node| node.span)
        });
        if let (true, Some(document)) = (own, document) {
            found.comment(&path, document.comments);
        }
        (path, span)
    };
    let (first_path, first_span) = place(first, false);
    let (path, span) = place(second, true);
    let message =
        format!("tenants `{first}` and `{second}` name the same recipient: whoever holds its key reads both");
    let finding = rules::SHARED_RECIPIENT
        .at(&path, span, message)
        .help("make a key of its own with `tenantry secrets init`")
        .related(&first_path, first_span, "also here");
    found.push(finding);
    found.finish_as(Some(second), false)
}

/// Reads every workflow below `shared/` for itself, so that its author sees mistakes that no tenant shows yet.
#[must_use]
pub fn check_shared(tree: &Tree) -> Vec<Diagnostic> {
    let mut found = Found::default();
    place::check_below("shared/", tree, &mut found);
    for (path, entry) in tree.below("shared/") {
        content::check(path, entry, &mut found);
        if !path.ends_with("/workflow.yaml") || path.split('/').count() != 3 {
            continue;
        }
        if let Some(root) = file::parse(path, entry, &mut found) {
            let _ = decode::<WrittenWorkflow>(&root, path, Language::Yaml, &mut found.list);
        }
    }
    found.finish(None)
}

impl Tenancy<'_> {
    fn lower(&self, found: &mut Found) -> Option<TenantState> {
        if !place::check_tenant(self, found) {
            return None;
        }
        let settings = self.settings(found);
        let (grants, elevations) = self.roles(settings.as_ref(), found);
        let secrets = self.secrets(settings.as_ref(), found);
        let workflows = self.workflows(settings.as_ref(), secrets.as_ref(), &grants, found);
        if let Some(secrets) = &secrets {
            routes::check_secrets(&format!("{}tenant.yaml", self.root), secrets, found);
        }
        let (settings, secrets, workflows) = (settings?, secrets?, workflows?);
        secrets::check_unused(self, &secrets, &workflows, found);
        let named =
            grants.iter().map(|grant| &grant.principal).chain(secrets.values().map(|secret| &secret.owner));
        let groups: BTreeMap<GroupId, BTreeSet<UserId>> = named
            .chain([&settings.owner])
            .filter_map(|principal| match principal {
                Principal::Group(group) => Some(group),
                Principal::User(_) | Principal::Service(_) => None,
            })
            .cloned()
            .chain(approvals::groups(&workflows))
            .map(|group| {
                let members = self.platform.people.groups.get(&group).cloned().unwrap_or_default();
                (group, members)
            })
            .collect();
        Some(TenantState { settings, grants, elevations, groups, secrets, workflows })
    }

    fn settings(&self, found: &mut Found) -> Option<TenantSettings> {
        let path = format!("{}tenant.yaml", self.root);
        let Some(entry) = self.tree.get(&path) else {
            let message = format!("the tenant `{}` has no tenant.yaml", self.tenant);
            found.push(rules::MISSING_FILE.at(&path, None, message).help("write one with `owner:`"));
            return None;
        };
        let root = file::parse(&path, entry, found)?;
        let written: WrittenTenant = decode(&root, &path, Language::Yaml, &mut found.list)?;
        tenant::lower(self, &path, written, found)
    }

    fn roles(&self, settings: Option<&TenantSettings>, found: &mut Found) -> roles::Lowered {
        let path = format!("{}roles.yaml", self.root);
        let written = self.tree.get(&path).and_then(|entry| {
            let root = file::parse(&path, entry, found)?;
            decode::<WrittenRoles>(&root, &path, Language::Yaml, &mut found.list)
        });
        roles::lower(self, &path, written, settings.map(|settings| &settings.owner), found)
    }

    fn secrets(&self, settings: Option<&TenantSettings>, found: &mut Found) -> Option<secrets::Lowered> {
        let path = format!("{}secrets.yaml", self.root);
        let written = match self.tree.get(&path) {
            None => WrittenSecrets { secrets: None },
            Some(entry) => {
                let root = file::parse(&path, entry, found)?;
                decode(&root, &path, Language::Yaml, &mut found.list)?
            }
        };
        secrets::lower(self, &path, &written, settings, found)
    }

    fn workflows(
        &self,
        settings: Option<&TenantSettings>,
        secrets: Option<&secrets::Lowered>,
        grants: &BTreeSet<Grant>,
        found: &mut Found,
    ) -> Option<BTreeMap<WorkflowId, crate::domain::Workflow>> {
        let below = format!("{}workflows/", self.root);
        let names = self.tree.below(&below);
        let names =
            names.filter_map(|(path, _)| Some((path[below.len()..].strip_suffix(".yaml")?, path, None)));
        names::check("workflow", names, found);
        let mut workflows = BTreeMap::new();
        let mut whole = true;
        for (path, entry) in self.tree.below(&below) {
            let Some(name) = path[below.len()..].strip_suffix(".yaml") else { continue };
            let Ok(id) = name.parse::<WorkflowId>() else { continue };
            let around = workflow::Around { settings, secrets, grants };
            let lowered = file::parse(path, entry, found).and_then(|root| {
                let before = found.list.len();
                match decode(&root, path, Language::Yaml, &mut found.list) {
                    Some(written) => workflow::lower(self, &id, path, written, around, found),
                    None => {
                        let mistakes = found.list[before..].to_vec();
                        let look = |written, found: &mut Found| {
                            drop(workflow::lower(self, &id, path, written, around, found));
                        };
                        partial::look(path, &root, &mistakes, look, found);
                        None
                    }
                }
            });
            match lowered {
                Some(workflow) => {
                    workflows.insert(id, workflow);
                }
                None => whole = false,
            }
        }
        whole.then_some(workflows)
    }
}
