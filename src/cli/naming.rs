//! From what people type to what is meant: runs, and `TENANT/WORKFLOW`.

use std::str::FromStr;

use serde_json::Value;

use super::Ending;
use super::door::Door;
use crate::client::Question;
use crate::domain::{RunId, TenantId, Timestamp, WorkflowId};

/// A workflow of a tenant: `acme/billing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowName {
    /// The tenant.
    pub tenant: TenantId,
    /// The workflow.
    pub workflow: WorkflowId,
}

impl FromStr for WorkflowName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (tenant, workflow) = text.split_once('/').ok_or("a workflow is written TENANT/WORKFLOW")?;
        Ok(Self {
            tenant: tenant.parse().map_err(|error| format!("the tenant: {error}"))?,
            workflow: workflow.parse().map_err(|error| format!("the workflow: {error}"))?,
        })
    }
}

/// A tenant or one of its workflows: `acme` or `acme/billing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantOrWorkflow {
    /// The tenant.
    pub tenant: TenantId,
    /// The workflow, where one is named.
    pub workflow: Option<WorkflowId>,
}

impl FromStr for TenantOrWorkflow {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            let WorkflowName { tenant, workflow } = text.parse()?;
            return Ok(Self { tenant, workflow: Some(workflow) });
        }
        Ok(Self { tenant: text.parse().map_err(|error| format!("{error}"))?, workflow: None })
    }
}

/// A time, or a length of time from now: `2026-11-23T14:00:00Z` or `4h`.
pub fn until(text: &str, now: Timestamp) -> Result<Timestamp, Ending> {
    if let Ok(length) = text.parse::<crate::domain::Length>() {
        return Ok(now + length);
    }
    text.parse().map_err(|_| {
        Ending::Usage(format!(
            "`{text}` is neither a time such as 2026-11-23T14:00:00Z nor a length such as 4h"
        ))
    })
}

/// One run, found.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub run: RunId,
}

/// Finds a run by its id, the last 6 or more characters of it, or `TENANT/WORKFLOW` for the latest (or the latest
/// that failed). The choice is said on standard error.
///
/// # Errors
/// No, if there is none or more than one.
pub async fn resolve(door: &Door, name: &str, failed: bool) -> Result<Chosen, Ending> {
    let (target, what) = match name.parse::<WorkflowName>() {
        Ok(WorkflowName { tenant, workflow }) => {
            let only = if failed { "&failed=true" } else { "" };
            let what = if failed { "no failed run" } else { "no run" };
            (
                format!("/api/v1/tenants/{tenant}/runs?workflow={workflow}&limit=1{only}"),
                format!("{what} of `{name}`"),
            )
        }
        Err(_) if is_id(name) => {
            (format!("/api/v1/runs?suffix={name}&limit=5"), format!("no run whose id ends in `{name}`"))
        }
        Err(_) => {
            return Err(Ending::Usage(format!(
                "`{name}` is no run: give its id, the last 6 or more characters of it, or TENANT/WORKFLOW"
            )));
        }
    };
    let document = door.ask(Question::get(target)).await?;
    let runs: Vec<&Value> = document["runs"].as_array().into_iter().flatten().collect();
    let run = match runs.as_slice() {
        [] => return Err(Ending::No(what)),
        [run] => *run,
        several => {
            let ids: Vec<_> = several.iter().filter_map(|run| run["id"].as_str()).collect();
            return Err(Ending::No(format!("`{name}` is the end of several ids: {}", ids.join(", "))));
        }
    };
    let chosen = read(run).ok_or_else(|| Ending::CouldNot("the answer holds no run".to_owned()))?;
    if chosen.run.as_str() != name {
        let state = run["outcome"].as_str().or(run["state"].as_str()).unwrap_or_default();
        anstream::eprintln!(
            "{} ({}/{}, {state})",
            chosen.run,
            chosen.tenant,
            run["workflow"].as_str().unwrap_or_default()
        );
    }
    Ok(chosen)
}

fn read(run: &Value) -> Option<Chosen> {
    Some(Chosen { tenant: run["tenant"].as_str()?.parse().ok()?, run: run["id"].as_str()?.parse().ok()? })
}

/// Whether a text is a run's id or its end.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("run_").unwrap_or(text);
    (6..=36).contains(&digits.len())
        && digits.bytes().all(|b| b == b'-' || matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_length_from_now() {
        let now: Timestamp = "2026-11-23T14:00:00Z".parse().unwrap();
        assert_eq!(until("4h", now).unwrap().to_string(), "2026-11-23T18:00:00Z");
        assert_eq!(until("2026-12-01T00:00:00Z", now).unwrap().to_string(), "2026-12-01T00:00:00Z");
        assert!(matches!(until("tomorrow", now), Err(Ending::Usage(_))));
    }

    #[test]
    fn what_people_type_for_runs_and_workflows() {
        assert!(is_id("run_0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11"));
        assert!(is_id("1b8e11"));
        assert!(!is_id("b8e11"));
        assert!(!is_id("billing"));
        assert_eq!("acme/billing".parse::<WorkflowName>().unwrap().workflow.as_str(), "billing");
        assert!("acme".parse::<WorkflowName>().is_err());
        assert_eq!("acme".parse::<TenantOrWorkflow>().unwrap().workflow, None);
        assert!("acme/billing/x".parse::<TenantOrWorkflow>().is_err());
    }
}
