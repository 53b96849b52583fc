//! The trait [`Store`] over any engine: each method is one operation, run as one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::operations as op;
use super::rows::{Document, Engine, work};
use super::{
    Application, AppliedAt, AppliedPlatform, Asked, Fired, Lease, LogRecord, Offer, Pending, PinRequest,
    Renewal, Report, RunFilter, Sealer, SourceRow, Started, Store, StoreError, Swept, TenantHead,
};
use crate::authz::{Permit, action};
use crate::domain::{
    ActualState, AppliedCommit, AttemptId, AuditEntry, AuditRecord, Pause, PinNote, RunId, RunPins,
    SecretName, StatusRow, StepId, TenantId, Timestamp, VersionId, WorkflowId,
};
use crate::record::RunRecord;
use crate::run::{CancelRequest, Decision, Payload, RunState};

/// Writes an operation over the rows `$rows` as an engine takes it; what it names is moved into it.
macro_rules! work {
    (|$rows:ident| $operation:expr) => {
        work(move |$rows| Box::pin(async move { $operation.await }))
    };
}

#[async_trait]
impl<E: Engine> Store for E {
    async fn actual(&self, permit: &Permit<action::Reconcile>) -> Result<Arc<ActualState>, StoreError> {
        let permit = permit.clone();
        self.read(work!(|rows| op::actual(rows, &permit))).await
    }
    async fn apply(
        &self,
        permit: &Permit<action::Reconcile>,
        application: &Application,
        now: Timestamp,
    ) -> Result<AppliedAt, StoreError> {
        let (permit, application) = (permit.clone(), application.clone());
        self.write(work!(|rows| op::apply(rows, &permit, application, now))).await
    }
    async fn set_status(
        &self,
        permit: &Permit<action::Reconcile>,
        row: &StatusRow,
        audit: &[AuditEntry],
    ) -> Result<(), StoreError> {
        let (permit, row, audit) = (permit.clone(), row.clone(), audit.to_vec());
        self.write(work!(|rows| op::set_status(rows, &permit, row, audit))).await
    }
    async fn tenants(&self) -> Result<Arc<[Arc<TenantHead>]>, StoreError> {
        self.heads().await
    }
    async fn platform(&self) -> Result<Option<Arc<AppliedPlatform>>, StoreError> {
        self.document(Document::Platform).await
    }
    async fn apply_platform(
        &self,
        platform: &AppliedPlatform,
        status: &StatusRow,
        audit: &[AuditEntry],
    ) -> Result<(), StoreError> {
        let (platform, status, audit) = (platform.clone(), status.clone(), audit.to_vec());
        self.write(work!(|rows| op::apply_platform(rows, platform, status, audit))).await
    }
    async fn set_platform_status(&self, status: &StatusRow, audit: &[AuditEntry]) -> Result<(), StoreError> {
        let (status, audit) = (status.clone(), audit.to_vec());
        self.write(work!(|rows| op::set_platform_status(rows, status, audit))).await
    }
    async fn platform_status(&self) -> Result<Option<StatusRow>, StoreError> {
        Ok(self.document(Document::PlatformStatus).await?.map(Arc::unwrap_or_clone))
    }
    async fn source(&self) -> Result<SourceRow, StoreError> {
        let row: Option<Arc<SourceRow>> = self.document(Document::Source).await?;
        Ok(self.last_fetch().over(row.map(Arc::unwrap_or_clone).unwrap_or_default()))
    }
    async fn set_source(&self, row: &SourceRow, audit: &[AuditEntry]) -> Result<(), StoreError> {
        let (row, audit) = (row.clone(), audit.to_vec());
        self.write(work!(|rows| op::set_source(rows, row, audit))).await
    }
    async fn set_source_ahead(&self, row: &SourceRow, audit: &[AuditEntry]) -> Result<Pending, StoreError> {
        let (row, audit) = (row.clone(), audit.to_vec());
        self.write_ahead(work!(|rows| op::set_source(rows, row, audit))).await
    }
    fn saw_source(&self, at: Timestamp) {
        self.last_fetch().saw(at);
    }

    async fn set_pause(
        &self,
        permit: &Permit<action::Steer>,
        workflow: &WorkflowId,
        pause: Option<Pause>,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let (permit, workflow) = (permit.clone(), workflow.clone());
        self.write(work!(|rows| op::set_pause(rows, &permit, &workflow, pause, audit))).await
    }
    async fn set_suspension(
        &self,
        permit: &Permit<action::Suspend>,
        pause: Option<Pause>,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::set_suspension(rows, &permit, pause, audit))).await
    }
    async fn set_pin(
        &self,
        permit: &Permit<action::Steer>,
        pin: Option<PinRequest>,
        audit: AuditEntry,
    ) -> Result<PinNote, StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::set_pin(rows, &permit, pin, audit))).await
    }
    async fn end_pin(
        &self,
        permit: &Permit<action::Reconcile>,
        now: Timestamp,
    ) -> Result<Option<PinNote>, StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::end_pin(rows, &permit, now))).await
    }
    async fn release(&self, permit: &Permit<action::Release>, audit: AuditEntry) -> Result<(), StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::release(rows, &permit, audit))).await
    }
    async fn revoke(
        &self,
        permit: &Permit<action::Revoke>,
        secret: &SecretName,
        version: &VersionId,
        audit: AuditEntry,
    ) -> Result<Vec<RunId>, StoreError> {
        let (permit, secret, version) = (permit.clone(), secret.clone(), version.clone());
        self.write(work!(|rows| op::revoke(rows, &permit, &secret, &version, audit))).await
    }

    async fn start(
        &self,
        permit: &Permit<action::Start>,
        pins: RunPins,
        audit: AuditEntry,
    ) -> Result<Started, StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::start(rows, &permit, pins, audit))).await
    }
    async fn rerun(
        &self,
        permit: &Permit<action::Start>,
        pins: RunPins,
        payload: Option<Payload>,
        audit: AuditEntry,
    ) -> Result<Started, StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::rerun(rows, &permit, pins, payload, audit))).await
    }
    fn seal_with(&self, sealer: Sealer) {
        drop(self.sealer().set(sealer));
    }
    async fn sweep(&self, limit: u32, now: Timestamp) -> Result<Swept, StoreError> {
        self.write(work!(|rows| op::sweep(rows, limit, now))).await
    }
    async fn overwrite(&self) -> Result<bool, StoreError> {
        self.overwritten().await
    }
    async fn payload(
        &self,
        permit: &Permit<action::Start>,
        run: &RunId,
    ) -> Result<Option<String>, StoreError> {
        let (permit, run) = (permit.clone(), run.clone());
        self.read(work!(|rows| op::payload(rows, &permit, &run))).await
    }
    async fn receive(
        &self,
        permit: &Permit<action::Receive>,
        pins: RunPins,
        audit: AuditEntry,
    ) -> Result<Started, StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::receive(rows, &permit, pins, audit))).await
    }
    async fn fire(
        &self,
        permit: &Permit<action::Schedule>,
        fired: Vec<Fired>,
        now: Timestamp,
    ) -> Result<Vec<Started>, StoreError> {
        let permit = permit.clone();
        self.write(work!(|rows| op::fire(rows, &permit, fired, now))).await
    }
    async fn schedule_cursors(
        &self,
        permit: &Permit<action::Schedule>,
    ) -> Result<BTreeMap<(WorkflowId, String), Timestamp>, StoreError> {
        let permit = permit.clone();
        self.read(work!(|rows| op::schedule_cursors(rows, &permit))).await
    }
    async fn applied(&self, permit: &Permit<action::Schedule>) -> Result<Arc<ActualState>, StoreError> {
        let permit = permit.clone();
        self.read(work!(|rows| op::applied(rows, &permit))).await
    }
    async fn claim(
        &self,
        worker: &str,
        regions: Option<&[String]>,
        slots: u32,
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        let (worker, regions) = (worker.to_owned(), regions.map(<[String]>::to_vec));
        self.write(work!(|rows| op::claim(rows, &worker, regions.as_deref(), slots, now))).await
    }
    async fn offer(
        &self,
        worker: &str,
        regions: Option<&[String]>,
        slots: u32,
        now: Timestamp,
    ) -> Result<Offer<Vec<Lease>>, StoreError> {
        let (worker, regions) = (worker.to_owned(), regions.map(<[String]>::to_vec));
        self.stand(Box::new(move || {
            let (worker, regions) = (worker.clone(), regions.clone());
            work!(|rows| op::offer(rows, &worker, regions.as_deref(), slots, now))
        }))
        .await
    }
    async fn abandon(&self, worker: &str, now: Timestamp) -> Result<u32, StoreError> {
        let worker = worker.to_owned();
        self.write(work!(|rows| op::abandon(rows, &worker, now))).await
    }
    async fn renew(
        &self,
        leases: &[(Permit<action::Execute>, AttemptId)],
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError> {
        let leases = leases.to_vec();
        self.write(work!(|rows| op::renew(rows, &leases, now))).await
    }
    async fn complete(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        report: Report,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let (permit, attempt) = (permit.clone(), attempt.clone());
        self.write(work!(|rows| op::complete(rows, &permit, &attempt, report, now))).await
    }
    async fn log_end(
        &self,
        permit: &Permit<action::View>,
        attempt: &AttemptId,
    ) -> Result<Vec<LogRecord>, StoreError> {
        let (permit, attempt) = (permit.clone(), attempt.clone());
        self.read(work!(|rows| op::log_end(rows, &permit, &attempt))).await
    }
    async fn holds(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (permit, attempt) = (permit.clone(), attempt.clone());
        self.read(work!(|rows| op::holds(rows, &permit, &attempt, now))).await
    }
    async fn cancel(
        &self,
        permit: &Permit<action::Cancel>,
        run: &RunId,
        request: CancelRequest,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let (permit, run) = (permit.clone(), run.clone());
        self.write(work!(|rows| op::cancel(rows, &permit, &run, request, audit))).await
    }
    async fn decide_step(
        &self,
        permit: &Permit<action::ApproveStep>,
        run: &RunId,
        decision: Decision,
        audit: AuditEntry,
    ) -> Result<bool, StoreError> {
        let (permit, run) = (permit.clone(), run.clone());
        self.write(work!(|rows| op::decide_step(rows, &permit, &run, decision, audit))).await
    }
    async fn wake(&self, limit: u32, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        // Looking at the time is no reason to wait for the writer.
        let next = self.read(work!(|rows| rows.next_wake())).await?;
        if next.is_none_or(|next| next > now) {
            return Ok(next);
        }
        self.write(work!(|rows| op::wake(rows, limit, now))).await
    }
    async fn goes_on(&self, until: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.read(work!(|rows| op::goes_on(rows, until))).await
    }
    async fn reach(
        &self,
        permit: &Permit<action::ReadSecret>,
        attempt: &AttemptId,
        now: Timestamp,
    ) -> Result<Arc<ActualState>, StoreError> {
        let (permit, attempt) = (permit.clone(), attempt.clone());
        self.read(work!(|rows| op::reach(rows, &permit, &attempt, now))).await
    }
    async fn audit_attempt(
        &self,
        permit: &Permit<action::ReadSecret>,
        attempt: &AttemptId,
        entry: AuditEntry,
    ) -> Result<(), StoreError> {
        let (permit, attempt) = (permit.clone(), attempt.clone());
        self.write(work!(|rows| op::audit_attempt(rows, &permit, &attempt, entry))).await
    }

    async fn pins(&self, permit: &Permit<action::Start>, run: &RunId) -> Result<Arc<RunPins>, StoreError> {
        let (permit, run) = (permit.clone(), run.clone());
        self.read(work!(|rows| op::pins(rows, &permit, &run))).await
    }
    async fn progress(&self, permit: &Permit<action::Start>, run: &RunId) -> Result<RunState, StoreError> {
        let (permit, run) = (permit.clone(), run.clone());
        self.read(work!(|rows| op::progress(rows, &permit, &run))).await
    }
    async fn asked(
        &self,
        permit: &Permit<action::View>,
        run: &RunId,
        step: &StepId,
    ) -> Result<Option<Asked>, StoreError> {
        let (permit, run, step) = (permit.clone(), run.clone(), step.clone());
        self.read(work!(|rows| op::asked(rows, &permit, &run, &step))).await
    }
    async fn run(&self, permit: &Permit<action::View>, run: &RunId) -> Result<RunRecord, StoreError> {
        let (permit, run) = (permit.clone(), run.clone());
        self.read(work!(|rows| op::run(rows, &permit, &run))).await
    }
    async fn runs(
        &self,
        permit: &Permit<action::View>,
        filter: &RunFilter,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let (permit, filter) = (permit.clone(), filter.clone());
        self.read(work!(|rows| op::runs(rows, &permit, &filter))).await
    }
    async fn status(&self, permit: &Permit<action::ViewHealth>) -> Result<StatusRow, StoreError> {
        let permit = permit.clone();
        self.read(work!(|rows| op::status(rows, &permit))).await
    }
    async fn applied_commits(
        &self,
        permit: &Permit<action::View>,
        limit: u32,
    ) -> Result<Vec<AppliedCommit>, StoreError> {
        let permit = permit.clone();
        self.read(work!(|rows| op::applied_commits(rows, &permit, limit))).await
    }
    async fn view(&self, permit: &Permit<action::View>) -> Result<Arc<ActualState>, StoreError> {
        let permit = permit.clone();
        self.read(work!(|rows| op::view(rows, &permit))).await
    }
    async fn audit(
        &self,
        permit: &Permit<action::ViewAccess>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let permit = permit.clone();
        self.read(work!(|rows| op::audit(rows, &permit, after, limit))).await
    }
    async fn platform_audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.read(work!(|rows| op::platform_audit(rows, after, limit))).await
    }
    async fn access(&self, tenant: &TenantId) -> Result<Option<Arc<ActualState>>, StoreError> {
        let tenant = tenant.clone();
        self.read(work!(|rows| op::access(rows, &tenant))).await
    }
    async fn append_audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write(work!(|rows| op::append_audit(rows, entry))).await
    }
    async fn now(&self, clock: Timestamp) -> Result<Timestamp, StoreError> {
        Ok(self.recorded().await?.max(clock))
    }
}
