//! Looking: nothing here changes anything but the audit.

use axum::Json;
use axum::extract::{Path, Query};
use serde::Deserialize;
use serde_json::Value;

use super::caller::Session;
use super::{Problem, documents};
use crate::authz::{PlatformAction, action};
use crate::domain::RunId;
use crate::store::RunFilter;

type Answer = Result<Json<Value>, Problem>;

/// Health of every tenant that the caller may see.
pub(super) async fn fleet(session: Session) -> Answer {
    let store = &session.ports().store;
    let mut tenants = Vec::new();
    for head in store.tenants().await?.iter().filter(|head| !head.removed) {
        if session.health(head).await?.is_some() {
            tenants.push(documents::status_row(head.tenant.as_str(), &head.status, false, session.now));
        }
    }
    let (source, platform) = (store.source().await?, store.platform_status().await?);
    Ok(Json(documents::status(&source, platform.as_ref(), tenants, session.now)))
}

/// One tenant, with what is wrong with its files for those who may view it.
pub(super) async fn status(session: Session, Path(tenant): Path<String>) -> Answer {
    let store = &session.ports().store;
    let (permit, actual) = session.permit::<action::ViewHealth>(&tenant).await?;
    let row = store.status(&permit).await?;
    let view = session.decide::<action::View>(&actual);
    let mut told = documents::status_row(&tenant, &row, view.is_ok(), session.now);
    if let Ok(view) = view {
        let open = RunFilter { open: true, limit: RUNS_MAX, ..RunFilter::default() };
        told["waiting"] = documents::waiting(&store.runs(&view, &open).await?);
    }
    let tenants = vec![told];
    let (source, platform) = (store.source().await?, store.platform_status().await?);
    Ok(Json(documents::status(&source, platform.as_ref(), tenants, session.now)))
}

/// What of the runs is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    workflow: Option<String>,
    commit: Option<String>,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    open: bool,
    suffix: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

/// Runs on one page unless asked otherwise.
const RUNS_DEFAULT: u32 = 50;
/// Applied commits that are listed.
const COMMITS_MAX: u32 = 100;
/// Runs on one page at most.
const RUNS_MAX: u32 = 1000;

impl RunsQuery {
    fn filter(&self) -> Result<RunFilter, Problem> {
        let wrong = |what: &str, text: &str| Problem::malformed(format!("`{text}` is no {what}"));
        Ok(RunFilter {
            workflow: match &self.workflow {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| wrong("workflow", text))?),
            },
            commit: match &self.commit {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| wrong("full commit id", text))?),
            },
            failed: self.failed,
            open: self.open,
            suffix: match &self.suffix {
                None => None,
                Some(text) if is_suffix(text) => Some(text.clone()),
                Some(text) => return Err(wrong("end of a run's id of at least 6 characters", text)),
            },
            before: match &self.before {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| wrong("run id", text))?),
            },
            limit: self.limit.unwrap_or(RUNS_DEFAULT).clamp(1, RUNS_MAX),
        })
    }
}

/// Whether a text can be the end of a run's id: at least 6 of its characters.
fn is_suffix(text: &str) -> bool {
    (6..=40).contains(&text.len())
        && text.trim_start_matches("run_").bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Runs of one tenant, newest first.
pub(super) async fn runs(
    session: Session,
    Path(tenant): Path<String>,
    Query(query): Query<RunsQuery>,
) -> Answer {
    let (permit, _) = session.permit::<action::View>(&tenant).await?;
    let filter = query.filter()?;
    let runs = session.ports().store.runs(&permit, &filter).await?;
    Ok(Json(documents::runs(&runs, filter.limit)))
}

/// Runs of every tenant that the caller may view, newest first.
pub(super) async fn all_runs(session: Session, Query(query): Query<RunsQuery>) -> Answer {
    let store = &session.ports().store;
    let filter = query.filter()?;
    let mut runs = Vec::new();
    for head in store.tenants().await?.iter().filter(|head| !head.removed) {
        let Some(actual) = store.access(&head.tenant).await? else { continue };
        let Ok(permit) = session.decide::<action::View>(&actual) else { continue };
        runs.extend(store.runs(&permit, &filter).await?);
        // Ids are UUIDv7: their order is that of time.
        runs.sort_by(|a, b| b.id.cmp(&a.id));
        runs.truncate(filter.limit as usize);
    }
    Ok(Json(documents::runs(&runs, filter.limit)))
}

/// One run.
pub(super) async fn run(session: Session, Path((tenant, run)): Path<(String, String)>) -> Answer {
    let (permit, _) = session.permit::<action::View>(&tenant).await?;
    let run: RunId = run.parse().map_err(|_| Problem::not_found("there is no such run in this tenant"))?;
    Ok(Json(documents::run(&session.ports().store.run(&permit, &run).await?)))
}

/// The applied workflows of a tenant.
pub(super) async fn workflows(session: Session, Path(tenant): Path<String>) -> Answer {
    let (_, actual) = session.permit::<action::View>(&tenant).await?;
    Ok(Json(documents::workflows(&actual, session.now)))
}

/// The commits that a tenant has applied, newest first: what it can be pinned to.
pub(super) async fn applied(session: Session, Path(tenant): Path<String>) -> Answer {
    let (permit, actual) = session.permit::<action::View>(&tenant).await?;
    let commits = session.ports().store.applied_commits(&permit, COMMITS_MAX).await?;
    Ok(Json(documents::applied(&actual, &commits, session.now)))
}

/// Where a tenant stands, for a plan made elsewhere.
pub(super) async fn standing(session: Session, Path(tenant): Path<String>) -> Answer {
    let (permit, actual) = session.permit::<action::ViewMetadata>(&tenant).await?;
    Ok(Json(documents::standing(&permit, &actual, session.now)))
}

/// The secrets of a tenant: names, versions and states.
pub(super) async fn secrets(session: Session, Path(tenant): Path<String>) -> Answer {
    let (permit, actual) = session.permit::<action::ViewMetadata>(&tenant).await?;
    Ok(Json(documents::secrets(&permit, &actual)))
}

/// Which part of a chain is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

impl AuditQuery {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(100).clamp(1, 10_000)
    }
}

/// A tenant's audit chain.
pub(super) async fn audit(
    session: Session,
    Path(tenant): Path<String>,
    Query(query): Query<AuditQuery>,
) -> Answer {
    let (permit, _) = session.permit::<action::ViewAccess>(&tenant).await?;
    let records = session.ports().store.audit(&permit, query.after, query.limit()).await?;
    Ok(Json(documents::audit(&records, query.limit())))
}

/// The platform's audit chain.
pub(super) async fn platform_audit(session: Session, Query(query): Query<AuditQuery>) -> Answer {
    session.platform_action(PlatformAction::View).await?;
    let records = session.ports().store.platform_audit(query.after, query.limit()).await?;
    Ok(Json(documents::audit(&records, query.limit())))
}
