//! `platform/people.yaml`, `platform/roles.yaml` and `platform/daemon.yaml` as written.

use super::form::{Entries, form, words};
use super::scalar::Plain;
use super::tenant::WrittenElevation;
use crate::domain::{GroupId, Principal, ServiceId, Spanned, Timestamp, UserId, WorkflowId};

form! {
    /// `platform/people.yaml`: users, services and groups.
    WrittenPeople {
        /// Persons by name.
        users: Option<Spanned<Entries<UserId, WrittenPerson>>>,
        /// Machines by name.
        services: Option<Spanned<Entries<ServiceId, WrittenService>>>,
        /// Groups of persons by name.
        groups: Option<Spanned<Entries<GroupId, Vec<Spanned<UserId>>>>>,
    }
    /// One person.
    WrittenPerson {
        /// Full name.
        name: Option<Spanned<String>>,
        /// Where to write to.
        email: Option<Spanned<String>>,
        /// Public keys.
        keys: Option<Spanned<Vec<Spanned<WrittenKey>>>>,
        /// Accounts elsewhere, by provider.
        identities: Option<Spanned<WrittenIdentities>>,
    }
    /// One public key.
    WrittenKey {
        /// In OpenSSH form: ssh-ed25519 AAAA… comment
        ssh: Spanned<String>,
        /// What it may be used for.
        purposes = "use": Spanned<Vec<Spanned<KeyPurpose>>>,
        /// Since when it no longer counts.
        revoked_at: Option<Spanned<Timestamp>>,
    }
    /// Accounts elsewhere, by provider.
    WrittenIdentities {
        /// Numeric account id at GitHub.
        github: Option<Spanned<Plain>>,
        /// Numeric account id at GitLab.
        gitlab: Option<Spanned<Plain>>,
        /// Numeric account id at Gitea or Forgejo.
        gitea: Option<Spanned<Plain>>,
        /// Issuer and subject.
        oidc: Option<Spanned<Plain>>,
    }
    /// One machine.
    WrittenService {
        /// Who answers for it.
        owner: Spanned<Principal>,
        /// Accounts elsewhere, by provider.
        identities: Option<Spanned<WrittenIdentities>>,
    }
    /// `platform/roles.yaml`: platform admins and maintainers of shared workflows.
    WrittenPlatformRoles {
        /// Platform admins; no role in any tenant.
        admin: Spanned<Vec<Spanned<Principal>>>,
        /// Who maintains which directory below `shared/`.
        shared: Option<Spanned<Entries<WorkflowId, Vec<Spanned<Principal>>>>>,
        /// Elevations to platform admin.
        elevations: Option<Spanned<Vec<Spanned<WrittenElevation>>>>,
    }
    /// `platform/daemon.yaml`: public keys of the daemon.
    WrittenDaemon {
        /// Public keys by what they sign.
        keys: Option<Spanned<Entries<WorkflowId, String>>>,
    }
}

/// What a person's key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Signing commits.
    Commit,
    /// Signing approvals.
    Approval,
    /// Logging in.
    Login,
    /// Emergencies.
    BreakGlass,
}

impl KeyPurpose {
    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Approval => "approval",
            Self::Login => "login",
            Self::BreakGlass => "break-glass",
        }
    }
}

words! {
    KeyPurpose: "a use of a key" {
        "commit" => KeyPurpose::Commit, "approval" => KeyPurpose::Approval, "login" => KeyPurpose::Login,
        "break-glass" => KeyPurpose::BreakGlass,
    }
}
