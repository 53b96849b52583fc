//! Reading for people, the scheduler and whoever decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{audit_in, audit_platform, permitted, scope_of};
use crate::authz::{Permit, action};
use crate::domain::{
    ActualState, AppliedCommit, AttemptId, AuditEntry, AuditRecord, RunId, RunPins, StatusRow, TenantId,
    Timestamp, WorkflowId,
};
use crate::record::RunRecord;
use crate::run::RunState;
use crate::store::records::run_record;
use crate::store::rows::{Chain, Found, Rows, RunKey, RunRow};
use crate::store::{LogRecord, RunFilter, StoreError};

/// The most records of an audit that are read at one time.
const AUDIT_MAX: u32 = 10_000;
/// The most applied commits that are read at one time.
const COMMITS_MAX: u32 = 1_000;
/// The most runs that are read at one time.
const RUNS_MAX: u32 = 1_000;

pub(in crate::store) async fn pins(
    rows: &mut dyn Rows,
    permit: &Permit<action::Start>,
    id: &RunId,
) -> Found<Arc<RunPins>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    let key = RunKey { scope, id: id.clone() };
    rows.run(&key).await?.ok_or(StoreError::NotFound)?;
    rows.pins(&key).await
}

pub(in crate::store) async fn progress(
    rows: &mut dyn Rows,
    permit: &Permit<action::Start>,
    id: &RunId,
) -> Found<RunState> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    let found = rows.run(&RunKey { scope, id: id.clone() }).await?;
    found.map(|run| run.state).ok_or(StoreError::NotFound)
}

pub(in crate::store) async fn run(
    rows: &mut dyn Rows,
    permit: &Permit<action::View>,
    id: &RunId,
) -> Found<RunRecord> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    let found = rows.run(&RunKey { scope, id: id.clone() }).await?.ok_or(StoreError::NotFound)?;
    records(rows, vec![found]).await?.pop().ok_or(StoreError::NotFound)
}

pub(in crate::store) async fn log_end(
    rows: &mut dyn Rows,
    permit: &Permit<action::View>,
    attempt: &AttemptId,
) -> Found<Vec<LogRecord>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    rows.log_end(&scope, attempt).await?.ok_or(StoreError::NotFound)
}

pub(in crate::store) async fn runs(
    rows: &mut dyn Rows,
    permit: &Permit<action::View>,
    filter: &RunFilter,
) -> Found<Vec<RunRecord>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    let filter = RunFilter { limit: filter.limit.clamp(1, RUNS_MAX), ..filter.clone() };
    let found = rows.list(&scope, &filter).await?;
    records(rows, found).await
}

async fn records(rows: &mut dyn Rows, found: Vec<RunRow>) -> Found<Vec<RunRecord>> {
    let Some(scope) = found.first().map(|run| run.key.scope.clone()) else { return Ok(Vec::new()) };
    let ids: Vec<RunId> = found.iter().map(|run| run.key.id.clone()).collect();
    let mut attempts = rows.attempts(&scope, &ids).await?;
    let mut records = Vec::with_capacity(found.len());
    for run in found {
        let pins = rows.pins(&run.key).await?;
        records.push(run_record(&pins, &run.state, attempts.remove(&run.key.id).unwrap_or_default()));
    }
    Ok(records)
}

pub(in crate::store) async fn status(
    rows: &mut dyn Rows,
    permit: &Permit<action::ViewHealth>,
) -> Found<StatusRow> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    rows.outlook(&scope).await?.map(|outlook| outlook.status).ok_or(StoreError::NotFound)
}

pub(in crate::store) async fn applied_commits(
    rows: &mut dyn Rows,
    permit: &Permit<action::View>,
    limit: u32,
) -> Found<Vec<AppliedCommit>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    rows.commits(&scope, "", limit.clamp(1, COMMITS_MAX)).await
}

pub(in crate::store) async fn view(
    rows: &mut dyn Rows,
    permit: &Permit<action::View>,
) -> Found<Arc<ActualState>> {
    let now = rows.clock();
    permitted(rows, permit, now).await
}

pub(in crate::store) async fn applied(
    rows: &mut dyn Rows,
    permit: &Permit<action::Schedule>,
) -> Found<Arc<ActualState>> {
    let now = rows.clock();
    permitted(rows, permit, now).await
}

pub(in crate::store) async fn schedule_cursors(
    rows: &mut dyn Rows,
    permit: &Permit<action::Schedule>,
) -> Found<BTreeMap<(WorkflowId, String), Timestamp>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    rows.cursors(&scope).await
}

pub(in crate::store) async fn audit(
    rows: &mut dyn Rows,
    permit: &Permit<action::ViewAccess>,
    after: u64,
    limit: u32,
) -> Found<Vec<AuditRecord>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    rows.audit(&Chain::Tenant(scope), after, limit.clamp(1, AUDIT_MAX)).await
}

pub(in crate::store) async fn platform_audit(
    rows: &mut dyn Rows,
    after: u64,
    limit: u32,
) -> Found<Vec<AuditRecord>> {
    rows.audit(&Chain::Platform, after, limit.clamp(1, AUDIT_MAX)).await
}

pub(in crate::store) async fn access(
    rows: &mut dyn Rows,
    tenant: &TenantId,
) -> Found<Option<Arc<ActualState>>> {
    rows.tenant(tenant).await
}

/// An entry about a tenant that never was goes to the platform: made-up names make no chains.
pub(in crate::store) async fn append_audit(rows: &mut dyn Rows, entry: AuditEntry) -> Found<()> {
    let known = match &entry.tenant {
        Some(tenant) => rows.tenant(tenant).await?,
        None => None,
    };
    match known {
        Some(actual) => audit_in(rows, &scope_of(&actual), [entry]).await,
        None => audit_platform(rows, &[entry]).await,
    }
}
