//! What differs between two states of a tenant, as changes for people and edges for those who agree.
//!
//! Total by construction: settings, workflows and steps are compared as the JSON they are stored as, so a
//! field that nobody thought of appears too, in a settings file with the class `platform`. The classes are
//! those of design page `access.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fields::{Field, differing, grows, items_added, json, shrinks, weakens};
use crate::domain::{
    Change, Class, Edge, EdgeSign, Elevation, ObjectKind, Operation, Role, ScriptFile, Secret, SecretVersion,
    Step, StepId, TenantId, TenantState, VersionState, Window, Workflow, digest_of,
};

/// Changes in the order they are shown, edges in byte order of their lines.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub changes: Vec<Change>,
    pub edges: Vec<Edge>,
}

/// Compares two states; without a base everything comes with the tenant.
pub(super) fn tenant(tenant: &TenantId, base: Option<&TenantState>, next: &TenantState) -> Delta {
    let mut notes = Notes { tenant, new: base.is_none(), delta: Delta::default(), edges: BTreeSet::new() };
    if base.is_none() {
        notes.change(ObjectKind::Tenant, Operation::Add, Class::Tenant, tenant, Value::Null, json!(tenant));
        notes.edge(EdgeSign::Add, Class::Tenant, format!("tenant {tenant}"));
    }
    let nothing = nothing_of(next);
    let base = base.unwrap_or(&nothing);
    grants(&mut notes, base, next);
    elevations(&mut notes, base, next);
    members(&mut notes, base, next);
    if notes.new {
        notes.whole_settings(next);
    } else {
        settings(&mut notes, base, next);
    }
    secrets(&mut notes, base, next);
    workflows(&mut notes, base, next);
    scripts(&mut notes, base, next);
    if notes.delta.changes.is_empty() && base != next {
        // Everything that means something has been compared; what is left is the order of a list.
        let (before, after) = (json!(base.digest()), json!(next.digest()));
        notes.edge(EdgeSign::Change, Class::Settings, format!("order {}", digests(&before, &after)));
        notes.change(ObjectKind::Policy, Operation::Change, Class::Settings, "order of lists", before, after);
    }
    notes.finish()
}

/// The end of a tenant.
pub(super) fn removed(tenant: &TenantId, base: Option<&TenantState>) -> Delta {
    let mut notes = Notes { tenant, new: false, delta: Delta::default(), edges: BTreeSet::new() };
    let workflows: Vec<_> = base.into_iter().flat_map(|base| base.workflows.keys()).collect();
    let before = json!({ "workflows": workflows });
    notes.change(ObjectKind::Tenant, Operation::Remove, Class::Tenant, tenant, before, Value::Null);
    notes.edge(EdgeSign::Remove, Class::Tenant, format!("tenant {tenant}"));
    notes.finish()
}

/// A state to compare a new tenant with: its settings, and nothing that is an object of its own.
fn nothing_of(next: &TenantState) -> TenantState {
    TenantState {
        settings: next.settings.clone(),
        grants: BTreeSet::new(),
        elevations: BTreeMap::new(),
        groups: BTreeMap::new(),
        secrets: BTreeMap::new(),
        workflows: BTreeMap::new(),
    }
}

struct Notes<'a> {
    tenant: &'a TenantId,
    /// In a tenant that did not exist nobody is owner yet: `tenant` covers all its edges.
    new: bool,
    delta: Delta,
    edges: BTreeSet<(String, Edge)>,
}

impl Notes<'_> {
    fn change(
        &mut self,
        kind: ObjectKind,
        op: Operation,
        class: Class,
        object: impl std::fmt::Display,
        before: Value,
        after: Value,
    ) {
        let class = if self.new { Class::Tenant } else { class };
        let (tenant, object) = (self.tenant.clone(), object.to_string());
        self.delta.changes.push(Change { tenant, class, kind, op, object, before, after });
    }

    fn edge(&mut self, sign: EdgeSign, class: Class, words: String) {
        let class = if self.new { Class::Tenant } else { class };
        let edge = Edge { sign, words, class };
        self.edges.insert((edge.to_string(), edge));
    }

    fn whole_settings(&mut self, next: &TenantState) {
        let value = json(&next.settings);
        let words = format!("settings {}", digest_of(&next.settings));
        self.change(ObjectKind::Policy, Operation::Add, Class::Settings, "tenant.yaml", Value::Null, value);
        self.edge(EdgeSign::Add, Class::Settings, words);
    }

    fn finish(self) -> Delta {
        let mut delta = self.delta;
        super::in_order(&mut delta.changes);
        delta.edges = self.edges.into_iter().map(|(_, edge)| edge).collect();
        delta
    }
}

/// The parts of two sets that are not in both.
fn gone_and_come<'a, T: Ord>(base: &'a BTreeSet<T>, next: &'a BTreeSet<T>) -> (Vec<&'a T>, Vec<&'a T>) {
    (base.difference(next).collect(), next.difference(base).collect())
}

fn grants(notes: &mut Notes<'_>, base: &TenantState, next: &TenantState) {
    let (gone, come) = gone_and_come(&base.grants, &next.grants);
    for grant in gone {
        let name = format!("{} {}", grant.role, grant.principal);
        let before = json(grant);
        notes.change(ObjectKind::Grant, Operation::Remove, Class::Reduce, &name, before, Value::Null);
        notes.edge(EdgeSign::Remove, Class::Reduce, format!("grant {name}"));
    }
    for grant in come {
        let name = format!("{} {}", grant.role, grant.principal);
        let class = if grant.role == Role::Owner { Class::Recipients } else { Class::Grant };
        notes.change(ObjectKind::Grant, Operation::Add, class, &name, Value::Null, json(grant));
        notes.edge(EdgeSign::Add, class, format!("grant {name}"));
    }
}

fn elevations(notes: &mut Notes<'_>, base: &TenantState, next: &TenantState) {
    let kind = ObjectKind::Elevation;
    for (id, elevation) in &base.elevations {
        let before = json(elevation);
        match next.elevations.get(id) {
            Some(after) if after == elevation => {}
            Some(after) => {
                notes.change(kind, Operation::Change, Class::Grant, id, before, json(after));
                notes.edge(EdgeSign::Change, Class::Grant, elevation_words(after));
            }
            None => {
                notes.change(kind, Operation::Remove, Class::Reduce, id, before, Value::Null);
                notes.edge(EdgeSign::Remove, Class::Reduce, elevation_words(elevation));
            }
        }
    }
    for (id, elevation) in next.elevations.iter().filter(|(id, _)| !base.elevations.contains_key(*id)) {
        notes.change(kind, Operation::Add, Class::Grant, id, Value::Null, json(elevation));
        notes.edge(EdgeSign::Add, Class::Grant, elevation_words(elevation));
    }
}

fn elevation_words(elevation: &Elevation) -> String {
    let window = match &elevation.window {
        Window::OnApply { length, ask_until } => format!("for {length} ask-until {ask_until}"),
        Window::Planned { from, until } => format!("from {from} until {until}"),
    };
    format!("elevation {} {} user:{} {window}", elevation.id, elevation.role, elevation.user)
}

fn members(notes: &mut Notes<'_>, base: &TenantState, next: &TenantState) {
    let pairs = |state: &TenantState| -> BTreeSet<_> {
        let groups = state.groups.iter();
        groups
            .flat_map(|(group, users)| users.iter().map(move |user| (group.clone(), user.clone())))
            .collect()
    };
    let (before, after) = (pairs(base), pairs(next));
    let (gone, come) = gone_and_come(&before, &after);
    let kind = ObjectKind::Person;
    for (group, user) in gone {
        let name = format!("group:{group} user:{user}");
        notes.change(kind, Operation::Remove, Class::Reduce, &name, json!(user), Value::Null);
        notes.edge(EdgeSign::Remove, Class::Reduce, format!("member {name}"));
    }
    for (group, user) in come {
        let name = format!("group:{group} user:{user}");
        notes.change(kind, Operation::Add, Class::Grant, &name, Value::Null, json!(user));
        notes.edge(EdgeSign::Add, Class::Grant, format!("member {name}"));
    }
}

fn settings(notes: &mut Notes<'_>, base: &TenantState, next: &TenantState) {
    for Field { path, before, after } in differing(&json(&base.settings), &json(&next.settings)) {
        let (kind, class) = match path.split('.').next().unwrap_or_default() {
            // Told by the grant of the role.
            "owner" if next.holders(Role::Owner).next().is_some() => continue,
            "owner" => (ObjectKind::Policy, Class::Recipients),
            "egress" => {
                let classes = (Class::Reach, Class::Settings);
                each_item(notes, ObjectKind::Egress, "egress", &before, &after, classes);
                continue;
            }
            word @ ("recipients" | "recovery") => {
                let classes = (Class::Recipients, Class::Recipients);
                let word = if word == "recovery" { "recovery-recipient" } else { "recipient" };
                each_item(notes, ObjectKind::Recipient, word, &before, &after, classes);
                continue;
            }
            "delivery" => {
                each_item(
                    notes,
                    ObjectKind::Policy,
                    "delivery",
                    &before,
                    &after,
                    (Class::Reach, Class::Settings),
                );
                continue;
            }
            "limits" if path == "limits.tier" && weakens(&before, &after) => {
                (ObjectKind::Limit, Class::Reach)
            }
            "limits" => (ObjectKind::Limit, Class::Settings),
            "retention" if shrinks(&before, &after) => (ObjectKind::Policy, Class::Recipients),
            "retention" | "kind" | "environment" | "timezone" | "slo" => {
                (ObjectKind::Policy, Class::Settings)
            }
            "region" => (ObjectKind::Policy, Class::Recipients),
            "isolation" => (ObjectKind::Policy, Class::Tenant),
            "alert_routes" => (ObjectKind::Policy, Class::Reach),
            "suspend" if before.is_null() => (ObjectKind::Policy, Class::Reduce),
            "suspend" => (ObjectKind::Policy, Class::Settings),
            // What no class names.
            _ => (ObjectKind::Policy, Class::Platform),
        };
        let sign = if class == Class::Reduce { EdgeSign::Remove } else { EdgeSign::Change };
        notes.edge(sign, class, format!("setting {path} {}", digests(&before, &after)));
        notes.change(kind, operation(&before, &after), class, &path, before, after);
    }
}

/// One change for each item of a list of texts that comes or goes.
fn each_item(
    notes: &mut Notes<'_>,
    kind: ObjectKind,
    word: &str,
    before: &Value,
    after: &Value,
    (adding, removing): (Class, Class),
) {
    let items = |value: &Value| -> BTreeSet<String> {
        let items = value.as_array().into_iter().flatten();
        items.map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
    };
    let (before, after) = (items(before), items(after));
    let (gone, come) = gone_and_come(&before, &after);
    for item in gone {
        notes.change(kind, Operation::Remove, removing, item, json!(item), Value::Null);
        notes.edge(EdgeSign::Remove, removing, format!("{word} {item}"));
    }
    for item in come {
        notes.change(kind, Operation::Add, adding, item, Value::Null, json!(item));
        notes.edge(EdgeSign::Add, adding, format!("{word} {item}"));
    }
}

fn operation(before: &Value, after: &Value) -> Operation {
    match (before.is_null(), after.is_null()) {
        (true, false) => Operation::Add,
        (false, true) => Operation::Remove,
        _ => Operation::Change,
    }
}

/// Values are free text, which no edge may hold: their digests stand for them.
fn digests(before: &Value, after: &Value) -> String {
    let side = |value: &Value| if value.is_null() { "none".to_owned() } else { digest_of(value) };
    format!("{}->{}", side(before), side(after))
}

fn secrets(notes: &mut Notes<'_>, base: &TenantState, next: &TenantState) {
    for (name, secret) in &base.secrets {
        match next.secrets.get(name) {
            Some(after) => secret_changes(notes, Some(secret), after),
            None => {
                let before = json!({ "versions": version_ids(secret) });
                let class = Class::SecretValue;
                notes.change(ObjectKind::Secret, Operation::Remove, class, name, before, Value::Null);
                notes.edge(EdgeSign::Remove, class, format!("secret {name}"));
            }
        }
    }
    for (name, secret) in next.secrets.iter().filter(|(name, _)| !base.secrets.contains_key(*name)) {
        let after = json!({ "owner": secret.owner, "versions": version_ids(secret) });
        notes.change(ObjectKind::Secret, Operation::Add, Class::SecretValue, name, Value::Null, after);
        notes.edge(EdgeSign::Add, Class::SecretValue, format!("secret {name}"));
        secret_changes(notes, None, secret);
    }
}

fn version_ids(secret: &Secret) -> Vec<&str> {
    secret.versions.iter().map(|version| version.id.as_str()).collect()
}

fn secret_changes(notes: &mut Notes<'_>, base: Option<&Secret>, next: &Secret) {
    let name = &next.name;
    if let Some(base) = base {
        // Versions are objects of their own.
        let bare = |secret: &Secret| json(&Secret { versions: Vec::new(), ..secret.clone() });
        for Field { path, before, after } in differing(&bare(base), &bare(next)) {
            let class = match path.as_str() {
                "owner" => Class::Recipients,
                "redact" if after == json!(false) => Class::Recipients,
                "purposes" if items_added(&before, &after) => Class::Reach,
                "on_revoke" if after == json!("mark") => Class::Reach,
                _ => Class::Settings,
            };
            notes.edge(EdgeSign::Change, class, format!("secret {name} {path} {}", digests(&before, &after)));
            notes.change(
                ObjectKind::Secret,
                operation(&before, &after),
                class,
                format!("{name}.{path}"),
                before,
                after,
            );
        }
    }
    let versions = |secret: &'_ Secret| -> BTreeMap<_, SecretVersion> {
        secret.versions.iter().map(|version| (version.id.clone(), version.clone())).collect()
    };
    let (before, after) = (base.map(versions).unwrap_or_default(), versions(next));
    for (id, version) in &before {
        if !after.contains_key(id) {
            let object = format!("{name}@{id}");
            let class = Class::SecretValue;
            notes.edge(EdgeSign::Remove, class, format!("secret {object}"));
            notes.change(ObjectKind::Secret, Operation::Remove, class, object, shown(version), Value::Null);
        }
    }
    for (id, version) in &after {
        let object = format!("{name}@{id}");
        let old = before.get(id);
        if old == Some(version) {
            continue;
        }
        let revoked = version.state == VersionState::Revoked;
        let (sign, class) = match old {
            _ if revoked => (EdgeSign::Remove, Class::Reduce),
            None => (EdgeSign::Add, Class::SecretValue),
            Some(_) => (EdgeSign::Change, Class::SecretValue),
        };
        let ciphertext = version.blob.as_ref().map_or("none", |blob| blob.as_str());
        notes.edge(sign, class, format!("secret {object} {} {ciphertext}", version.state));
        let op = if old.is_some() { Operation::Change } else { Operation::Add };
        notes.change(ObjectKind::Secret, op, class, object, old.map_or(Value::Null, shown), shown(version));
    }
}

/// A version in a plan: its state and end, and which ciphertext, never a value.
fn shown(version: &SecretVersion) -> Value {
    json!({ "state": version.state, "accept_until": version.accept_until, "ciphertext": version.blob })
}

fn workflows(notes: &mut Notes<'_>, base: &TenantState, next: &TenantState) {
    for (id, workflow) in &base.workflows {
        match next.workflows.get(id) {
            Some(after) if after == workflow => {}
            Some(after) => workflow_changes(notes, workflow, after),
            None => {
                notes.change(
                    ObjectKind::Workflow,
                    Operation::Remove,
                    Class::Reduce,
                    id,
                    json(workflow),
                    Value::Null,
                );
                notes.edge(EdgeSign::Remove, Class::Reduce, format!("workflow {id}"));
            }
        }
    }
    for (id, workflow) in next.workflows.iter().filter(|(id, _)| !base.workflows.contains_key(*id)) {
        let class = if reach(workflow).is_empty() { Class::Code } else { Class::Reach };
        notes.change(ObjectKind::Workflow, Operation::Add, class, id, Value::Null, json(workflow));
        notes.edge(EdgeSign::Add, class, format!("code workflow:{id} {}", digest_of(workflow)));
        for words in reach(workflow) {
            notes.edge(EdgeSign::Add, Class::Reach, words);
        }
    }
}

fn workflow_changes(notes: &mut Notes<'_>, base: &Workflow, next: &Workflow) {
    let id = &next.id;
    let lost = unguarded(base, next);
    let reaching = reads_a_secret(base) || reads_a_secret(next) || !lost.is_empty();
    let class = if reaching { Class::Reach } else { Class::Code };
    for words in lost {
        notes.edge(EdgeSign::Add, Class::Reach, format!("guard workflow:{id} {words}"));
    }
    let words = format!("code workflow:{id} {}->{}", digest_of(base), digest_of(next));
    notes.edge(EdgeSign::Change, class, words);
    let (before, after) = (reach(base), reach(next));
    let (gone, come) = gone_and_come(&before, &after);
    for words in gone {
        notes.edge(EdgeSign::Remove, class, words.clone());
    }
    for words in come {
        notes.edge(EdgeSign::Add, Class::Reach, words.clone());
    }
    // Files and steps are objects of their own.
    let bare = |workflow: &Workflow| {
        let files = BTreeMap::new();
        json(&Workflow { files, steps: Vec::new(), on_failure: None, ..workflow.clone() })
    };
    for field in differing(&bare(base), &bare(next)) {
        field_change(notes, format!("{id}."), id.as_str(), field, class);
    }
    let steps = |workflow: &'_ Workflow| -> BTreeMap<_, Step> {
        let all = workflow.steps.iter().chain(workflow.on_failure.as_deref());
        all.map(|step| (step.id.clone(), step.clone())).collect()
    };
    let (before, after) = (steps(base), steps(next));
    for (step, value) in before.iter().filter(|(step, _)| !after.contains_key(*step)) {
        let object = format!("{id}/{step}");
        notes.change(ObjectKind::Workflow, Operation::Remove, class, object, json(value), Value::Null);
    }
    for (step, value) in &after {
        let object = format!("{id}/{step}");
        match before.get(step) {
            Some(old) => {
                for field in differing(&json(old), &json(value)) {
                    field_change(notes, format!("{object}."), id.as_str(), field, class);
                }
            }
            None => {
                notes.change(ObjectKind::Workflow, Operation::Add, class, object, Value::Null, json(value))
            }
        }
    }
    let order = |workflow: &Workflow| -> Vec<String> {
        let both = workflow
            .steps
            .iter()
            .filter(|step| before.contains_key(&step.id) && after.contains_key(&step.id));
        both.map(|step| step.id.to_string()).collect()
    };
    let (before, after) = (order(base), order(next));
    if before != after {
        let object = format!("{id}.order");
        notes.change(ObjectKind::Workflow, Operation::Change, class, object, json!(before), json!(after));
    }
}

fn field_change(notes: &mut Notes<'_>, prefix: String, workflow: &str, field: Field, class: Class) {
    let Field { path, before, after } = field;
    let object = format!("{prefix}{path}");
    let class = match path.as_str() {
        "paused" if before.is_null() => Class::Reduce,
        "triggers.schedules" if !items_added(&before, &after) => Class::Reduce,
        path if loosens(path, &before, &after) => {
            let words = format!("guard workflow:{workflow} {object} {}", digests(&before, &after));
            notes.edge(EdgeSign::Add, Class::Reach, words);
            Class::Reach
        }
        _ => class,
    };
    let kind = match path.split('.').next().unwrap_or_default() {
        "network" => ObjectKind::Egress,
        "resources" | "timeout" => ObjectKind::Limit,
        _ => ObjectKind::Workflow,
    };
    notes.change(kind, operation(&before, &after), class, object, before, after);
}

/// Whether a change of a workflow's field lets code do more or be watched less.
fn loosens(path: &str, before: &Value, after: &Value) -> bool {
    let less_loud = |before: &Value, after: &Value| {
        let loudness = ["off", "digest", "notify", "page"];
        let place = |value: &Value| loudness.iter().position(|word| value == *word);
        place(after) < place(before)
    };
    match path {
        "timeout" => grows(before, after),
        "runtime" | "uses" => true,
        "alert" => less_loud(before, after),
        "network" | "secrets" => items_added(before, after),
        "resources.tier" => weakens(before, after),
        path if path.starts_with("resources.") => grows(before, after),
        path if path.starts_with("triggers.webhook") => !after.is_null(),
        path if path.starts_with("work.approval") => true,
        path if path.ends_with(".sensitive") => after == &json!(false),
        path if path.starts_with("inputs.") && after.is_null() => before["sensitive"] == json!(true),
        _ => false,
    }
}

fn reads_a_secret(workflow: &Workflow) -> bool {
    let mut steps = workflow.steps.iter().chain(workflow.on_failure.as_deref());
    workflow.triggers.webhook.is_some() || steps.any(|step| !step.secrets.is_empty())
}

/// The words of every edge from a workflow to a secret or a host.
fn reach(workflow: &Workflow) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let id = &workflow.id;
    for step in workflow.steps.iter().chain(workflow.on_failure.as_deref()) {
        let from = format!("workflow:{id} step:{}", step.id);
        words.extend(step.secrets.iter().map(|secret| format!("reads {from} secret:{}", secret.name)));
        words.extend(step.network.iter().map(|host| format!("reaches {from} {host}")));
    }
    words.extend(
        workflow.triggers.webhook.iter().map(|hook| format!("hook workflow:{id} secret:{}", hook.secret)),
    );
    words.extend(workflow.uses.iter().map(|shared| format!("follows workflow:{id} {shared}")));
    words
}

/// Which step waits for which approval, directly or through others: what goes with it is a guard taken away.
fn guards(workflow: &Workflow) -> BTreeSet<(StepId, StepId)> {
    let mut guards: BTreeSet<(StepId, StepId)> = BTreeSet::new();
    // Steps stand in an order they can run in: what stands before a step is known when it comes.
    for step in &workflow.steps {
        let mut before: BTreeSet<StepId> = BTreeSet::new();
        for awaited in step.waits.steps() {
            if workflow.approval(awaited).is_some() {
                before.insert(awaited.clone());
            }
            before.extend(
                guards.iter().filter(|(_, waiting)| waiting == awaited).map(|(approval, _)| approval.clone()),
            );
        }
        guards.extend(before.into_iter().map(|approval| (approval, step.id.clone())));
    }
    guards
}

/// What the next workflow does without an approval that it waited for, one line each.
///
/// A step that has another name and does the same work is the same step: a new name is no way round an approval.
fn unguarded(base: &Workflow, next: &Workflow) -> BTreeSet<String> {
    let (before, after) = (guards(base), guards(next));
    let mut lost = BTreeSet::new();
    for (approval, step) in &before {
        let behind =
            |pairs: &BTreeSet<_>, other: &Step| pairs.contains(&(approval.clone(), other.id.clone()));
        let known = base.step(step).filter(|_| base.approval(step).is_none());
        for other in next.steps.iter().chain(next.on_failure.as_deref()) {
            let same = other.id == *step || known.is_some_and(|step| step.work == other.work);
            // What did this work without the approval before loses nothing.
            let old = base.step(&other.id).filter(|old| old.work == other.work);
            if same && !behind(&after, other) && old.is_none_or(|old| behind(&before, old)) {
                lost.insert(format!("step:{} without approval:{approval}", other.id));
            }
        }
        if next.approval(approval).is_none() {
            lost.insert(format!("without approval:{approval}"));
        }
    }
    lost
}

/// The files that any workflow can open, each once, with whether a workflow that opens it reads a secret.
fn opened(state: &TenantState) -> BTreeMap<String, (&ScriptFile, bool)> {
    let mut files = BTreeMap::new();
    for workflow in state.workflows.values() {
        // The files of a shared workflow lie in its own directory, whichever commit they are pinned to.
        let shared = workflow.uses.as_deref();
        let root = |uses: &str| if uses.is_empty() { String::new() } else { format!("{uses}/") };
        let place = root(shared.and_then(|uses| uses.split('@').next()).unwrap_or_default());
        let pinned = root(shared.unwrap_or_default());
        for (path, file) in &workflow.files {
            let mut name = format!("{place}{path}");
            if files.get(&name).is_some_and(|(other, _)| *other != file) {
                name = format!("{pinned}{path}");
            }
            let entry = files.entry(name).or_insert((file, false));
            entry.1 |= reads_a_secret(workflow);
        }
    }
    files
}

fn scripts(notes: &mut Notes<'_>, base: &TenantState, next: &TenantState) {
    let (before, after) = (opened(base), opened(next));
    let shown = |file: &ScriptFile| json!({ "mode": file.mode.octal(), "blob": file.id, "bytes": file.size });
    for path in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (before.get(path), after.get(path));
        if old.map(|(file, _)| file) == new.map(|(file, _)| file) {
            continue;
        }
        let near_secret = [old, new].into_iter().flatten().any(|(_, near)| *near);
        let class = if near_secret { Class::Reach } else { Class::Code };
        let side = |side: Option<&(&ScriptFile, bool)>| side.map_or(Value::Null, |(file, _)| shown(file));
        let (old, new) = (side(old), side(new));
        notes.change(ObjectKind::Script, operation(&old, &new), class, path, old, new);
    }
}
