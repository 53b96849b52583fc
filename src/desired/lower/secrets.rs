//! `secrets.yaml` and the files below `secrets/`, judged without any key. Nothing of such a file is quoted.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{self, Found};
use super::{Tenancy, names, platform, scripts};
use crate::desired::rules;
use crate::desired::written::{WrittenSecret, WrittenSecrets, WrittenVersion};
use crate::domain::{
    Entry, Mode, Secret, SecretName, SecretPurpose, SecretVersion, Severity, Span, Spanned, TenantSettings,
    VersionId, VersionState, Workflow, WorkflowId,
};
use crate::sops::{self, Inspection, LeafState, Recipient, SopsError};
use crate::yaml;

/// The index by name.
pub(super) type Lowered = BTreeMap<SecretName, Secret>;

pub(super) fn lower(
    tenancy: &Tenancy<'_>,
    path: &str,
    written: &WrittenSecrets,
    settings: Option<&TenantSettings>,
    found: &mut Found,
) -> Option<Lowered> {
    let none = Vec::new();
    let entries = written.secrets.as_ref().map_or(&none, |secrets| &secrets.value.0);
    let index = entries.iter().map(|(name, _)| (name.value.as_str(), path, Some(name.span)));
    names::check("secret", index, found);
    let mut secrets = BTreeMap::new();
    let mut listed: BTreeMap<String, Vec<(SecretName, VersionId, Span)>> = BTreeMap::new();
    for (name, secret) in entries {
        let lowered = lower_secret(tenancy, path, name, &secret.value, settings, &mut listed, found);
        found.secrets.insert(name.value.clone(), name.span);
        secrets.insert(name.value.clone(), lowered);
    }
    if let Some((name, settings)) = entries.first().map(|(name, _)| name).zip(settings)
        && settings.recipients.is_empty()
    {
        let message = format!("the tenant has the secret `{}` and no recipients", name.value);
        let help = "`tenantry secrets init` makes a key; its public half goes to `secrets.recipients` of tenant.yaml";
        found
            .push(rules::NO_RECIPIENTS.at(&format!("{}tenant.yaml", tenancy.root), None, message).help(help));
    }
    for (file, entry) in tenancy.tree.below(&format!("{}secrets/", tenancy.root)) {
        match listed.get(file) {
            Some(versions) => check_file(file, entry, versions, settings, found),
            None if file.ends_with(".md") => {}
            None => {
                let finding = rules::UNINDEXED_FILE
                    .at(file, None, "no version of secrets.yaml names this file")
                    .help("list it in secrets.yaml, or remove it");
                found.push(finding);
                // What is not encrypted is worse than what is not listed, and both may be true.
                check_file(file, entry, &[], settings, found);
            }
        }
    }
    Some(secrets)
}

fn lower_secret(
    tenancy: &Tenancy<'_>,
    path: &str,
    name: &Spanned<SecretName>,
    written: &WrittenSecret,
    settings: Option<&TenantSettings>,
    listed: &mut BTreeMap<String, Vec<(SecretName, VersionId, Span)>>,
    found: &mut Found,
) -> Secret {
    if let Some(owner) = &written.owner
        && !tenancy.platform.people.knows(&owner.value)
    {
        platform::unknown(path, &owner.value, owner.span, &tenancy.platform.people, found);
    }
    if let Some(redact) = written.redact.as_ref().filter(|redact| !redact.value) {
        let message = format!("the value of `{}` is not kept out of logs", name.value);
        found.push(rules::NOT_REDACTED.at(path, Some(redact.span), message).help("remove `redact: false`"));
    }
    let uses = written.purposes.iter().flat_map(|purposes| &purposes.value);
    if let Some(alert) = uses.into_iter().find(|purpose| purpose.value == SecretPurpose::Alert) {
        let message = format!("this version sends no alerts, so `{}` is opened for none", name.value);
        let help = "have an `on_failure` step tell people, with the secret among its `secrets`, and write `use: [step]`";
        found.push(rules::ALERT_NOT_SENT.at(path, Some(alert.span), message).help(help));
    }
    let mut versions = Vec::new();
    for version in &written.versions.value {
        versions.push(lower_version(tenancy, path, &name.value, written, &version.value, listed, found));
    }
    check_states(path, name, written, found);
    // Without settings their mistakes are enough; the state is given up anyway.
    let owner = written.owner.as_ref().map(|owner| owner.value.clone());
    let owner = owner.or_else(|| settings.map(|settings| settings.owner.clone()));
    Secret {
        name: name.value.clone(),
        owner: owner.unwrap_or_else(|| crate::domain::Principal::Group(placeholder())),
        purposes: written.purposes.as_ref().map_or_else(
            || BTreeSet::from([SecretPurpose::Step]),
            |purposes| purposes.value.iter().map(|purpose| purpose.value).collect(),
        ),
        rotate_every: written.rotate_every.as_ref().map(|length| length.value),
        leaked_at: written.leaked_at.as_ref().map(|at| at.value),
        redact: written.redact.as_ref().is_none_or(|redact| redact.value),
        on_revoke: written.on_revoke.as_ref().map_or_else(Default::default, |answer| answer.value),
        versions,
    }
}

/// Stands for an owner that could not be read: a state with it is never given out.
fn placeholder() -> crate::domain::GroupId {
    // INVARIANT: `unreadable` is spelled as a group is.
    "unreadable".parse().unwrap_or_else(|error| panic!("a fixed name is a name: {error}"))
}

fn lower_version(
    tenancy: &Tenancy<'_>,
    path: &str,
    name: &SecretName,
    secret: &WrittenSecret,
    written: &WrittenVersion,
    listed: &mut BTreeMap<String, Vec<(SecretName, VersionId, Span)>>,
    found: &mut Found,
) -> SecretVersion {
    let id = &written.id;
    let file = match written.file.as_ref().or(secret.file.as_ref()) {
        Some(file) => {
            scripts::check_path(path, file, found);
            if !file.value.starts_with("secrets/") {
                let message = "the file of a secret lies below `secrets/`";
                found.push(rules::BAD_VALUE.at(path, Some(file.span), message).help("write `secrets/…`"));
            }
            file.value.clone()
        }
        None => format!("secrets/{name}.{}.sops.yaml", id.value),
    };
    let file = format!("{}{file}", tenancy.root);
    let blob = tenancy.tree.get(&file);
    if blob.is_none() && written.state.value != VersionState::Revoked {
        let message = format!("the version `{}` of `{name}` has no file", id.value);
        let finding = rules::INDEX_DISAGREES.at(path, Some(id.span), message);
        found.push(finding.help(format!("add `{file}` with `tenantry secrets set`")));
    }
    listed.entry(file.clone()).or_default().push((name.clone(), id.value.clone(), id.span));
    SecretVersion {
        id: id.value.clone(),
        state: written.state.value,
        created: written.created.as_ref().map(|at| at.value),
        accept_until: written.accept_until.as_ref().map(|at| at.value),
        blob: blob.map(|entry| entry.id.clone()),
        file,
    }
}

fn check_states(path: &str, name: &Spanned<SecretName>, written: &WrittenSecret, found: &mut Found) {
    let mut ids: BTreeMap<&VersionId, Span> = BTreeMap::new();
    let mut current: Option<Span> = None;
    for version in &written.versions.value {
        let version = &version.value;
        if let Some(first) = ids.insert(&version.id.value, version.id.span) {
            let message = format!("the version `{}` of `{}` stands twice", version.id.value, name.value);
            let finding = rules::TWO_CURRENT.at(path, Some(version.id.span), message);
            found.push(finding.help("an id is never used again").related(path, Some(first), "first here"));
        }
        if version.state.value == VersionState::Current
            && let Some(first) = current.replace(version.state.span)
        {
            let message = format!("`{}` has two current versions", name.value);
            let finding = rules::TWO_CURRENT.at(path, Some(version.state.span), message);
            let help = "make the older one `previous` with `accept_until`";
            found.push(finding.help(help).related(path, Some(first), "the other one"));
        }
        match (version.state.value, &version.accept_until) {
            (VersionState::Previous, None) => {
                let message =
                    format!("the previous version `{}` of `{}` has no end", version.id.value, name.value);
                let finding = rules::BAD_VERSION.at(path, Some(version.state.span), message);
                found.push(finding.help("add `accept_until: TIME`"));
            }
            (VersionState::Pending | VersionState::Current, Some(until)) => {
                let message = "`accept_until` belongs to a previous version";
                let finding = rules::BAD_VERSION.at(path, Some(until.span), message);
                found.push(finding.help("remove it, or make the version `previous`"));
            }
            _ => {}
        }
    }
    if let Some(leaked) = &written.leaked_at {
        let known = written.versions.value.iter().map(|version| &version.value).find(|version| {
            let before = version.created.as_ref().is_none_or(|created| created.value <= leaked.value);
            version.state.value == VersionState::Current && before
        });
        if let Some(version) = known {
            let message = format!(
                "the current version of `{}` was made before an identity that opens it leaked",
                name.value
            );
            let finding = rules::KNOWN_SINCE_LEAK.at(path, Some(version.id.span), message);
            let help = format!("`tenantry secrets rotate {} --leaked --reason …`", name.value);
            found.push(finding.help(help).related(path, Some(leaked.span), "it leaked then"));
        }
    }
    if current.is_none() {
        let revoked =
            written.versions.value.iter().any(|version| version.value.state.value == VersionState::Revoked);
        let message = format!("`{}` has no current version", name.value);
        let mut finding =
            rules::NO_CURRENT.at(path, Some(name.span), message).help("make one with `tenantry secrets set`");
        if revoked {
            finding.severity = Severity::Warning;
        }
        found.push(finding);
    }
}

/// Checks one encrypted file. `versions` are those that the index looks for in it.
fn check_file(
    path: &str,
    entry: &Entry,
    versions: &[(SecretName, VersionId, Span)],
    settings: Option<&TenantSettings>,
    found: &mut Found,
) {
    if matches!(entry.mode, Mode::Symlink | Mode::Submodule) {
        return; // reported where the tree is looked over
    }
    let Some(bytes) = &entry.content else {
        found.push(
            rules::TOO_LARGE
                .at(path, None, format!("the file has {} bytes", entry.size))
                .help("a secret is smaller than 1 MiB"),
        );
        return;
    };
    let inspection = match sops::inspect(bytes) {
        Ok(inspection) => inspection,
        Err(error) => {
            found.push(unreadable(path, &error));
            return;
        }
    };
    check_metadata(path, &inspection, found);
    check_fields(path, bytes, found);
    check_keys(path, &inspection, settings, found);
    for leaf in &inspection.leaves {
        if matches!(leaf.state, LeafState::PlaintextAllowed | LeafState::PlaintextForbidden) {
            let finding = rules::PLAINTEXT_VALUE
                .at(path, Some(leaf.span), "a value is not encrypted")
                .help("take it for leaked: make a new one with `tenantry secrets rotate`");
            found.push(finding);
        }
    }
    if versions.is_empty() {
        return;
    }
    let place = |leaf: &sops::LeafPlace| match leaf.path.as_slice() {
        [name, version, ..] => Some((name.clone(), version.clone())),
        _ => None,
    };
    for (name, version, _) in versions {
        let held = inspection.leaves.iter().any(|leaf| {
            leaf.state != LeafState::Empty
                && place(leaf).is_some_and(|(n, v)| n == name.as_str() && v == version.as_str())
        });
        if !held {
            let finding = rules::INDEX_DISAGREES
                .at(path, None, format!("the file does not hold the version `{version}` of `{name}`"))
                .help(format!("a file holds `{name}: {{ {version}: … }}`"));
            found.push(finding);
        }
    }
    let stray = inspection.leaves.iter().find(|leaf| {
        place(leaf).is_none_or(|(n, v)| {
            !versions.iter().any(|(name, version, _)| name.as_str() == n && version.as_str() == v)
        })
    });
    if let Some(leaf) = stray {
        let finding = rules::INDEX_DISAGREES
            .at(path, Some(leaf.span), "the file holds a value that no version of secrets.yaml names")
            .help("list it in secrets.yaml, or remove it from the file");
        found.push(finding);
    }
}

/// Says why a file cannot be judged; nothing of it is quoted.
fn unreadable(path: &str, error: &SopsError) -> crate::domain::Diagnostic {
    match error {
        SopsError::Yaml(problem) => file::problem_found(path, problem, false),
        SopsError::NoMetadata => rules::NOT_ENCRYPTED
            .at(path, None, "the file is not encrypted")
            .help("take its values for leaked; `tenantry secrets set` writes an encrypted file"),
        SopsError::Text { store, line, reason } => rules::BAD_METADATA
            .at(path, None, format!("this is no readable {store} file: line {line}: {reason}"))
            .help("write the file again with `tenantry secrets set` or sops"),
        SopsError::Metadata { .. }
        | SopsError::Shape { .. }
        | SopsError::NoDataKey(_)
        | SopsError::Value { .. }
        | SopsError::Mac(_)
        | SopsError::NotFound(_)
        | SopsError::Unwritable(_) => rules::BAD_METADATA
            .at(path, None, "the metadata of this SOPS file cannot be read")
            .help("write the file again with `tenantry secrets set` or sops"),
    }
}

fn check_metadata(path: &str, inspection: &Inspection, found: &mut Found) {
    let help = "write the file again with `tenantry secrets set` or sops";
    if inspection.mac.is_none() {
        let message = "the file has no MAC that could be checked";
        found.push(rules::BAD_METADATA.at(path, Some(inspection.metadata), message).help(help));
    }
    if inspection.last_modified.is_none() {
        let message = "the file has no `lastmodified` time, without which its MAC cannot be checked";
        found.push(rules::BAD_METADATA.at(path, Some(inspection.metadata), message).help(help));
    }
    if inspection.groups > 1 {
        let message = "the file splits its key among several groups";
        let help = "encrypt it to one group: the tenant's recipients and the recovery key";
        found.push(rules::REFUSED_KEY.at(path, Some(inspection.metadata), message).help(help));
    }
}

/// Fields of `sops:` that sops writes. Anything else there would be plaintext that no rule of encryption covers.
const METADATA: [&str; 19] = [
    "age",
    "pgp",
    "kms",
    "gcp_kms",
    "azure_kv",
    "hc_vault",
    "hckms",
    "key_groups",
    "shamir_threshold",
    "lastmodified",
    "mac",
    "mac_only_encrypted",
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
    "version",
];

fn check_fields(path: &str, bytes: &[u8], found: &mut Found) {
    // It was read by the same reader a moment ago.
    let Ok(documents) = yaml::parse(bytes, &sops::BUDGET) else { return };
    let metadata = documents.iter().filter_map(|document| document.root.get("sops"));
    for (key, _) in metadata.filter_map(yaml::Node::as_mapping).flatten() {
        if !key.scalar().is_some_and(|name| METADATA.contains(&name)) {
            let finding = rules::BAD_METADATA
                .at(path, Some(key.span), "the metadata has a field that sops does not write")
                .help("take what stands there for leaked, and write the file again");
            found.push(finding);
        }
    }
}

fn check_keys(path: &str, inspection: &Inspection, settings: Option<&TenantSettings>, found: &mut Found) {
    let mut named: BTreeSet<String> = BTreeSet::new();
    for key in &inspection.keys {
        let recipient = key.recipient.as_ref().and_then(|text| text.value.parse::<Recipient>().ok());
        let Some(recipient) = recipient.filter(|_| key.store == "age") else {
            let message = if key.store == "age" {
                "an entry is for a recipient of a kind that is refused".to_owned()
            } else {
                format!("the file can be opened by `{}`", key.store)
            };
            let help = "only age X25519 and ssh-ed25519 keys may open a file";
            found.push(rules::REFUSED_KEY.at(path, Some(key.span), message).help(help));
            continue;
        };
        if key.openings() != 1 {
            let message = "an entry wraps the key of the file for other readers than it names";
            let help = "take the values for leaked, then write the file again";
            found.push(rules::HIDDEN_STANZA.at(path, Some(key.span), message).help(help));
        }
        named.insert(recipient.as_str().to_owned());
    }
    let Some(settings) = settings else { return };
    let wanted: BTreeSet<&str> =
        settings.recipients.iter().chain(&settings.recovery).map(String::as_str).collect();
    for extra in named.iter().filter(|recipient| !wanted.contains(recipient.as_str())) {
        let span = inspection.keys.iter().find(|key| {
            key.recipient
                .as_ref()
                .and_then(|text| text.value.parse::<Recipient>().ok())
                .is_some_and(|key| key.as_str() == extra)
        });
        let finding = rules::EXTRA_RECIPIENT
            .at(
                path,
                span.map(|key| key.span),
                format!("`{}` can open this file and is no recipient of the tenant", short(extra)),
            )
            .help("write the file again with the recipients of tenant.yaml and the recovery key");
        found.push(finding);
    }
    for missing in wanted.iter().filter(|recipient| !named.contains(**recipient)) {
        let who = if settings.recovery.iter().any(|key| key == missing) {
            "the recovery key"
        } else {
            "the tenant's recipient"
        };
        let finding = rules::MISSING_RECIPIENT
            .at(path, Some(inspection.metadata), format!("{who} `{}` cannot open this file", short(missing)))
            .help("write the file again with the recipients of tenant.yaml and the recovery key");
        found.push(finding);
    }
}

/// Enough of a public key to find it.
fn short(recipient: &str) -> String {
    let shown: String = recipient.chars().take(20).collect();
    if shown.len() < recipient.len() { format!("{shown}…") } else { shown }
}

/// Reports secrets that nothing uses.
pub(super) fn check_unused(
    tenancy: &Tenancy<'_>,
    secrets: &Lowered,
    workflows: &BTreeMap<WorkflowId, Workflow>,
    found: &mut Found,
) {
    let used: BTreeSet<&SecretName> = workflows
        .values()
        .flat_map(|workflow| workflow.steps.iter().chain(workflow.on_failure.as_deref()))
        .flat_map(|step| step.secrets.iter().map(|used| &used.name))
        .collect();
    let path = format!("{}secrets.yaml", tenancy.root);
    for secret in secrets.values() {
        let steps_only = secret.purposes.iter().all(|purpose| *purpose == SecretPurpose::Step);
        let over = secret.versions.iter().all(|version| version.state == VersionState::Revoked);
        if steps_only && !over && !used.contains(&secret.name) {
            let finding = rules::UNUSED_SECRET
                .at(
                    &path,
                    found.secrets.get(&secret.name).copied(),
                    format!("no workflow uses the secret `{}`", secret.name),
                )
                .help("remove it, or declare it in the step that needs it");
            found.push(finding);
        }
    }
}
