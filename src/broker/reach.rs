//! The lesser of two reaches: what a step may have of what it asks for.

use crate::domain::{
    ActualState, DeliveryKind, RunPins, Secret, SecretName, SecretPurpose, SecretVersion, StepId, Timestamp,
    VersionId, VersionState,
};

/// Which version of a secret a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one that is current now.
    Current,
    /// The current one and every previous one that is still accepted.
    All,
    /// This one; the only way to a pending one.
    Version(VersionId),
}

impl Wanted {
    /// As in audit records.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Current => "current",
            Self::All => "all",
            Self::Version(id) => id.as_str(),
        }
    }
}

/// Why a step does not get what it asks for. Texts are for the script's author and hold names only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfReach {
    /// It is not its step's, then or now.
    #[error("{0}")]
    NotDeclared(&'static str),
    /// The index has no such secret, version or file.
    #[error("{0}")]
    Unknown(&'static str),
    /// It was withdrawn, or its time is over.
    #[error("{0}")]
    Gone(&'static str),
}

pub(super) const UNDECLARED: &str = "the step does not declare this secret at the run's commit";

/// The versions that an attempt may have, the current one first; never empty.
///
/// A secret counts only if the step declares it at the run's commit **and** the same step of the same workflow
/// still does in the applied state. Version states are those of the applied index, and what was revoked by
/// command stays revoked whatever the index says.
///
/// # Errors
/// [`OutOfReach`]: the first wall it meets, from the outermost in.
pub fn offered<'a>(
    pins: &RunPins,
    step: &StepId,
    actual: &'a ActualState,
    name: &SecretName,
    wanted: &Wanted,
    delivery: DeliveryKind,
    now: Timestamp,
) -> Result<(&'a Secret, Vec<&'a SecretVersion>), OutOfReach> {
    let declared = |step: Option<&crate::domain::Step>| {
        step.is_some_and(|step| step.secrets.iter().any(|used| used.name == *name))
    };
    if !declared(pins.workflow.step(step)) {
        return Err(OutOfReach::NotDeclared(UNDECLARED));
    }
    let same_tenant = actual.tenant == pins.tenant && actual.incarnation == pins.incarnation;
    let applied = match &actual.applied {
        Some(applied) if same_tenant && actual.removed.is_none() => &applied.state,
        _ => return Err(OutOfReach::NotDeclared("the tenant is no longer there")),
    };
    if !declared(applied.workflows.get(pins.workflow_id()).and_then(|workflow| workflow.step(step))) {
        return Err(OutOfReach::NotDeclared("the step no longer declares this secret in the applied state"));
    }
    if !applied.settings.delivery.contains(&delivery) {
        return Err(OutOfReach::NotDeclared("the tenant forbids this way of delivery"));
    }
    let secret = applied.secrets.get(name).ok_or(OutOfReach::Unknown("the index has no such secret"))?;
    if !secret.purposes.contains(&SecretPurpose::Step) {
        return Err(OutOfReach::NotDeclared("the secret's `use` does not name steps"));
    }
    let versions = match wanted {
        Wanted::Current => {
            let current = secret.current().ok_or_else(|| {
                match secret.versions.iter().any(|v| v.state == VersionState::Revoked) {
                    true => OutOfReach::Gone("every version that was current is revoked"),
                    false => OutOfReach::Unknown("the secret has no current version"),
                }
            })?;
            vec![given(secret, current, actual, now)?]
        }
        Wanted::Version(id) => {
            let version = secret.version(id).ok_or(OutOfReach::Unknown("the secret has no such version"))?;
            vec![given(secret, version, actual, now)?]
        }
        Wanted::All => accepted(secret, actual, now)?,
    };
    Ok((secret, versions))
}

/// The current version and every previous one that is still accepted, in that order; never empty.
///
/// # Errors
/// [`OutOfReach::Gone`] if none is.
pub(super) fn accepted<'a>(
    secret: &'a Secret,
    actual: &ActualState,
    now: Timestamp,
) -> Result<Vec<&'a SecretVersion>, OutOfReach> {
    let state = |wanted| secret.versions.iter().filter(move |version| version.state == wanted);
    let all: Vec<_> = state(VersionState::Current)
        .chain(state(VersionState::Previous))
        .filter(|version| given(secret, version, actual, now).is_ok())
        .collect();
    if all.is_empty() {
        return Err(OutOfReach::Gone("no version is accepted any more"));
    }
    Ok(all)
}

/// The version, if its state lets it be given out by id.
fn given<'a>(
    secret: &Secret,
    version: &'a SecretVersion,
    actual: &ActualState,
    now: Timestamp,
) -> Result<&'a SecretVersion, OutOfReach> {
    if version.state == VersionState::Revoked || actual.is_revoked(&secret.name, &version.id) {
        return Err(OutOfReach::Gone("the version is revoked"));
    }
    let ended = version.accept_until.is_some_and(|until| until <= now);
    if version.state == VersionState::Previous && ended {
        return Err(OutOfReach::Gone("the time of this previous version is over"));
    }
    if version.blob.is_none() {
        return Err(OutOfReach::Unknown("the version's file is missing"));
    }
    Ok(version)
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
