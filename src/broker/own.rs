//! The same door for what the daemon does for a tenant itself: the secret that signs a hook, and the one that an alert
//! route calls with.
//!
//! No alert is sent yet, so nobody asks for the second; it stands here so that whoever sends them finds this door and
//! makes no other.

use serde_json::Value;

use super::Given;
use super::door::{Broker, NotGiven, from_store, unopened};
use super::reach::{OutOfReach, accepted};
use crate::authz::{Action, Permit, action};
use crate::domain::{
    ActualState, AuditEntry, SecretName, SecretPurpose, SecretVersion, VersionState, WorkflowId,
};
use crate::secrets::Sealed;

/// What the daemon wants a secret for.
struct Wish<'a> {
    name: &'a SecretName,
    purpose: SecretPurpose,
    /// Only the version that is current: a caller signs with one, and checks against several.
    current: bool,
    /// Who asks, for the audit.
    why: String,
    /// What it is given for, for the audit.
    what_for: &'static str,
}

impl Broker {
    /// Opens what a workflow's hook is signed with: the current version and each previous one that is still accepted.
    ///
    /// The order is that of every request: it stands in the audit before anything is opened, and each version before
    /// it is handed over. Nothing is masked, since no script sees it; the caller compares and drops it.
    ///
    /// # Errors
    /// [`NotGiven`]; nothing of it may reach the sender.
    pub async fn hook_secret(
        &self,
        permit: &Permit<action::Receive>,
        actual: &ActualState,
        workflow: &WorkflowId,
        name: &SecretName,
    ) -> Result<Vec<Given>, NotGiven> {
        let wish = Wish {
            name,
            purpose: SecretPurpose::Webhook,
            current: false,
            why: format!("hook of workflow {workflow}"),
            what_for: "to check a signature",
        };
        self.given(permit, &permit.read_secret(), actual, &wish).await
    }

    /// Opens what an alert route is called with: the current version, if a route that is applied names the secret.
    ///
    /// As for a hook, it stands in the audit before anything is opened and before it is handed over. The caller puts it
    /// into the one request and drops it; it belongs into no message and no record.
    ///
    /// # Errors
    /// [`NotGiven`]: among them that no applied route names it, or that it is not for alerts.
    pub async fn alert_secret(
        &self,
        permit: &Permit<action::Alert>,
        actual: &ActualState,
        name: &SecretName,
    ) -> Result<Given, NotGiven> {
        let wish = Wish {
            name,
            purpose: SecretPurpose::Alert,
            current: true,
            why: "alert route".to_owned(),
            what_for: "to call it",
        };
        let given = self.given(permit, &permit.read_secret(), actual, &wish).await?;
        given.into_iter().next().ok_or(NotGiven::Reach(OutOfReach::Gone("no version is current")))
    }

    async fn given<A: Action>(
        &self,
        permit: &Permit<A>,
        reading: &Permit<action::ReadSecret>,
        actual: &ActualState,
        wish: &Wish<'_>,
    ) -> Result<Vec<Given>, NotGiven> {
        let entry = |action: &str, resource: String, allowed: bool, reason: String| AuditEntry {
            at: (self.clock)(),
            tenant: Some(permit.tenant().clone()),
            actor: permit.actor().clone(),
            action: action.to_owned(),
            resource,
            allowed,
            reason,
            commit: None,
            run: None,
        };
        let Wish { name, why, .. } = wish;
        let asked = format!("secret:{name}@{}", if wish.current { "current" } else { "all" });
        self.store
            .append_audit(entry("secret.requested", asked.clone(), true, why.clone()))
            .await
            .map_err(from_store)?;
        match self.open_for(reading, actual, wish).await {
            Ok(given) => {
                for one in &given {
                    let resource = format!("secret:{name}@{}", one.version);
                    let reason = format!("{why}, {}", wish.what_for);
                    let delivered = entry("secret.delivered", resource, true, reason);
                    self.store.append_audit(delivered).await.map_err(from_store)?;
                }
                Ok(given)
            }
            Err(refusal) => {
                let reason = format!("{why}: {}: {refusal}", refusal.code());
                let denied = entry("secret.denied", asked, false, reason);
                self.store.append_audit(denied).await.map_err(from_store)?;
                Err(refusal)
            }
        }
    }

    async fn open_for(
        &self,
        permit: &Permit<action::ReadSecret>,
        actual: &ActualState,
        wish: &Wish<'_>,
    ) -> Result<Vec<Given>, NotGiven> {
        let now = (self.clock)();
        permit.tenant_at(now).map_err(|_| NotGiven::Stale)?;
        let same = actual.tenant == *permit.tenant() && actual.incarnation == permit.incarnation();
        let applied = actual.applied.as_ref().filter(|_| same && actual.removed.is_none());
        let applied = applied.ok_or(OutOfReach::NotDeclared("the tenant is no longer there"))?;
        let name = wish.name;
        let routes = &applied.state.settings.alert_routes;
        if wish.purpose == SecretPurpose::Alert && !routes.iter().any(|route| names(route, name)) {
            return Err(OutOfReach::NotDeclared("no alert route that is applied names the secret").into());
        }
        let secret =
            applied.state.secrets.get(name).ok_or(OutOfReach::Unknown("the index has no such secret"))?;
        if !secret.purposes.contains(&wish.purpose) {
            let why = match wish.purpose {
                SecretPurpose::Alert => "the secret's `use` does not name alerts",
                SecretPurpose::Webhook => "the secret's `use` does not name webhooks",
                SecretPurpose::Step => "the secret's `use` does not name steps",
            };
            return Err(OutOfReach::NotDeclared(why).into());
        }
        let wanted = |version: &&SecretVersion| !wish.current || version.state == VersionState::Current;
        let versions: Vec<_> = accepted(secret, actual, now)?.into_iter().filter(wanted).collect();
        if versions.is_empty() {
            return Err(OutOfReach::Gone("no version is current").into());
        }
        let mut given = Vec::new();
        for version in versions {
            let blob = version.blob.as_ref().ok_or(OutOfReach::Unknown("the version's file is missing"))?;
            let file =
                self.source.blob(blob).await.map_err(|_| {
                    NotGiven::Unopened("its file cannot be read from the repository".to_owned())
                })?;
            let sealed = Sealed { name, version: &version.id, ciphertext: &file };
            let value = self.vault.open(permit, sealed, now).await.map_err(unopened)?;
            given.push(Given { version: version.id.clone(), state: version.state, value });
        }
        Ok(given)
    }
}

/// Whether a route says `secret: NAME` anywhere.
fn names(route: &Value, name: &SecretName) -> bool {
    match route {
        Value::Object(fields) => fields.iter().any(|(field, value)| {
            (field == "secret" && value.as_str() == Some(name.as_str())) || names(value, name)
        }),
        Value::Array(list) => list.iter().any(|value| names(value, name)),
        _ => false,
    }
}
