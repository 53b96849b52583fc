//! What a machine can and cannot do for a step, each gap with its cure.

use serde::{Deserialize, Serialize};

use crate::domain::{LimitsKind, Tier};

/// What was found out by doing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The tier.
    pub tier: Tier,
    /// How the tree is limited.
    pub limits: LimitsKind,
    /// Each feature, in the order of a walk from the outer wall inwards.
    pub features: Vec<Feature>,
    /// Things worth knowing that are no gap, such as a directory of the host that steps can read.
    pub notes: Vec<String>,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Its name, such as `pid namespace`.
    pub name: String,
    /// Whether steps are refused without it.
    pub need: Need,
    /// What was found.
    #[serde(flatten)]
    pub state: FeatureState,
}

/// Whether steps are refused without a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// They are.
    Required,
    /// They are not; the record says what was missing.
    Recorded,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FeatureState {
    /// It works.
    Ok,
    /// It does not.
    Missing {
        /// What the machine answered.
        why: String,
        /// What an administrator can do.
        cure: String,
    },
}

impl Capabilities {
    /// The features that are missing.
    pub fn missing(&self, need: Need) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(move |feature| feature.need == need && feature.state != FeatureState::Ok)
    }

    /// Why steps are refused, naming every missing feature and its cure; `None` if they are not.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let gaps: Vec<String> = self
            .missing(Need::Required)
            .map(|feature| match &feature.state {
                FeatureState::Missing { why, cure } => format!("{}: {why}; {cure}", feature.name),
                FeatureState::Ok => feature.name.clone(),
            })
            .collect();
        (!gaps.is_empty()).then(|| gaps.join(" · "))
    }

    /// Why a step that may run in `asked` or a stronger tier is refused here; `None` if it is not.
    #[must_use]
    pub fn too_weak(&self, asked: Option<Tier>) -> Option<String> {
        let (asked, tier) = (asked.filter(|asked| *asked > self.tier)?, self.tier);
        Some(format!(
            "it may run in the tier `{asked}` or a stronger one, and this worker has `{tier}`; \
             `tenantry doctor --tier {asked}` says what is missing there"
        ))
    }

    /// The names of missing features that are only recorded.
    #[must_use]
    pub fn gaps(&self) -> Vec<String> {
        self.missing(Need::Recorded).map(|feature| feature.name.clone()).collect()
    }
}
