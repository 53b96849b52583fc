//! The same door for what a run left when it ended: encrypted to its tenant, opened to run it again.

use super::door::{Broker, NotGiven, from_store, unopened};
use crate::authz::{Permit, action};
use crate::domain::{AuditEntry, RunId, SecretName, Timestamp, VersionId};
use crate::run::Payload;
use crate::secrets::{Sealed, seal_fresh};
use crate::sops::{Plaintext, Recipient};

/// The name under which payloads are sealed; no secret of a tenant lies in the same place.
fn payload_as() -> Option<(SecretName, VersionId)> {
    Some(("payload".parse().ok()?, "run".parse().ok()?))
}

/// Encrypts the payload of a run to every recipient of its tenant; `None` if one of them is none, or the system gives
/// no randomness. Needs no identity.
#[must_use]
pub fn sealed_payload(recipients: &[String], payload: Vec<u8>, now: Timestamp) -> Option<String> {
    let recipients: Option<Vec<Recipient>> = recipients.iter().map(|text| text.parse().ok()).collect();
    let (name, version) = payload_as()?;
    seal_fresh(&name, &version, &Plaintext::new(payload), &recipients?, now).ok()
}

impl Broker {
    /// Opens what a run left, to run it again: its `--failed` keeps what it wrote, and any rerun gets what its hook
    /// sent.
    ///
    /// The order is that of every request: it stands in the audit before anything is opened, and before it is handed
    /// over. It is redacted as it was stored, so nothing is masked.
    ///
    /// # Errors
    /// [`NotGiven`]; among them that it is another run's.
    pub async fn payload(
        &self,
        permit: &Permit<action::Start>,
        run: &RunId,
        ciphertext: &str,
    ) -> Result<Payload, NotGiven> {
        let audit = |action: &str, allowed: bool, reason: String| {
            self.store.append_audit(AuditEntry {
                at: (self.clock)(),
                tenant: Some(permit.tenant().clone()),
                actor: permit.actor().clone(),
                action: action.to_owned(),
                resource: format!("payload:{run}"),
                allowed,
                reason,
                commit: None,
                run: Some(run.clone()),
            })
        };
        audit("payload.requested", true, "to run it again".to_owned()).await.map_err(from_store)?;
        match self.open_payload(permit, run, ciphertext).await {
            Ok(payload) => {
                audit("payload.opened", true, "to run it again".to_owned()).await.map_err(from_store)?;
                Ok(payload)
            }
            Err(refusal) => {
                let reason = format!("{}: {refusal}", refusal.code());
                audit("payload.denied", false, reason).await.map_err(from_store)?;
                Err(refusal)
            }
        }
    }

    async fn open_payload(
        &self,
        permit: &Permit<action::Start>,
        run: &RunId,
        ciphertext: &str,
    ) -> Result<Payload, NotGiven> {
        let now = (self.clock)();
        permit.tenant_at(now).map_err(|_| NotGiven::Stale)?;
        let (name, version) = payload_as().ok_or_else(|| NotGiven::Unopened("it has no name".to_owned()))?;
        let sealed = Sealed { name: &name, version: &version, ciphertext: ciphertext.as_bytes() };
        let opened = self.vault.open(&permit.read_payload(), sealed, now).await.map_err(unopened)?;
        let payload: Payload = serde_json::from_slice(opened.expose())
            .map_err(|_| NotGiven::Unopened("its text cannot be read".to_owned()))?;
        if payload.run == *run {
            Ok(payload)
        } else {
            Err(NotGiven::Unopened("it is another run's".to_owned()))
        }
    }
}
