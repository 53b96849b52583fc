//! `.sops.yaml`: tells people's own `sops` whom to encrypt a tenant's files to.

use std::collections::BTreeMap;

use super::Recipient;
use crate::domain::TenantId;

/// Writes `.sops.yaml` for tenants and their recipients, recovery keys included; tenants without any are left out.
#[must_use]
pub fn creation_rules(tenants: &BTreeMap<TenantId, Vec<Recipient>>) -> String {
    let mut text =
        "# Which keys sops encrypts to: the tenant's own and the platform's recovery key.\n".to_owned();
    text.push_str("creation_rules:\n");
    for (tenant, recipients) in tenants.iter().filter(|(_, recipients)| !recipients.is_empty()) {
        let age = recipients.iter().map(Recipient::as_str).collect::<Vec<_>>().join(",");
        text.push_str(&format!(
            "  - path_regex: ^tenants/{tenant}/secrets/.*\\.sops\\.yaml$\n    age: {age}\n"
        ));
    }
    text
}
