//! Whose keys open a file: the person's own, and the tenant's where its identities lie on this machine.

use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::worktree::Told;
use crate::domain::TenantId;
use crate::secrets::{Custody, CustodyError, UserIdentities};

/// Where identities of tenants lie.
#[derive(Clone, Debug, Default, Args)]
pub struct KeyArgs {
    /// The daemon's data directory: the tenant's identity in its `identities/` is used beside your own
    #[arg(long, env = "TENANTRY_DATA", value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// The directory of identities, if it is another one
    #[arg(long, value_name = "DIR")]
    pub identities: Option<PathBuf>,
}

impl KeyArgs {
    /// The custody that was named.
    pub(super) fn custody(&self) -> Option<Custody> {
        let directory =
            self.identities.clone().or_else(|| self.data.as_ref().map(|data| data.join("identities")));
        directory.map(Custody::new)
    }

    /// Everything that may open a file of the tenant.
    pub(super) fn find(&self, tenant: Option<&TenantId>) -> Result<UserIdentities, Told> {
        let mut found = UserIdentities::find();
        if let (Some(custody), Some(tenant)) = (self.custody(), tenant) {
            match custody.identities(tenant) {
                Ok(identities) => found.identities.extend(identities),
                Err(error @ CustodyError::Missing(..)) => found.problems.push(error.to_string()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(found)
    }
}

/// Asks without echo; `None` where there is no terminal.
pub(super) fn ask(prompt: &str) -> Option<Zeroizing<String>> {
    let terminal = console::Term::stderr();
    if !terminal.is_term() {
        return None;
    }
    let line = terminal.write_str(prompt).and_then(|()| terminal.read_secure_line());
    line.ok().map(Zeroizing::new)
}
