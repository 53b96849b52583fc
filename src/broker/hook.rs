//! The same door for the daemon's own hooks: the secret that signs one, in every version that is accepted.

use super::Given;
use super::door::{Broker, NotGiven, from_store, unopened};
use super::reach::{OutOfReach, accepted};
use crate::authz::{Permit, action};
use crate::domain::{ActualState, AuditEntry, SecretName, SecretPurpose, WorkflowId};
use crate::secrets::Sealed;

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
        let asked = format!("secret:{name}@all");
        let why = format!("hook of workflow {workflow}");
        self.store
            .append_audit(entry("secret.requested", asked.clone(), true, why.clone()))
            .await
            .map_err(from_store)?;
        match self.open_for_hook(permit, actual, name).await {
            Ok(given) => {
                for one in &given {
                    let resource = format!("secret:{name}@{}", one.version);
                    let delivered =
                        entry("secret.delivered", resource, true, format!("{why}, to check a signature"));
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

    async fn open_for_hook(
        &self,
        permit: &Permit<action::Receive>,
        actual: &ActualState,
        name: &SecretName,
    ) -> Result<Vec<Given>, NotGiven> {
        let now = (self.clock)();
        permit.tenant_at(now).map_err(|_| NotGiven::Stale)?;
        let same = actual.tenant == *permit.tenant() && actual.incarnation == permit.incarnation();
        let applied = actual.applied.as_ref().filter(|_| same && actual.removed.is_none());
        let applied = applied.ok_or(OutOfReach::NotDeclared("the tenant is no longer there"))?;
        let secret =
            applied.state.secrets.get(name).ok_or(OutOfReach::Unknown("the index has no such secret"))?;
        if !secret.purposes.contains(&SecretPurpose::Webhook) {
            return Err(OutOfReach::NotDeclared("the secret's `use` does not name webhooks").into());
        }
        let mut given = Vec::new();
        for version in accepted(secret, actual, now)? {
            let blob = version.blob.as_ref().ok_or(OutOfReach::Unknown("the version's file is missing"))?;
            let file =
                self.source.blob(blob).await.map_err(|_| {
                    NotGiven::Unopened("its file cannot be read from the repository".to_owned())
                })?;
            let sealed = Sealed { name, version: &version.id, ciphertext: &file };
            let value = self.vault.open(&permit.read_secret(), sealed, now).await.map_err(unopened)?;
            given.push(Given { version: version.id.clone(), state: version.state, value });
        }
        Ok(given)
    }
}
