//! What only a change shows: rules that compare a tenant with a base. They end in held or unverified, never in
//! invalid, and none of them proves anything: who agreed is judged by `authz` when it is applied.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{self, Found};
use super::platform::SETTINGS;
use crate::desired::rules;
use crate::desired::written::{
    Language, WrittenRoles, WrittenSecrets, WrittenSettings, decode, listed, parse_toml,
};
use crate::domain::{
    ChangeControlMode, Class, DesiredState, Diagnostic, Entry, People, Platform, Principal, Role, Span,
    TenantId, TenantState, Tree, UserId, VersionState,
};
use crate::sops::{self, Inspection, Recipient};

/// Who wrote one commit of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The commit, shortened; `None` for what is not committed yet.
    pub commit: Option<String>,
    /// The address that the commit names: it proves nothing, and is all there is before a review.
    pub email: String,
    /// Who signed it.
    pub signature: Signature,
}

/// What is known of a commit's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    Missing,
    /// It was verified: the public key that signed, in base64 as `people.yaml` writes it.
    By(String),
    /// There is one that is not over this commit, or of a kind that is not taken.
    Unverified,
}

impl Signature {
    fn key(&self) -> Option<&str> {
        match self {
            Self::By(key) => Some(key),
            Self::Missing | Self::Unverified => None,
        }
    }
}

impl Author {
    /// The person of people.yaml: by the key that signed, else by the address.
    #[must_use]
    pub fn person<'p>(&self, people: &'p People) -> Option<&'p UserId> {
        let by_key = |(_, person): &(&UserId, &crate::domain::Person)| {
            let key = self.signature.key();
            person.keys.iter().any(|known| known.ssh.split(' ').nth(1) == key)
        };
        let signed = self.signature.key().and_then(|_| people.users.iter().find(by_key));
        let named = || {
            people.users.iter().find(|(_, person)| {
                person.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(&self.email))
            })
        };
        signed.or_else(named).map(|(id, _)| id)
    }

    fn shown(&self) -> String {
        match &self.commit {
            Some(commit) => format!("commit {commit}"),
            None => "what is not committed yet".to_owned(),
        }
    }
}

/// One tenant at one end of a change.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its files.
    pub tree: &'a Tree,
    /// What they mean; `None` where they are invalid.
    pub state: Option<&'a DesiredState>,
}

/// A change of one tenant.
#[derive(Clone, Copy, Debug)]
pub struct TenantChange<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// As of the base; `None` where it was no tenant.
    pub before: Option<Side<'a>>,
    /// As it shall be; `None` where it is removed.
    pub after: Option<Side<'a>>,
    /// The classes of what changes, as the plan names them.
    pub classes: &'a BTreeSet<Class>,
    /// Everybody who wrote a part of it.
    pub authors: &'a [Author],
}

/// Whose agreement the base asks for: what `[change_control.require]` says in place of the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements(BTreeMap<&'static str, (Option<Vec<String>>, Option<u32>)>);

/// Reads what tenantry.toml requires; what cannot be read requires the defaults.
#[must_use]
pub fn requirements(tree: &Tree, environment: Option<&str>) -> Requirements {
    let mut read = Requirements::default();
    let Some(bytes) = tree.get(SETTINGS).and_then(|entry| entry.content.as_deref()) else { return read };
    let mut ignored = Vec::new();
    let written = parse_toml(bytes, SETTINGS)
        .ok()
        .and_then(|root| decode::<WrittenSettings>(&root, SETTINGS, Language::Toml, &mut ignored));
    let Some(control) = written.and_then(|written| written.change_control) else { return read };
    let control = control.value;
    let here = control.environment.into_iter().flat_map(|list| list.value.0);
    let here =
        here.filter(|(name, _)| Some(name.value.as_str()) == environment).flat_map(|(_, list)| list.value.0);
    // What is said for an environment replaces what is said for all.
    for (class, wanted) in control.require.into_iter().flat_map(|list| list.value.0).chain(here) {
        let from = wanted.value.from.map(|from| from.value.into_iter().map(|role| role.value).collect());
        let count = wanted.value.count.map(|count| count.value.0);
        read.0.insert(class.value.0, (from, count));
    }
    read
}

impl Requirements {
    /// The roles that agree to a class, and how many people; none where nobody has to.
    /// Source: design page `access.md`, the table of classes.
    fn of(&self, class: Class) -> (Vec<String>, u32) {
        let (from, count): (&[&str], u32) = match class {
            Class::Reduce => (&[], 0),
            Class::Code => (&["developer"], 1),
            Class::Reach | Class::SecretValue | Class::Settings => (&["operator"], 1),
            Class::Grant => (&["owner"], 1),
            Class::Recipients => (&["owner", "admin"], 2),
            Class::People | Class::Tenant => (&["admin"], 1),
            Class::Platform => (&["admin"], 2),
            Class::Shared => (&["maintainer"], 1),
        };
        let said = self.0.get(class.as_str());
        let roles = said.and_then(|(from, _)| from.clone());
        let count = said.and_then(|(_, count)| *count).unwrap_or(count);
        (roles.unwrap_or_else(|| from.iter().map(|role| (*role).to_owned()).collect()), count)
    }
}

/// Runs every change rule of one tenant. `platform` is that of the base, since no change appoints its own judges.
#[must_use]
pub fn check_change(
    change: &TenantChange<'_>,
    platform: &Platform,
    requirements: &Requirements,
) -> Vec<Diagnostic> {
    let mut found = Found::default();
    let root = format!("tenants/{}", change.tenant);
    match (change.before, change.after) {
        (Some(_), None) => {
            let message = format!("the tenant `{}` is removed", change.tenant);
            let help = "a platform admin agrees to it; to end its runs alone, write `suspend` in tenant.yaml";
            found.push(rules::TENANT_REMOVED.at(&root, None, message).help(help));
        }
        (before, Some(after)) => {
            let none = Side { tree: after.tree, state: None };
            let base = before.unwrap_or(none);
            if before.is_some() {
                check_secret_files(change.tenant, &base, &after, &mut found);
                check_states(change.tenant, &base, &after, &mut found);
            }
            if platform.settings.mode != ChangeControlMode::Open
                && let (Some(base), Some(next)) = (base.state, after.state)
            {
                let people =
                    Agreement { change, platform, requirements, base: &base.state, next: &next.state };
                people.check(&after, &mut found);
            }
        }
        (None, None) => {}
    }
    if platform.settings.mode != ChangeControlMode::Open
        && let Some(base) = change.before.and_then(|before| before.state)
    {
        check_authors(change, platform, &base.state, &mut found);
    }
    found.finish_as(Some(change.tenant), false)
}

/// Reports commits that nobody of people.yaml signed, where change control asks for it.
#[must_use]
pub fn check_signatures(platform: &Platform, authors: &[Author]) -> Vec<Diagnostic> {
    if platform.settings.mode != ChangeControlMode::Signed {
        return Vec::new();
    }
    let people = &platform.people;
    let known = |key: &str| {
        let mut keys = people.users.values().flat_map(|person| &person.keys);
        keys.any(|known| {
            let use_ = known.purposes.iter().any(|purpose| purpose == "commit");
            use_ && known.revoked_at.is_none() && known.ssh.split(' ').nth(1) == Some(key)
        })
    };
    let mut found = Found::default();
    for author in authors.iter().filter(|author| author.commit.is_some()) {
        let what = match &author.signature {
            Signature::Missing => "is not signed",
            Signature::Unverified => {
                "carries a signature that was not made over it by an Ed25519 or P-256 key of SSH"
            }
            Signature::By(key) if known(key) => continue,
            Signature::By(_) => "is signed with a key that platform/people.yaml does not have for commits",
        };
        let finding = rules::UNSIGNED.at(SETTINGS, None, format!("{} {what}", author.shown()));
        found.push(finding.help("sign it: `git rebase --exec 'git commit --amend --no-edit -S' BASE`; else each path needs one approver more"));
    }
    found.finish_as(None, false)
}

fn check_authors(change: &TenantChange<'_>, platform: &Platform, base: &TenantState, found: &mut Found) {
    let root = format!("tenants/{}", change.tenant);
    for author in change.authors {
        let person = author.person(&platform.people);
        let has_role = |user: &UserId| {
            let granted = base.grants.iter().any(|grant| base.includes(&grant.principal, user));
            granted || base.elevations.values().any(|elevation| elevation.user == *user)
        };
        let message = match person {
            Some(user) if has_role(user) || is_admin(user, platform) => continue,
            Some(user) => {
                format!("`{user}` has no role in `{}`, which {} touches", change.tenant, author.shown())
            }
            None => format!(
                "the author of {} is nobody of platform/people.yaml and so has no role in `{}`",
                author.shown(),
                change.tenant
            ),
        };
        let finding = rules::AUTHOR_WITHOUT_ROLE.at(&root, None, message);
        found.push(finding.help("let somebody with a role there propose it; until then it is held"));
    }
}

fn is_admin(user: &UserId, platform: &Platform) -> bool {
    platform.admins.iter().any(|admin| match admin {
        Principal::User(id) => id == user,
        Principal::Group(group) => platform.people.groups.get(group).is_some_and(|all| all.contains(user)),
        Principal::Service(_) => false,
    })
}

/// Who could agree to a change of a tenant.
struct Agreement<'a> {
    change: &'a TenantChange<'a>,
    platform: &'a Platform,
    requirements: &'a Requirements,
    base: &'a TenantState,
    next: &'a TenantState,
}

impl Agreement<'_> {
    fn check(&self, after: &Side<'_>, found: &mut Found) {
        let path = format!("tenants/{}/roles.yaml", self.change.tenant);
        let authors: BTreeSet<&UserId> =
            self.change.authors.iter().filter_map(|author| author.person(&self.platform.people)).collect();
        let places = places(&path, after.tree);
        let place = |principal: &Principal| places.get(principal).copied();
        let mut selfish = false;
        for grant in self.next.grants.difference(&self.base.grants) {
            let gains = authors.iter().find(|user| self.next.includes(&grant.principal, user));
            if let Some(user) = gains {
                selfish = true;
                let message = format!("`{user}` gains the role of {} by their own change", grant.role);
                let finding = rules::SELF_APPROVAL.at(&path, place(&grant.principal), message);
                found.push(
                    finding
                        .help("an owner other than that person agrees to it, or somebody else proposes it"),
                );
            }
        }
        for (id, elevation) in &self.next.elevations {
            if !self.base.elevations.contains_key(id) && authors.contains(&elevation.user) {
                let message = format!("`{}` proposes their own elevation `{id}`", elevation.user);
                let finding =
                    rules::SELF_APPROVAL.at(&path, place(&Principal::User(elevation.user.clone())), message);
                found.push(finding.help("an owner other than that person agrees to it"));
            }
        }
        for class in self.change.classes {
            self.check_class(*class, &authors, selfish, &path, &places, found);
        }
    }

    fn check_class(
        &self,
        class: Class,
        authors: &BTreeSet<&UserId>,
        selfish: bool,
        path: &str,
        places: &BTreeMap<Principal, Span>,
        found: &mut Found,
    ) {
        let (roles, count) = self.requirements.of(class);
        if count == 0 {
            return;
        }
        let candidates: BTreeSet<UserId> =
            roles.iter().flat_map(|role| self.holders(role, self.base)).collect();
        let able = candidates.iter().filter(|user| !authors.contains(user)).count();
        // A right that its author gives himself is told in a finding of its own.
        let told = selfish && class == Class::Grant;
        if able < usize::try_from(count).unwrap_or(usize::MAX) && !told {
            let root = format!("tenants/{}", self.change.tenant);
            let names = listed(roles.iter().map(String::as_str));
            let who = match candidates.len() {
                0 => format!("nobody is {names}"),
                _ => format!("{} is the author", listed(candidates.iter().map(UserId::as_str))),
            };
            let message =
                format!("nobody but its author could agree to this change of class `{class}`: {who}");
            let help = format!("it needs {count} of {names}: name one more person, in a change of its own");
            found.push(rules::NOBODY_COULD_APPROVE.at(&root, None, message).help(help));
        }
        for grant in self.next.grants.difference(&self.base.grants) {
            if class != Class::Grant && roles.iter().any(|role| *role == grant.role.as_str()) {
                let message = format!(
                    "`{}` becomes {} in the change that {} has to agree to",
                    grant.principal, grant.role, grant.role
                );
                let finding =
                    rules::AUTHORITY_IN_SAME_CHANGE.at(path, places.get(&grant.principal).copied(), message);
                found.push(
                    finding.help("it counts from the next change on: propose the grant in one of its own"),
                );
            }
        }
    }

    fn holders(&self, role: &str, state: &TenantState) -> BTreeSet<UserId> {
        let persons = |principals: Vec<&Principal>| -> BTreeSet<UserId> {
            let users = principals.into_iter().flat_map(|principal| match principal {
                Principal::User(user) => vec![user.clone()],
                Principal::Group(group) => {
                    self.platform.people.groups.get(group).into_iter().flatten().cloned().collect()
                }
                // Services never approve.
                Principal::Service(_) => Vec::new(),
            });
            users.collect()
        };
        match role.parse::<Role>() {
            Ok(role) => persons(state.holders(role).collect()),
            Err(_) if role == "admin" => persons(self.platform.admins.iter().collect()),
            Err(_) if role == "maintainer" => persons(self.platform.maintainers.values().flatten().collect()),
            Err(_) => BTreeSet::new(),
        }
    }
}

/// Where roles.yaml names whom, the last place where it names somebody twice.
fn places(path: &str, tree: &Tree) -> BTreeMap<Principal, Span> {
    let mut ignored = Found::default();
    let written = tree
        .get(path)
        .and_then(|entry| file::parse(path, entry, &mut ignored))
        .and_then(|root| decode::<WrittenRoles>(&root, path, Language::Yaml, &mut ignored.list))
        .unwrap_or_default();
    let grants = written.roles.into_iter().flat_map(|(_, principals)| principals);
    let mut places: BTreeMap<Principal, Span> =
        grants.map(|principal| (principal.value, principal.span)).collect();
    for elevation in written.elevations {
        places.insert(Principal::User(elevation.value.user.value), elevation.value.user.span);
    }
    places
}

/// The recipients that a file names, each with its place.
fn readers(inspection: &Inspection) -> BTreeMap<String, Span> {
    let keys = inspection.keys.iter().filter_map(|key| {
        let recipient = key.recipient.as_ref()?.value.parse::<Recipient>().ok()?;
        Some((recipient.as_str().to_owned(), key.span))
    });
    keys.collect()
}

fn inspected(entry: &Entry) -> Option<Inspection> {
    sops::inspect(entry.content.as_deref()?).ok()
}

fn check_secret_files(tenant: &TenantId, before: &Side<'_>, after: &Side<'_>, found: &mut Found) {
    let of = |side: &Side<'_>| -> Option<BTreeSet<String>> {
        Some(side.state?.state.settings.recipients.iter().cloned().collect())
    };
    // Also where the tenant is invalid for another reason.
    let named = |side: &Side<'_>| of(side).or_else(|| recipients_of(tenant, side.tree));
    let retired: BTreeSet<String> = match (named(before), named(after)) {
        (Some(before), Some(after)) => before.difference(&after).cloned().collect(),
        _ => BTreeSet::new(),
    };
    let root = format!("tenants/{tenant}/secrets/");
    for (path, entry) in after.tree.below(&root) {
        let old = before.tree.get(path);
        if old.is_some_and(|old| old.id == entry.id) {
            continue;
        }
        let Some(inspection) = inspected(entry) else { continue };
        let now = readers(&inspection);
        for (recipient, span) in now.iter().filter(|(recipient, _)| retired.contains(*recipient)) {
            let shown: String = recipient.chars().take(20).collect();
            let message = format!("`{shown}…` is no recipient of the tenant any more and can open this file");
            let finding = rules::RETIRED_RECIPIENT.at(path, Some(*span), message);
            found.push(
                finding.help("write the file again with the recipients of tenant.yaml and the recovery key"),
            );
        }
        let Some(old) = old.and_then(inspected) else { continue };
        let left: Vec<String> =
            readers(&old).into_keys().filter(|reader| !now.contains_key(reader)).collect();
        let (Some(reader), Some(text), Some(old_text)) = (
            left.first(),
            entry.content.as_deref(),
            before.tree.get(path).and_then(|entry| entry.content.as_deref()),
        ) else {
            continue;
        };
        let values = |inspection: &Inspection, bytes: &[u8]| -> BTreeSet<Vec<u8>> {
            let leaves = inspection.leaves.iter();
            leaves
                .filter(|leaf| leaf.state == sops::LeafState::Encrypted)
                .filter_map(|leaf| bytes.get(leaf.span.start.offset..leaf.span.end.offset))
                .map(|text| text.trim_ascii().to_vec())
                .collect()
        };
        let old_values = values(&old, old_text);
        let kept = inspection.leaves.iter().find(|leaf| {
            let text = text.get(leaf.span.start.offset..leaf.span.end.offset);
            leaf.state == sops::LeafState::Encrypted
                && text.is_some_and(|text| old_values.contains(text.trim_ascii()))
        });
        if let Some(leaf) = kept {
            let shown: String = reader.chars().take(20).collect();
            let message = format!("`{shown}…` left this file and still knows the key of this value");
            let finding = rules::DATA_KEY_KEPT.at(path, Some(leaf.span), message);
            found.push(finding.help(
                "`sops rotate -i` encrypts it anew; better, make a new value with `tenantry secrets rotate`",
            ));
        }
    }
}

/// The recipients that tenant.yaml names, whatever else is wrong in it.
fn recipients_of(tenant: &TenantId, tree: &Tree) -> Option<BTreeSet<String>> {
    let path = format!("tenants/{tenant}/tenant.yaml");
    let root = file::parse(&path, tree.get(&path)?, &mut Found::default())?;
    let list = root.get("secrets")?.get("recipients")?.as_sequence()?;
    let parsed = list.iter().filter_map(|item| item.scalar()?.parse::<Recipient>().ok());
    Some(parsed.map(|key| key.as_str().to_owned()).collect())
}

fn check_states(tenant: &TenantId, before: &Side<'_>, after: &Side<'_>, found: &mut Found) {
    let path = format!("tenants/{tenant}/secrets.yaml");
    let index = |tree: &Tree| {
        let mut ignored = Found::default();
        let root = file::parse(&path, tree.get(&path)?, &mut ignored)?;
        decode::<WrittenSecrets>(&root, &path, Language::Yaml, &mut ignored.list)?.secrets
    };
    let (Some(old), Some(new)) = (index(before.tree), index(after.tree)) else { return };
    let rank = |state: VersionState| match state {
        VersionState::Pending => 0,
        VersionState::Current => 1,
        VersionState::Previous => 2,
        VersionState::Revoked => 3,
    };
    let states: BTreeMap<_, _> = old
        .value
        .0
        .iter()
        .flat_map(|(name, secret)| {
            secret.value.versions.value.iter().map(move |version| {
                ((name.value.clone(), version.value.id.value.clone()), version.value.state.value)
            })
        })
        .collect();
    for (name, secret) in &new.value.0 {
        for version in &secret.value.versions.value {
            let version = &version.value;
            let was = states.get(&(name.value.clone(), version.id.value.clone()));
            if let Some(was) = was.filter(|was| rank(**was) > rank(version.state.value)) {
                let message = format!(
                    "the version `{}` of `{}` was {was} and would be {} again",
                    version.id.value, name.value, version.state.value
                );
                let finding = rules::STATE_BACKWARDS.at(&path, Some(version.state.span), message);
                found.push(
                    finding.help(format!("write `state: {was}`, and add a new version for a new value")),
                );
            }
        }
    }
}
