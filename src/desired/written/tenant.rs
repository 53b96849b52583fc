//! `tenant.yaml`, `roles.yaml` and `secrets.yaml` as written.

use serde_json::{Value, json};

use super::form::{Definitions, Entries, Written, form};
use super::reader::{Reader, listed, nearest};
use super::scalar::Anything;
use crate::desired::rules;
use crate::domain::{
    ByteSize, DeliveryKind, ElevationId, HostPort, Isolation, Length, OnRevoke, Principal, SecretName,
    SecretPurpose, Spanned, TenantKind, Tier, Timestamp, UserId, VersionId, VersionState,
};
use crate::yaml::Node;

form! {
    /// `tenants/T/tenant.yaml`: who owns the tenant, where it may run, its limits and routes.
    WrittenTenant {
        /// What the tenant stands for; `customer` by default.
        kind: Option<Spanned<TenantKind>>,
        /// Who agrees to changes of access and receives the alerts.
        owner: Spanned<Principal>,
        /// A name for the stage, such as `production`.
        #[example = "production"]
        environment: Option<Spanned<String>>,
        /// Runs are leased only to workers of this region.
        #[example = "eu"]
        region: Option<Spanned<String>>,
        /// An IANA zone for schedules; UTC by default.
        #[example = "Europe/Berlin"]
        timezone: Option<Spanned<String>>,
        /// `soft`: the shared cell; `hard`: a cell of its own.
        isolation: Option<Spanned<Isolation>>,
        /// To whom secrets are encrypted and how they may arrive.
        secrets: Option<Spanned<WrittenCustody>>,
        /// The most that runs of this tenant may use.
        limits: Option<Spanned<WrittenLimits>>,
        /// How long things are kept.
        retention: Option<Spanned<WrittenRetention>>,
        /// The most that any workflow of this tenant may ask for.
        egress: Option<Spanned<Vec<Spanned<HostPort>>>>,
        /// Where alerts go, and objectives.
        alerts: Option<Spanned<WrittenAlerts>>,
        /// While it stands, runs of this tenant wait.
        suspend: Option<Spanned<WrittenPause>>,
    }
    /// To whom secrets are encrypted and how they may arrive.
    WrittenCustody {
        /// Public keys: age1… or ssh-ed25519 …
        recipients: Option<Spanned<Vec<Spanned<String>>>>,
        /// How secrets may arrive at a step; all three by default.
        delivery: Option<Spanned<Vec<Spanned<DeliveryKind>>>>,
    }
    /// Upper bounds.
    WrittenLimits {
        /// Runs at one time.
        concurrency: Option<Spanned<u32>>,
        /// Memory of one attempt, with a unit.
        memory: Option<Spanned<ByteSize>>,
        /// Time of one run, with a unit.
        run_timeout: Option<Spanned<Length>>,
        /// The weakest tier that steps may run in: bubblewrap or sandbox.
        tier: Option<Spanned<Tier>>,
    }
    /// How long things are kept, with units.
    WrittenRetention {
        /// What steps were given and wrote and what a hook sent, encrypted once the run is over; `7d` by default.
        payloads: Option<Spanned<Length>>,
        /// Logs.
        logs: Option<Spanned<Length>>,
        /// Records of runs.
        runs: Option<Spanned<Length>>,
    }
    /// Where alerts go, and objectives.
    WrittenAlerts {
        /// One mapping each, named for its kind: slack, alertmanager, email, webhook.
        routes: Option<Spanned<Vec<Spanned<Anything>>>>,
        /// Objectives.
        slo: Option<Spanned<WrittenObjectives>>,
    }
    /// Objectives of a tenant.
    WrittenObjectives {
        /// The share of runs that should succeed, such as `99%`.
        #[example = "99%"]
        success: Option<Spanned<String>>,
        /// Runs that take longer count as slow.
        slower_than: Option<Spanned<Length>>,
        /// The stretch it is measured over.
        window: Option<Spanned<Length>>,
    }
    /// A pause with its reason.
    WrittenPause {
        /// Why.
        reason: Spanned<String>,
        /// When it ends by itself.
        until: Option<Spanned<Timestamp>>,
    }
}

/// `tenants/T/roles.yaml`: roles with their principals, and elevations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenRoles {
    /// Each role's name as written, with its principals.
    pub roles: Vec<(Spanned<String>, Vec<Spanned<Principal>>)>,
    /// The elevations.
    pub elevations: Vec<Spanned<WrittenElevation>>,
}

const ROLES: [&str; 3] = ["operator", "developer", "auditor"];

impl Written for WrittenRoles {
    const FIELDS: &'static [&'static str] = &["operator", "developer", "auditor", "elevations"];
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(entries) = node.as_mapping() else {
            reader.wrong_type(node, "a mapping with `operator`, `developer`, `auditor` and `elevations`");
            return None;
        };
        super::form::duplicates(entries, reader);
        let mut read = Self::default();
        for (key, value) in entries {
            let Some(name) = key.scalar() else {
                reader.wrong_type(key, "the name of a role");
                continue;
            };
            match name {
                "elevations" => {
                    read.elevations = Vec::decode(value, reader).unwrap_or_default();
                }
                "admin" => {
                    let found =
                        reader.report(&rules::ADMIN_IN_TENANT, key.span, "`admin` is no role in a tenant");
                    found.help =
                        Some(format!("roles here: {}; admins stand in platform/roles.yaml", listed(ROLES)));
                }
                "owner" => {
                    let found = reader.report(
                        &rules::OWNER_AS_ROLE,
                        key.span,
                        "the owner does not stand in roles.yaml",
                    );
                    found.help = Some("write `owner:` in tenant.yaml".into());
                }
                "<<" => {
                    reader.report(&rules::MERGE_KEY, key.span, "the merge key `<<` is not read").help =
                        Some("write the roles out".into());
                }
                role if ROLES.contains(&role) => {
                    let people = Vec::decode(value, reader).unwrap_or_default();
                    read.roles.push((Spanned::new(role.to_owned(), key.span), people));
                }
                other => {
                    let found =
                        reader.report(&rules::UNKNOWN_ROLE, key.span, format!("`{other}` is no role"));
                    found.help = Some(match nearest(other, Self::FIELDS.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("roles: {}", listed(ROLES)),
                    });
                }
            }
        }
        Some(read)
    }
    fn schema(definitions: &mut Definitions) -> Value {
        let principal = Principal::schema(definitions);
        let people = |about: &str| json!({ "description": about, "type": "array", "items": principal });
        let elevation = WrittenElevation::schema(definitions);
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "operator": people("Who starts, reruns, cancels and pauses."),
                "developer": people("Who sees runs and logs."),
                "auditor": people("Who reads records and the audit."),
                "elevations": {
                    "description": "Roles with an end, each approved by others.",
                    "type": "array",
                    "items": elevation,
                },
            },
        })
    }
}

form! {
    /// A role with an end: `for` with `ask_until`, or `from` with `until`.
    WrittenElevation {
        /// Names it; an id ends once and never returns.
        id: Spanned<ElevationId>,
        /// Who.
        user: Spanned<UserId>,
        /// operator, developer or auditor.
        role: Spanned<String>,
        /// How long, from when it is approved and applied.
        length = "for": Option<Spanned<Length>>,
        /// It is void when it is not applied before this.
        ask_until: Option<Spanned<Timestamp>>,
        /// The start of a planned window.
        from: Option<Spanned<Timestamp>>,
        /// The end of a planned window.
        until: Option<Spanned<Timestamp>>,
        /// Why.
        reason: Spanned<String>,
    }
    /// `tenants/T/secrets.yaml`: the index of secrets, never a value.
    WrittenSecrets {
        /// By name.
        secrets: Option<Spanned<Entries<SecretName, WrittenSecret>>>,
    }
    /// One secret of the index.
    WrittenSecret {
        /// Who answers for it; the tenant's owner by default.
        owner: Option<Spanned<Principal>>,
        /// What it is opened for; `[step]` by default.
        purposes = "use": Option<Spanned<Vec<Spanned<SecretPurpose>>>>,
        /// How often it should be rotated.
        rotate_every: Option<Spanned<Length>>,
        /// When an identity that opens it leaked: what was made before is overdue. Written by `rekey --leaked`.
        leaked_at: Option<Spanned<Timestamp>>,
        /// `false` only for a value that cannot be protected and needs no protection.
        redact: Option<Spanned<bool>>,
        /// What a revocation does to runs that fetched the version.
        on_revoke: Option<Spanned<OnRevoke>>,
        /// The SOPS file of all versions, from the tenant's directory.
        file: Option<Spanned<String>>,
        /// Its versions.
        versions: Spanned<Vec<Spanned<WrittenVersion>>>,
    }
    /// One version of a secret.
    WrittenVersion {
        /// By custom v1, v2, …
        id: Spanned<VersionId>,
        /// pending, current, previous or revoked; it only moves forward.
        state: Spanned<VersionState>,
        /// When it was made.
        created: Option<Spanned<Timestamp>>,
        /// The end of a previous version.
        accept_until: Option<Spanned<Timestamp>>,
        /// The SOPS file, from the tenant's directory; `secrets/NAME.VERSION.sops.yaml` by default.
        #[example = "secrets/db_url.v1.sops.yaml"]
        file: Option<Spanned<String>>,
    }
}
