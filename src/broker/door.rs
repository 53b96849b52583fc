//! One attempt's way to its secrets, with every check and both audit records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::authz::{Permit, action};
use crate::domain::{
    Actor, AttemptId, AuditEntry, Clock, Delivery, DeliveryKind, FieldName, RunPins, SecretName, SecretUse,
    VersionId, VersionState,
};
use crate::run::{self, Sensitive};
use crate::secrets::{Sealed, Vault, VaultError};
use crate::sops::Plaintext;
use crate::source::Contents;
use crate::store::{Lease, Store, StoreError};

use super::reach::{OutOfReach, Wanted, offered};
use super::request::Token;

/// Learns values before they are delivered, so that no output shows them: what the executor redacts with.
pub trait Masks: Send + Sync {
    /// Masks a value from now on as `[redacted:NAME]`, in every form and in every stream of the attempt.
    ///
    /// # Errors
    /// [`Unmaskable`] for values that nobody could protect; they are not delivered.
    fn mask(&self, name: &SecretName, value: &Plaintext) -> Result<(), Unmaskable>;
}

/// A value is too short or too common to be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmaskable;

/// Opens doors; one for a whole worker.
#[derive(Clone)]
pub struct Broker {
    pub(super) store: Arc<dyn Store>,
    pub(super) source: Arc<dyn Contents>,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) clock: Clock,
}

impl Broker {
    /// Takes what it works with.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        source: Arc<dyn Contents>,
        vault: Arc<dyn Vault>,
        clock: Clock,
    ) -> Self {
        Self { store, source, vault, clock }
    }

    /// Opens the door of one leased attempt. `token` is 64 random hex digits of this attempt alone, which the
    /// step gets as `TENANTRY_TOKEN` and the redactor knows.
    #[must_use]
    pub fn open(&self, lease: &Lease, token: &str, masks: Arc<dyn Masks>) -> Door {
        Door(Arc::new(Inside {
            broker: self.clone(),
            permit: Mutex::new(lease.permit.read_secret()),
            attempt: lease.attempt.clone(),
            pins: Arc::clone(&lease.pins),
            token: Token::new(token),
            masks,
            used: Mutex::new(BTreeSet::new()),
            requests: AtomicU32::new(0),
            masked: AtomicU32::new(0),
            refused: Mutex::new(BTreeSet::new()),
            closed: std::sync::atomic::AtomicBool::new(false),
        }))
    }
}

/// The way of one attempt to its secrets. Cloning gives the same door.
#[derive(Clone)]
pub struct Door(pub(super) Arc<Inside>);

pub(super) struct Inside {
    broker: Broker,
    permit: Mutex<Permit<action::ReadSecret>>,
    attempt: AttemptId,
    pins: Arc<RunPins>,
    pub(super) token: Token,
    masks: Arc<dyn Masks>,
    used: Mutex<BTreeSet<String>>,
    pub(super) requests: AtomicU32,
    masked: AtomicU32,
    refused: Mutex<BTreeSet<&'static str>>,
    closed: std::sync::atomic::AtomicBool,
}

/// One version, ready to be handed over: audited and masked already.
#[derive(Debug)]
pub struct Given {
    /// Which.
    pub version: VersionId,
    /// Its state.
    pub state: VersionState,
    /// Its value.
    pub value: Plaintext,
}

/// Values for tools that know nothing of a socket: name of the variable and value.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Environment variables.
    pub variables: Vec<(String, Plaintext)>,
    /// Files, whose paths stand in these variables.
    pub files: Vec<(String, Plaintext)>,
}

/// Requests for secrets that one attempt may make.
pub(super) const REQUESTS_MAX: u32 = 1_000;
/// Values that one attempt may have masked.
const MASKS_MAX: u32 = 200;

/// Why a script does not get a value. The text is for the script's author; no text holds a value.
#[derive(Debug, thiserror::Error)]
pub enum NotGiven {
    /// It is out of the step's reach.
    #[error(transparent)]
    Reach(#[from] OutOfReach),
    /// The redactor could not protect the value.
    #[error(
        "the value of `{0}` is too short or too common to be masked: use a longer one, or mark it `redact: false`"
    )]
    Unredactable(SecretName),
    /// Too many requests.
    #[error("this attempt has asked too often")]
    TooMany,
    /// The attempt is over or another worker's.
    #[error("the lease of this attempt is over")]
    Stale,
    /// No audit, no access.
    #[error("the audit cannot be written now")]
    AuditUnavailable,
    /// The file cannot be read or opened here.
    #[error("the secret cannot be opened: {0}")]
    Unopened(String),
    /// A variable cannot hold the value.
    #[error("the value of `{0}` holds bytes that no environment variable can: deliver it as a file")]
    NoText(SecretName),
}

impl NotGiven {
    /// The HTTP status. Source: design page `secrets.md`, "In use".
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Reach(OutOfReach::NotDeclared(_)) => 403,
            Self::Reach(OutOfReach::Unknown(_)) => 404,
            Self::Reach(OutOfReach::Gone(_)) => 410,
            Self::Unredactable(_) | Self::Stale | Self::NoText(_) => 409,
            Self::TooMany => 429,
            Self::AuditUnavailable | Self::Unopened(_) => 503,
        }
    }
    /// The code in the answer and in the audit.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reach(OutOfReach::NotDeclared(_)) => "not_declared",
            Self::Reach(OutOfReach::Unknown(_)) => "not_found",
            Self::Reach(OutOfReach::Gone(_)) => "revoked",
            Self::Unredactable(_) => "unredactable",
            Self::Stale => "stale",
            Self::NoText(_) => "not_text",
            Self::TooMany => "too_many_requests",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Unopened(_) => "unopened",
        }
    }
}

impl Door {
    /// Takes over the end of a renewed lease. A permit of another tenant, or an older one, changes nothing.
    pub fn renew(&self, permit: &Permit<action::Execute>) {
        let mut held = self.0.permit.lock().unwrap_or_else(PoisonError::into_inner);
        let same = permit.tenant() == held.tenant() && permit.incarnation() == held.incarnation();
        if same && permit.expires() > held.expires() {
            *held = permit.read_secret();
        }
    }

    /// Ends the attempt's right at once; what comes later is answered like a lost lease.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    /// `tenants/T/NAME@VERSION` for every version that was delivered, in order.
    #[must_use]
    pub fn used(&self) -> Vec<String> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Opens what the step declares as variable or file, with the checks and the audit of every request.
    ///
    /// # Errors
    /// [`NotGiven`] of the first secret that cannot be had: the step does not start without it.
    pub async fn deliver(&self) -> Result<Delivered, (SecretName, NotGiven)> {
        let mut delivered = Delivered::default();
        let Some(step) = self.0.pins.workflow.step(&self.0.attempt.step) else { return Ok(delivered) };
        for used in &step.secrets {
            let (variable, list) = match &used.delivery {
                Delivery::Socket => continue,
                Delivery::Env(variable) => (variable, &mut delivered.variables),
                Delivery::File(variable) => (variable, &mut delivered.files),
            };
            let kind = used.delivery.kind();
            let given = self.fetch_by(used.asked(), &Wanted::Current, kind).await;
            let given = given.map_err(|refusal| (used.name.clone(), refusal))?;
            let bad = |given: &Given| {
                kind == DeliveryKind::Env
                    && (std::str::from_utf8(given.value.expose()).is_err()
                        || given.value.expose().contains(&0))
            };
            if given.iter().any(bad) {
                return Err((used.name.clone(), NotGiven::NoText(used.name.clone())));
            }
            list.extend(given.into_iter().map(|given| (variable.clone(), given.value)));
        }
        Ok(delivered)
    }

    /// Gives a secret's versions over the socket, the current one first. `name` is the one that the script knows:
    /// a shared workflow's, where the tenant's own is another.
    ///
    /// # Errors
    /// [`NotGiven`].
    pub async fn fetch(&self, name: &SecretName, wanted: &Wanted) -> Result<Vec<Given>, NotGiven> {
        self.fetch_by(name, wanted, DeliveryKind::Socket).await
    }

    /// The order matters: nothing is opened before the request is in the audit, nothing is handed over before
    /// the redactor knows it and the delivery is in the audit too.
    async fn fetch_by(
        &self,
        asked: &SecretName,
        wanted: &Wanted,
        delivery: DeliveryKind,
    ) -> Result<Vec<Given>, NotGiven> {
        let declared = self.uses().find(|used| used.asked() == asked);
        let name = declared.map_or(asked, |used| &used.name);
        let asked = format!("secret:{name}@{}", wanted.as_str());
        if self.0.requests.fetch_add(1, Ordering::SeqCst) >= REQUESTS_MAX {
            self.refuse_once("too_many_requests", &asked).await;
            return Err(NotGiven::TooMany);
        }
        self.audit("secret.requested", asked.clone(), true, "asked for by its step").await?;
        let opened = match declared {
            Some(_) => self.open(name, wanted, delivery).await,
            None => Err(OutOfReach::NotDeclared(super::reach::UNDECLARED).into()),
        };
        match opened {
            Ok(given) => {
                let versions = given.iter().map(|one| format!("{name}@{}", one.version));
                for version in versions {
                    let way = match delivery {
                        DeliveryKind::Socket => "declared by its step, over the socket",
                        DeliveryKind::Env => "declared by its step, as a variable",
                        DeliveryKind::File => "declared by its step, as a file",
                    };
                    self.audit("secret.delivered", format!("secret:{version}"), true, way).await?;
                    let path = format!("tenants/{}/{version}", self.0.pins.tenant);
                    self.0.used.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
                }
                Ok(given)
            }
            Err(refusal) => {
                let reason = format!("{}: {refusal}", refusal.code());
                self.audit("secret.denied", asked, false, &reason).await?;
                Err(refusal)
            }
        }
    }

    /// What the step declares at the run's commit.
    fn uses(&self) -> impl Iterator<Item = &SecretUse> {
        self.0.pins.workflow.step(&self.0.attempt.step).into_iter().flat_map(|step| &step.secrets)
    }

    async fn open(
        &self,
        name: &SecretName,
        wanted: &Wanted,
        delivery: DeliveryKind,
    ) -> Result<Vec<Given>, NotGiven> {
        let inside = &self.0;
        let now = (inside.broker.clock)();
        let permit = self.permit()?;
        permit.tenant_at(now).map_err(|_| NotGiven::Stale)?;
        let actual = inside.broker.store.reach(&permit, &inside.attempt, now).await.map_err(from_store)?;
        let (secret, versions) =
            offered(&inside.pins, &inside.attempt.step, &actual, name, wanted, delivery, now)?;
        let mut given = Vec::with_capacity(versions.len());
        for version in versions {
            let blob = version.blob.as_ref().ok_or(OutOfReach::Unknown("the version's file is missing"))?;
            let file =
                inside.broker.source.blob(blob).await.map_err(|_| {
                    NotGiven::Unopened("its file cannot be read from the repository".to_owned())
                })?;
            let value = inside
                .broker
                .vault
                .open(&permit, Sealed { name, version: &version.id, ciphertext: &file }, now)
                .await
                .map_err(unopened)?;
            if secret.redact {
                let masked = inside.masks.mask(name, &value);
                masked.map_err(|Unmaskable| NotGiven::Unredactable(name.clone()))?;
            }
            given.push(Given { version: version.id.clone(), state: version.state, value });
        }
        Ok(given)
    }

    /// The names that the step may ask for now, with the versions it would get.
    ///
    /// # Errors
    /// [`NotGiven::Stale`] and [`NotGiven::AuditUnavailable`].
    pub async fn list(&self) -> Result<Vec<(SecretName, Vec<(VersionId, VersionState)>)>, NotGiven> {
        let inside = &self.0;
        if inside.requests.fetch_add(1, Ordering::SeqCst) >= REQUESTS_MAX {
            return Err(NotGiven::TooMany);
        }
        let now = (inside.broker.clock)();
        let permit = self.permit()?;
        permit.tenant_at(now).map_err(|_| NotGiven::Stale)?;
        let actual = inside.broker.store.reach(&permit, &inside.attempt, now).await.map_err(from_store)?;
        let names: BTreeMap<&SecretName, &SecretName> =
            self.uses().map(|used| (used.asked(), &used.name)).collect();
        let offered = |name| {
            let (step, socket) = (&inside.attempt.step, DeliveryKind::Socket);
            offered(&inside.pins, step, &actual, name, &Wanted::All, socket, now)
        };
        Ok(names
            .into_iter()
            .filter_map(|(asked, name)| {
                let (_, versions) = offered(name).ok()?;
                Some((asked.clone(), versions.iter().map(|one| (one.id.clone(), one.state)).collect()))
            })
            .collect())
    }

    /// Opens the run's sensitive inputs for a step that is given some of them, masks each, and gives them.
    ///
    /// Audited as secrets are; what stands in clear in the pins, which is so in a run of the work tree alone, is masked
    /// and given.
    ///
    /// # Errors
    /// [`NotGiven`]: the step does not start without them.
    pub async fn inputs(&self, names: &[FieldName]) -> Result<Sensitive, NotGiven> {
        let inside = &self.0;
        let mut values = run::sensitive_in_clear(&inside.pins);
        if let Some(ciphertext) = &inside.pins.sealed {
            let listed: Vec<_> = names.iter().map(ToString::to_string).collect();
            let resource = format!("inputs:{}", listed.join(","));
            self.audit("input.requested", resource.clone(), true, "given to its step").await?;
            let (name, version) =
                sealed_as().ok_or_else(|| NotGiven::Unopened("it has no name".to_owned()))?;
            let sealed = Sealed { name: &name, version: &version, ciphertext: ciphertext.as_bytes() };
            let now = (inside.broker.clock)();
            let opened = inside.broker.vault.open(&self.permit()?, sealed, now).await.map_err(unopened)?;
            values = serde_json::from_slice(opened.expose())
                .map_err(|_| NotGiven::Unopened("its text cannot be read".to_owned()))?;
            self.audit("input.delivered", resource, true, "declared by its step").await?;
        }
        values.retain(|name, _| names.contains(name));
        for (name, value) in &values {
            let mask: SecretName = name.as_str().parse().map_err(|_| NotGiven::TooMany)?;
            let value = Plaintext::new(value.clone().into_bytes());
            let masked = inside.masks.mask(&mask, &value);
            masked.map_err(|Unmaskable| NotGiven::Unredactable(mask.clone()))?;
        }
        Ok(values)
    }

    /// Masks a value that the script made out of a secret.
    ///
    /// # Errors
    /// [`NotGiven::Unredactable`], [`NotGiven::TooMany`].
    pub fn mask(&self, value: &Plaintext) -> Result<(), NotGiven> {
        // INVARIANT: `derived` is a name; the test of masking uses it.
        #[allow(clippy::unwrap_used)]
        let name: SecretName = "derived".parse().unwrap();
        if self.0.masked.fetch_add(1, Ordering::SeqCst) >= MASKS_MAX {
            return Err(NotGiven::TooMany);
        }
        self.0.masks.mask(&name, value).map_err(|Unmaskable| NotGiven::Unredactable(name))
    }

    /// Audits a request that was refused before anything was looked up, once per attempt and kind.
    pub(super) async fn refuse_once(&self, code: &'static str, reason: &str) {
        let first = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(code);
        if first {
            let action = match code {
                "cross_tenant" => "secret.cross_tenant_denied",
                _ => "secret.denied",
            };
            // The request is refused either way; without audit there is nothing else to hold back.
            let _ = self.audit(action, "secret".to_owned(), false, &format!("{code}: {reason}")).await;
        }
    }

    fn permit(&self) -> Result<Permit<action::ReadSecret>, NotGiven> {
        if self.0.closed.load(Ordering::SeqCst) {
            return Err(NotGiven::Stale);
        }
        Ok(self.0.permit.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn audit(
        &self,
        action: &str,
        resource: String,
        allowed: bool,
        reason: &str,
    ) -> Result<(), NotGiven> {
        let inside = &self.0;
        let permit = self.permit()?;
        let entry = AuditEntry {
            at: (inside.broker.clock)(),
            tenant: Some(permit.tenant().clone()),
            actor: Actor::Run(inside.attempt.run.clone()),
            action: action.to_owned(),
            resource,
            allowed,
            reason: format!("step {}#{}: {reason}", inside.attempt.step, inside.attempt.attempt),
            commit: Some(inside.pins.commit.clone()),
            run: Some(inside.attempt.run.clone()),
        };
        inside.broker.store.audit_attempt(&permit, &inside.attempt, entry).await.map_err(from_store)
    }
}

/// The name under which a run's sensitive inputs are sealed; no secret of a tenant lies in the same place.
#[must_use]
pub fn sealed_as() -> Option<(SecretName, VersionId)> {
    Some(("inputs".parse().ok()?, "run".parse().ok()?))
}

/// Everything that keeps the audit from being written keeps the value back.
pub(super) fn from_store(error: StoreError) -> NotGiven {
    match error {
        StoreError::Stale(_) | StoreError::Denied(_) | StoreError::NotFound => NotGiven::Stale,
        StoreError::Moved { .. }
        | StoreError::Refused(_)
        | StoreError::Unavailable { .. }
        | StoreError::Newer { .. }
        | StoreError::Corrupt { .. } => NotGiven::AuditUnavailable,
    }
}

/// What the script is told of a file that does not open: paths of this machine are not its business.
pub(super) fn unopened(error: VaultError) -> NotGiven {
    match error {
        VaultError::Expired(_) => NotGiven::Stale,
        VaultError::Custody(_) => NotGiven::Unopened("no fit identity of the tenant is here".to_owned()),
        VaultError::Sops(error) => NotGiven::Unopened(error.to_string()),
        VaultError::NoStandIn { .. } => NotGiven::Unopened("no value stands in for it".to_owned()),
        VaultError::Interrupted => NotGiven::Unopened("opening was interrupted".to_owned()),
    }
}
