//! The lesser of two reaches, for what is no secret: limits and hosts.
//!
//! Secrets are narrowed where they are given out (broker).

use crate::domain::{Length, Resources, Step, TenantState, Workflow};

/// The time of one attempt where nobody says. Source: design page `runs.md`, "Defaults".
const TIMEOUT: Length = Length::from_secs(600);

/// The step as it may run now, or `None` if nothing of it is taken away.
///
/// The strongest tier that any of them asks for counts: the step at the run's commit, the same step in the applied state,
/// or the tenant's settings there. A host or a limit beyond the default counts only if the step has it at the run's commit **and** the same step
/// of the same workflow still has it in the applied state. Source: design page `access.md`. Asked for with every
/// lease, so that it holds for what waits, is run again, or is pinned.
#[must_use]
pub fn narrowed(workflow: &Workflow, step: &Step, applied: &TenantState) -> Option<Step> {
    let still = applied.workflows.get(&workflow.id).and_then(|workflow| workflow.step(&step.id));
    let fallback = Resources::default();
    let granted = still.map_or(&fallback, |still| &still.resources);
    let ceiling = applied.settings.limits.memory.unwrap_or(granted.memory);
    let resources = Resources {
        memory: step.resources.memory.min(granted.memory).min(ceiling),
        cpu_millis: step.resources.cpu_millis.min(granted.cpu_millis),
        pids: step.resources.pids.min(granted.pids),
        disk: step.resources.disk.min(granted.disk),
        tier: step.resources.tier.max(granted.tier).max(applied.settings.limits.tier),
    };
    let timeout = step.timeout.min(still.map_or(TIMEOUT, |still| still.timeout));
    let network: Vec<_> = step
        .network
        .iter()
        .filter(|host| still.is_some_and(|still| still.network.contains(host)))
        .cloned()
        .collect();
    let same = resources == step.resources && timeout == step.timeout && network == step.network;
    (!same).then(|| Step { resources, timeout, network, ..step.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ByteSize, Tier, Waits};
    use crate::run::samples::{step, tenant_state, workflow};

    fn big() -> Step {
        let mut big = step("main", Waits::Nothing);
        big.resources = Resources {
            memory: ByteSize::from_mib(4096),
            cpu_millis: 2000,
            pids: 64,
            disk: ByteSize::from_mib(1024),
            tier: None,
        };
        big.timeout = Length::from_secs(7200);
        big.network = vec!["api.example:443".parse().unwrap(), "db.example:5432".parse().unwrap()];
        big
    }

    /// What is left of [`big`] where the applied state has `still` in its place.
    fn left(still: Option<Step>, ceiling: Option<ByteSize>) -> Option<(u64, u32, u32, u64, Vec<String>)> {
        let flow = workflow(vec![big()]);
        let mut applied = tenant_state();
        applied.settings.limits.memory = ceiling;
        applied.workflows.clear();
        if let Some(still) = still {
            applied.workflows.insert(flow.id.clone(), workflow(vec![still]));
        }
        let step = narrowed(&flow, &flow.steps[0], &applied)?;
        let hosts = step.network.iter().map(ToString::to_string).collect();
        let Resources { memory, cpu_millis, pids, .. } = step.resources;
        Some((memory.as_bytes() >> 20, cpu_millis, pids, step.timeout.as_millis() / 1000, hosts))
    }

    #[test]
    fn what_both_have_is_left() {
        assert_eq!(left(Some(big()), None), None, "nothing is taken away");
        let mut still = step("main", Waits::Nothing);
        still.network = vec!["db.example:5432".parse().unwrap(), "new.example:443".parse().unwrap()];
        let wanted = Some((512, 1000, 64, 600, vec!["db.example:5432".to_owned()]));
        assert_eq!(left(Some(still), None), wanted);
    }

    #[test]
    fn a_step_that_is_gone_or_goes_by_another_name_has_the_defaults_and_no_host() {
        let wanted = Some((512, 1000, 64, 600, Vec::new()));
        assert_eq!(left(None, None), wanted);
        assert_eq!(left(Some(step("other", Waits::Nothing)), None), wanted);
    }

    #[test]
    fn the_strongest_tier_that_is_asked_for_counts_at_once() {
        let tiers = || [None, Some(Tier::Bubblewrap), Some(Tier::Sandbox)];
        for (at_commit, in_force) in tiers().into_iter().flat_map(|one| tiers().map(|two| (one, two))) {
            for floor in tiers() {
                let asking = |tier| {
                    let mut step = step("main", Waits::Nothing);
                    step.resources.tier = tier;
                    workflow(vec![step])
                };
                let flow = asking(at_commit);
                let mut applied = tenant_state();
                applied.settings.limits.tier = floor;
                applied.workflows = [(flow.id.clone(), asking(in_force))].into();
                let left = narrowed(&flow, &flow.steps[0], &applied);
                let tier = left.map_or(at_commit, |step| step.resources.tier);
                assert_eq!(tier, at_commit.max(in_force).max(floor), "{at_commit:?} {in_force:?} {floor:?}");
                applied.workflows.clear();
                let left = narrowed(&flow, &flow.steps[0], &applied);
                assert_eq!(left.map_or(at_commit, |step| step.resources.tier), at_commit.max(floor));
            }
        }
    }

    #[test]
    fn a_ceiling_that_came_down_binds_at_once() {
        let (memory, ..) = left(Some(big()), Some(ByteSize::from_mib(256))).unwrap();
        assert_eq!(memory, 256);
    }
}
