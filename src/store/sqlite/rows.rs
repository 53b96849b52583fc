//! The rows of one transaction in SQLite.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use super::connection::{Connection, Query, Row, query};
use super::shared::Shared;
use super::statements as sql;
use crate::domain::{
    ActualState, AppliedCommit, AttemptId, AuditRecord, Code, CommitId, RunId, RunPins, TenantId, Timestamp,
    Trigger, TriggerKind, WorkflowId,
};
use crate::record::LedgerEntry;
use crate::store::rows::{
    AttemptRow, Chain, Document, Eligible, Found, Held, Job, Outlook, Place, Rows, RunKey, RunRow, Scope,
    Turn,
};
use crate::store::{LogRecord, RunFilter, Sealer, StoreError};

/// What one operation has done beside its rows: dropped if the operation is undone.
#[derive(Default)]
pub(super) struct Doings {
    /// Whether any row was written.
    pub(super) wrote: bool,
    /// Lines for the ledger.
    pub(super) notes: Vec<LedgerEntry>,
    /// Jobs that were queued and that nobody has taken.
    pub(super) queued: BTreeSet<(RunKey, Place)>,
    /// Jobs that somebody took, or that are gone.
    pub(super) taken: BTreeSet<(RunKey, Place)>,
    /// Tenants whose head has changed.
    pub(super) touched: BTreeSet<TenantId>,
    /// What was written of what stands once for the whole store.
    pub(super) documents: BTreeSet<Document>,
    /// Runs whose pins were written anew.
    pub(super) repinned: Vec<RunKey>,
    /// The latest time that was given.
    pub(super) recorded: Timestamp,
}

/// The rows seen through one connection.
pub(super) struct SqliteRows<'c> {
    connection: &'c mut Connection,
    shared: &'c Shared,
    pub(super) doings: Doings,
}

impl<'c> SqliteRows<'c> {
    pub(super) fn new(connection: &'c mut Connection, shared: &'c Shared) -> Self {
        let doings = Doings { recorded: shared.recorded(), ..Doings::default() };
        Self { connection, shared, doings }
    }
    fn first(&mut self, query: Query) -> Found<Option<Row>> {
        self.connection.first(query)
    }
    fn all(&mut self, query: Query) -> Found<Vec<Row>> {
        self.connection.all(query)
    }
    /// Nobody else needs to be told of that job.
    /// The runs that a statement names by tenant, incarnation and id.
    fn run_keys(&mut self, query: Query) -> Found<Vec<RunKey>> {
        let key = |row: &Row| {
            let columns = Columns { row, what: "run" };
            Ok(RunKey { scope: columns.scope()?, id: columns.parsed(2)? })
        };
        self.all(query)?.iter().map(key).collect()
    }
    fn took(&mut self, job: (RunKey, Place)) {
        self.doings.queued.remove(&job);
        self.doings.taken.insert(job);
    }
    /// Runs a statement that writes; gives the number of rows that it changed.
    fn write(&mut self, query: Query) -> Found<u64> {
        self.doings.wrote = true;
        self.connection.run(query)
    }
}

/// A statement whose first two parameters name the tenant.
fn of(statement: &'static str, scope: &Scope) -> Query {
    query(statement).bind(scope.tenant.as_str().to_owned()).bind(scope.incarnation)
}

/// A statement whose first three parameters name the run.
fn of_run(statement: &'static str, run: &RunKey) -> Query {
    of(statement, &run.scope).bind(run.id.as_str().to_owned())
}

/// A statement whose first five parameters name an item of a run.
fn of_place(statement: &'static str, run: &RunKey, place: &Place) -> Query {
    of_run(statement, run).bind(place.step.as_str().to_owned()).bind(place.item)
}

/// A statement whose first six parameters name an attempt.
fn of_attempt(statement: &'static str, scope: &Scope, id: &AttemptId) -> Query {
    let run = RunKey { scope: scope.clone(), id: id.run.clone() };
    let place = Place { step: id.step.clone(), item: id.item.unwrap_or(0) };
    of_place(statement, &run, &place).bind(id.attempt)
}

fn corrupt(what: &'static str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what, message: error.to_string() }
}

/// A number as SQLite keeps it; ours stay far below 2^63.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn json<T: Serialize>(what: &'static str, value: &T) -> Found<String> {
    serde_json::to_string(value).map_err(|error| corrupt(what, &error))
}

/// Columns of one row as what they hold.
pub(super) struct Columns<'r> {
    pub(super) row: &'r Row,
    /// What the row is, for messages.
    pub(super) what: &'static str,
}

impl<'r> Columns<'r> {
    fn text(&self, index: usize) -> Found<&'r str> {
        self.row.text(index).map_err(|error| corrupt(self.what, &error))
    }
    fn text_or_null(&self, index: usize) -> Found<Option<&'r str>> {
        self.row.text_or_null(index).map_err(|error| corrupt(self.what, &error))
    }
    fn blob(&self, index: usize) -> Found<&'r [u8]> {
        self.row.blob(index).map_err(|error| corrupt(self.what, &error))
    }
    pub(super) fn integer(&self, index: usize) -> Found<i64> {
        self.row.integer(index).map_err(|error| corrupt(self.what, &error))
    }
    pub(super) fn count<T: TryFrom<i64, Error: std::fmt::Display>>(&self, index: usize) -> Found<T> {
        T::try_from(self.integer(index)?).map_err(|error| corrupt(self.what, &error))
    }
    fn time(&self, index: usize) -> Found<Timestamp> {
        self.integer(index).map(Timestamp::from_millis)
    }
    pub(super) fn time_or_null(&self, index: usize) -> Found<Option<Timestamp>> {
        let time = self.row.integer_or_null(index).map_err(|error| corrupt(self.what, &error))?;
        Ok(time.map(Timestamp::from_millis))
    }
    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, index: usize) -> Found<T> {
        self.text(index)?.parse().map_err(|error| corrupt(self.what, &error))
    }
    pub(super) fn json<T: DeserializeOwned>(&self, index: usize) -> Found<T> {
        serde_json::from_str(self.text(index)?).map_err(|error| corrupt(self.what, &error))
    }
    fn scope(&self) -> Found<Scope> {
        Ok(Scope { tenant: self.parsed(0)?, incarnation: self.count(1)? })
    }
    fn word<T: DeserializeOwned>(&self, text: &str) -> Found<T> {
        let reader: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
        T::deserialize(reader).map_err(|error| corrupt(self.what, &error))
    }
}

fn run_of(scope: &Scope, row: &Row) -> Found<RunRow> {
    let columns = Columns { row, what: "run" };
    Ok(RunRow {
        key: RunKey { scope: scope.clone(), id: columns.parsed(0)? },
        workflow: columns.parsed(1)?,
        trigger: Trigger {
            kind: columns.word(columns.text(2)?)?,
            key: columns.text(3)?.to_owned(),
            time: columns.time(4)?,
        },
        commit: columns.parsed(5)?,
        created_at: columns.time(6)?,
        concurrency: columns.text_or_null(7)?.map(str::to_owned),
        wake_at: columns.time_or_null(8)?,
        state: columns.json(9)?,
    })
}

fn job_of(row: &Row) -> Found<Job> {
    let columns = Columns { row, what: "job" };
    let held = match (columns.text_or_null(9)?, columns.time_or_null(10)?) {
        (Some(worker), Some(until)) => {
            Some(Held { worker: worker.to_owned(), until, cancel: columns.integer(11)? != 0 })
        }
        _ => None,
    };
    Ok(Job {
        run: RunKey { scope: columns.scope()?, id: columns.parsed(2)? },
        place: Place { step: columns.parsed(3)?, item: columns.count(4)? },
        workflow: columns.parsed(5)?,
        attempt: columns.count(6)?,
        queued_at: columns.time(7)?,
        begun: columns.integer(8)? != 0,
        held,
    })
}

fn attempt_of(scope: &Scope, row: &Row) -> Found<AttemptRow> {
    let columns = Columns { row, what: "attempt" };
    let outcome = columns.text_or_null(7)?.map(|outcome| columns.word(outcome)).transpose()?;
    let record = match columns.text_or_null(10)? {
        Some(record) => Some(serde_json::from_str(record).map_err(|error| corrupt("attempt", &error))?),
        None => None,
    };
    Ok(AttemptRow {
        run: RunKey { scope: scope.clone(), id: columns.parsed(0)? },
        place: Place { step: columns.parsed(1)?, item: columns.count(2)? },
        attempt: columns.count(3)?,
        worker: columns.text(4)?.to_owned(),
        leased_at: columns.time(5)?,
        ended_at: columns.time_or_null(6)?,
        outcome,
        reason: columns.text_or_null(8)?.map(str::to_owned),
        outputs: columns.json(9)?,
        record,
    })
}

fn turn_of(row: &Row) -> Found<Turn> {
    let columns = Columns { row, what: "turn" };
    Ok(Turn { scope: columns.scope()?, virtual_time: columns.count(2)?, busy: columns.integer(3)? != 0 })
}

/// The two columns that name a chain; the platform's name is no tenant's.
fn of_chain(statement: &'static str, chain: &Chain) -> Query {
    match chain {
        Chain::Platform => query(statement).bind("platform").bind(0_u32),
        Chain::Tenant(scope) => of(statement, scope),
    }
}

#[async_trait]
impl Rows for SqliteRows<'_> {
    fn now(&mut self, given: Timestamp) -> Timestamp {
        self.doings.recorded = self.doings.recorded.max(given);
        self.doings.recorded
    }
    fn clock(&mut self) -> Timestamp {
        self.doings.recorded.max((self.shared.clock)())
    }
    fn note(&mut self, entry: LedgerEntry) {
        self.doings.notes.push(entry);
    }

    async fn tenant(&mut self, tenant: &TenantId) -> Found<Option<Arc<ActualState>>> {
        let query = query(sql::TENANT_VERSION).bind(tenant.as_str().to_owned());
        let Some(row) = self.first(query)? else { return Ok(None) };
        let columns = Columns { row: &row, what: "tenant" };
        let scope = Scope { tenant: tenant.clone(), incarnation: columns.count(0)? };
        let version = columns.integer(1)?;
        if let Some(state) = self.shared.known_state(&scope, version) {
            return Ok(Some(state));
        }
        let row = self.first(of(sql::TENANT_STATE, &scope))?;
        let Some(row) = row else { return Err(corrupt("tenant", &"it went away")) };
        let columns = Columns { row: &row, what: "tenant" };
        let body = columns.text(0)?;
        self.shared.check_mac(
            "tenant",
            &[tenant.as_str(), &scope.incarnation.to_string(), body],
            columns.blob(1)?,
        )?;
        let state: Arc<ActualState> = Arc::new(columns.json(0)?);
        self.shared.learn_state(scope, version, &state);
        Ok(Some(state))
    }
    async fn put_tenant(&mut self, state: Arc<ActualState>) -> Found<()> {
        let scope = Scope { tenant: state.tenant.clone(), incarnation: state.incarnation };
        let body = json("tenant", &*state)?;
        let version = self.shared.fresh_version();
        let mac = self.shared.mac("tenant", &[scope.tenant.as_str(), &scope.incarnation.to_string(), &body]);
        let query = of(sql::PUT_TENANT, &scope)
            .bind(number(state.authority))
            .bind(state.removed.map(Timestamp::as_millis))
            .bind(version)
            .bind(body)
            .bind(mac);
        self.write(query)?;
        self.doings.touched.insert(scope.tenant.clone());
        self.shared.learn_state(scope, version, &state);
        Ok(())
    }
    async fn outlook(&mut self, scope: &Scope) -> Found<Option<Outlook>> {
        let Some(row) = self.first(of(sql::OUTLOOK, scope))? else { return Ok(None) };
        let columns = Columns { row: &row, what: "status" };
        Ok(Some(Outlook {
            status: columns.json(0)?,
            deadline: columns.time_or_null(1)?,
            released: columns.integer(2)? != 0,
        }))
    }
    async fn put_outlook(&mut self, scope: &Scope, outlook: &Outlook) -> Found<()> {
        let query = of(sql::PUT_OUTLOOK, scope)
            .bind(json("status", &outlook.status)?)
            .bind(outlook.deadline.map(Timestamp::as_millis))
            .bind(outlook.released);
        self.write(query)?;
        self.doings.touched.insert(scope.tenant.clone());
        Ok(())
    }
    async fn put_commit(&mut self, scope: &Scope, commit: &AppliedCommit, code: &Code) -> Found<()> {
        let body = json("code", code)?;
        let incarnation = scope.incarnation.to_string();
        let mac =
            self.shared.mac("code", &[scope.tenant.as_str(), &incarnation, commit.commit.as_str(), &body]);
        let query = of(sql::PUT_COMMIT, scope)
            .bind(commit.commit.as_str().to_owned())
            .bind(number(commit.generation))
            .bind(commit.at.as_millis())
            .bind(zstd::encode_all(body.as_bytes(), 0).map_err(|error| corrupt("code", &error))?)
            .bind(mac);
        self.write(query).map(|_| ())
    }
    async fn forget_code(&mut self, scope: &Scope, generation: u64) -> Found<()> {
        self.write(of(sql::FORGET_CODE, scope).bind(number(generation))).map(|_| ())
    }
    async fn commits(&mut self, scope: &Scope, begins: &str, limit: u32) -> Found<Vec<AppliedCommit>> {
        let rows = self.all(of(sql::COMMITS, scope).bind(begins.to_owned()).bind(i64::from(limit)))?;
        rows.iter()
            .map(|row| {
                let columns = Columns { row, what: "commit" };
                Ok(AppliedCommit {
                    commit: columns.parsed(0)?,
                    generation: columns.count(1)?,
                    at: columns.time(2)?,
                })
            })
            .collect()
    }
    async fn code(&mut self, scope: &Scope, commit: &CommitId) -> Found<Option<Code>> {
        let query = of(sql::CODE, scope).bind(commit.as_str().to_owned());
        let Some(row) = self.first(query)? else { return Ok(None) };
        let columns = Columns { row: &row, what: "code" };
        let body = zstd::decode_all(columns.blob(0)?).map_err(|error| corrupt("code", &error))?;
        let body = String::from_utf8(body).map_err(|error| corrupt("code", &error))?;
        let incarnation = scope.incarnation.to_string();
        let parts = [scope.tenant.as_str(), &incarnation, commit.as_str(), &body];
        self.shared.check_mac("code", &parts, columns.blob(1)?)?;
        serde_json::from_str(&body).map(Some).map_err(|error| corrupt("code", &error))
    }
    async fn document(&mut self, document: Document) -> Found<Option<String>> {
        let row = self.first(query(sql::DOCUMENT).bind(document.as_str()))?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns { row: &row, what: document.as_str() };
        let body = columns.text(0)?;
        if document.gives_access() {
            self.shared.check_mac(document.as_str(), &[body], columns.blob(1)?)?;
        }
        Ok(Some(body.to_owned()))
    }
    async fn put_document(&mut self, document: Document, body: &str) -> Found<()> {
        let mac =
            if document.gives_access() { self.shared.mac(document.as_str(), &[body]) } else { Vec::new() };
        self.doings.documents.insert(document);
        let query = query(sql::PUT_DOCUMENT).bind(document.as_str()).bind(body.to_owned()).bind(mac);
        self.write(query).map(|_| ())
    }

    async fn add_run(&mut self, run: &RunRow, pins: &Arc<RunPins>) -> Found<Option<RunId>> {
        let trigger = &run.trigger;
        let query = of_run(sql::ADD_RUN, &run.key)
            .bind(run.workflow.as_str().to_owned())
            .bind(trigger.kind.as_str())
            .bind(trigger.key.clone())
            .bind(trigger.time.as_millis())
            .bind(run.commit.as_str().to_owned())
            .bind(run.created_at.as_millis())
            .bind(run.concurrency.clone())
            .bind(run.state.phase.as_str())
            .bind(run.state.outcome.map(|outcome| outcome.as_str()))
            .bind(run.is_active())
            .bind(run.wake_at.map(Timestamp::as_millis))
            .bind(json("run", &run.state)?);
        if self.write(query)? == 0 {
            let query = of(sql::RUN_OF_TRIGGER, &run.key.scope)
                .bind(run.workflow.as_str().to_owned())
                .bind(trigger.kind.as_str())
                .bind(trigger.key.clone());
            let row = self.first(query)?;
            let row = row.ok_or_else(|| corrupt("run", &"its trigger key is taken by no run"))?;
            return Columns { row: &row, what: "run" }.parsed(0).map(Some);
        }
        self.write(of_run(sql::ADD_PINS, &run.key).bind(json("run", &**pins)?))?;
        self.shared.learn_pins(run.key.clone(), pins);
        Ok(None)
    }
    async fn run(&mut self, key: &RunKey) -> Found<Option<RunRow>> {
        let row = self.first(of_run(sql::RUN, key))?;
        row.map(|row| run_of(&key.scope, &row)).transpose()
    }
    async fn put_run(&mut self, run: &RunRow) -> Found<()> {
        let query = of_run(sql::PUT_RUN, &run.key)
            .bind(run.state.phase.as_str())
            .bind(run.state.outcome.map(|outcome| outcome.as_str()))
            .bind(run.is_active())
            .bind(run.wake_at.map(Timestamp::as_millis))
            .bind(json("run", &run.state)?)
            .bind(run.state.payload.is_some());
        if self.write(query)? == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }
    async fn pins(&mut self, key: &RunKey) -> Found<Arc<RunPins>> {
        if let Some(pins) = self.shared.known_pins(key) {
            return Ok(pins);
        }
        let row = self.first(of_run(sql::PINS, key))?.ok_or(StoreError::NotFound)?;
        let pins: Arc<RunPins> = Arc::new(Columns { row: &row, what: "run" }.json(0)?);
        self.shared.learn_pins(key.clone(), &pins);
        Ok(pins)
    }
    async fn put_pins(&mut self, key: &RunKey, pins: &Arc<RunPins>) -> Found<()> {
        self.write(of_run(sql::PUT_PINS, key).bind(json("run", &**pins)?))?;
        // What is known of them is forgotten once this is committed, and not before: it may still be undone.
        self.doings.repinned.push(key.clone());
        Ok(())
    }
    fn sealer(&self) -> Option<Sealer> {
        self.shared.sealer.get().cloned()
    }
    async fn unclosed(&mut self, limit: u32) -> Found<Vec<RunKey>> {
        self.run_keys(query(sql::UNCLOSED).bind(limit))
    }
    async fn set_aside(&mut self, key: &RunKey) -> Found<()> {
        self.write(of_run(sql::SET_ASIDE, key)).map(|_| ())
    }
    async fn clear_outputs(&mut self, run: &RunKey) -> Found<()> {
        self.write(of_run(sql::CLEAR_OUTPUTS, run)).map(|_| ())
    }
    async fn put_payload(&mut self, run: &RunKey, text: &str, until: Timestamp) -> Found<()> {
        let query = of_run(sql::PUT_PAYLOAD, run).bind(text.to_owned()).bind(until.as_millis());
        self.write(query).map(|_| ())
    }
    async fn payload(&mut self, run: &RunKey) -> Found<Option<String>> {
        let row = self.first(of_run(sql::PAYLOAD, run))?;
        row.map(|row| Columns { row: &row, what: "payload" }.text(0).map(str::to_owned)).transpose()
    }
    async fn remove_payload(&mut self, run: &RunKey) -> Found<()> {
        self.write(of_run(sql::REMOVE_PAYLOAD, run)).map(|_| ())
    }
    async fn overdue_payloads(&mut self, now: Timestamp, limit: u32) -> Found<Vec<RunKey>> {
        self.run_keys(query(sql::OVERDUE_PAYLOADS).bind(now.as_millis()).bind(limit))
    }
    async fn live_runs(&mut self, scope: &Scope, workflow: Option<&WorkflowId>) -> Found<Vec<RunRow>> {
        let query = of(sql::LIVE_RUNS, scope).bind(workflow.map(|workflow| workflow.as_str().to_owned()));
        self.all(query)?.iter().map(|row| run_of(scope, row)).collect()
    }
    async fn sharing(&mut self, scope: &Scope, workflow: &WorkflowId, key: &str) -> Found<Vec<RunRow>> {
        let query = of(sql::SHARING, scope).bind(workflow.as_str().to_owned()).bind(key.to_owned());
        self.all(query)?.iter().map(|row| run_of(scope, row)).collect()
    }
    async fn active_count(&mut self, scope: &Scope) -> Found<u32> {
        let row = self.first(of(sql::ACTIVE_COUNT, scope))?;
        row.map_or(Ok(0), |row| Columns { row: &row, what: "run" }.count(0))
    }
    async fn has_live(&mut self, scope: &Scope, workflow: &WorkflowId, kind: TriggerKind) -> Found<bool> {
        let query = of(sql::HAS_LIVE, scope).bind(workflow.as_str().to_owned()).bind(kind.as_str());
        Ok(self.first(query)?.is_some())
    }
    async fn due(&mut self, now: Timestamp, limit: u32) -> Found<Vec<RunKey>> {
        self.run_keys(query(sql::DUE).bind(now.as_millis()).bind(limit))
    }
    async fn next_wake(&mut self) -> Found<Option<Timestamp>> {
        let row = self.first(query(sql::NEXT_WAKE))?;
        row.map_or(Ok(None), |row| Columns { row: &row, what: "run" }.time_or_null(0))
    }
    async fn list(&mut self, scope: &Scope, filter: &RunFilter) -> Found<Vec<RunRow>> {
        let query = of(if filter.open { sql::LIST_OPEN } else { sql::LIST }, scope)
            .bind(filter.workflow.as_ref().map(|workflow| workflow.as_str().to_owned()))
            .bind(filter.commit.as_ref().map(|commit| commit.as_str().to_owned()))
            .bind(filter.failed)
            .bind(filter.suffix.clone())
            .bind(filter.before.as_ref().map(|before| before.as_str().to_owned()))
            .bind(filter.limit);
        self.all(query)?.iter().map(|row| run_of(scope, row)).collect()
    }

    async fn put_job(&mut self, job: &Job) -> Found<()> {
        let held = job.held.as_ref();
        let place = (job.run.clone(), job.place.clone());
        match held {
            None => {
                self.doings.taken.remove(&place);
                self.doings.queued.insert(place);
            }
            Some(_) => self.took(place),
        }
        let query = of_place(sql::PUT_JOB, &job.run, &job.place)
            .bind(job.workflow.as_str().to_owned())
            .bind(job.attempt)
            .bind(job.queued_at.as_millis())
            .bind(job.begun)
            .bind(held.map(|held| held.worker.clone()))
            .bind(held.map(|held| held.until.as_millis()))
            .bind(held.is_some_and(|held| held.cancel));
        self.write(query).map(|_| ())
    }
    async fn hold_job(&mut self, run: &RunKey, place: &Place, until: Timestamp, cancel: bool) -> Found<()> {
        let query = of_place(sql::HOLD_JOB, run, place).bind(until.as_millis()).bind(cancel);
        self.write(query).map(|_| ())
    }
    async fn held_by(&mut self, worker: &str) -> Found<Vec<Job>> {
        self.all(query(sql::HELD_BY).bind(worker.to_owned()))?.iter().map(job_of).collect()
    }
    async fn remove_job(&mut self, run: &RunKey, place: &Place) -> Found<()> {
        self.took((run.clone(), place.clone()));
        self.write(of_place(sql::REMOVE_JOB, run, place)).map(|_| ())
    }
    async fn jobs(&mut self, run: &RunKey) -> Found<Vec<Job>> {
        self.all(of_run(sql::JOBS, run))?.iter().map(job_of).collect()
    }
    async fn job(&mut self, run: &RunKey, place: &Place) -> Found<Option<Job>> {
        self.first(of_place(sql::JOB, run, place))?.map(|row| job_of(&row)).transpose()
    }
    async fn begin_jobs(&mut self, run: &RunKey) -> Found<()> {
        self.write(of_run(sql::BEGIN_JOBS, run)).map(|_| ())
    }
    async fn next_job(&mut self, scope: &Scope, eligible: &Eligible) -> Found<Option<Job>> {
        let query = of(sql::NEXT_JOB, scope).bind(eligible.begun_only).bind(json("job", &eligible.paused)?);
        self.first(query)?.map(|row| job_of(&row)).transpose()
    }
    async fn has_queued(&mut self, scope: &Scope) -> Found<bool> {
        Ok(self.first(of(sql::HAS_QUEUED, scope))?.is_some())
    }

    async fn turns(&mut self) -> Found<Vec<Turn>> {
        self.all(query(sql::TURNS))?.iter().map(turn_of).collect()
    }
    async fn turn(&mut self, scope: &Scope) -> Found<Option<Turn>> {
        self.first(of(sql::TURN, scope))?.map(|row| turn_of(&row)).transpose()
    }
    async fn put_turn(&mut self, turn: &Turn) -> Found<()> {
        let query = of(sql::PUT_TURN, &turn.scope).bind(number(turn.virtual_time)).bind(turn.busy);
        self.write(query).map(|_| ())
    }

    async fn put_attempt(&mut self, attempt: &AttemptRow) -> Found<()> {
        let record = attempt.record.as_ref().map(|record| json("attempt", record)).transpose()?;
        let query = of_place(sql::PUT_ATTEMPT, &attempt.run, &attempt.place)
            .bind(attempt.attempt)
            .bind(attempt.worker.clone())
            .bind(attempt.leased_at.as_millis())
            .bind(attempt.ended_at.map(Timestamp::as_millis))
            .bind(attempt.outcome.map(|outcome| outcome.as_str()))
            .bind(attempt.reason.clone())
            .bind(json("attempt", &attempt.outputs)?)
            .bind(record);
        self.write(query).map(|_| ())
    }
    async fn attempt(&mut self, scope: &Scope, id: &AttemptId) -> Found<Option<AttemptRow>> {
        let row = self.first(of_attempt(sql::ATTEMPT, scope, id))?;
        row.map(|row| attempt_of(scope, &row)).transpose()
    }
    async fn put_log_end(&mut self, scope: &Scope, id: &AttemptId, end: &[LogRecord]) -> Found<()> {
        let query = of_attempt(sql::PUT_LOG_END, scope, id).bind(json("log", &end)?);
        self.write(query).map(|_| ())
    }
    async fn log_end(&mut self, scope: &Scope, id: &AttemptId) -> Found<Option<Vec<LogRecord>>> {
        let Some(row) = self.first(of_attempt(sql::LOG_END, scope, id))? else { return Ok(None) };
        let columns = Columns { row: &row, what: "log" };
        let end = columns.text_or_null(0)?.map(serde_json::from_str).transpose();
        end.map(|end| Some(end.unwrap_or_default())).map_err(|error| corrupt("log", &error))
    }
    async fn attempts(&mut self, scope: &Scope, runs: &[RunId]) -> Found<BTreeMap<RunId, Vec<AttemptRow>>> {
        let rows = self.all(of(sql::ATTEMPTS, scope).bind(json("run", &runs)?))?;
        let mut found: BTreeMap<RunId, Vec<AttemptRow>> = BTreeMap::new();
        for row in &rows {
            let attempt = attempt_of(scope, row)?;
            found.entry(attempt.run.id.clone()).or_default().push(attempt);
        }
        Ok(found)
    }

    async fn cursors(&mut self, scope: &Scope) -> Found<BTreeMap<(WorkflowId, String), Timestamp>> {
        let rows = self.all(of(sql::CURSORS, scope))?;
        let cursor = |row: &Row| {
            let columns = Columns { row, what: "schedule" };
            Ok(((columns.parsed(0)?, columns.text(1)?.to_owned()), columns.time(2)?))
        };
        rows.iter().map(cursor).collect()
    }
    async fn put_cursor(
        &mut self,
        scope: &Scope,
        workflow: &WorkflowId,
        entry: &str,
        at: Timestamp,
    ) -> Found<()> {
        let query = of(sql::PUT_CURSOR, scope)
            .bind(workflow.as_str().to_owned())
            .bind(entry.to_owned())
            .bind(at.as_millis());
        self.write(query).map(|_| ())
    }

    async fn chain_head(&mut self, chain: &Chain) -> Found<Option<(u64, String)>> {
        let Some(row) = self.first(of_chain(sql::CHAIN_HEAD, chain))? else { return Ok(None) };
        let columns = Columns { row: &row, what: "audit record" };
        Ok(Some((columns.count(0)?, columns.text(1)?.to_owned())))
    }
    async fn add_audit(&mut self, chain: &Chain, record: &AuditRecord) -> Found<()> {
        let query = of_chain(sql::ADD_AUDIT, chain)
            .bind(number(record.sequence))
            .bind(json("audit record", record)?)
            .bind(record.hash.clone());
        self.write(query).map(|_| ())
    }
    async fn audit(&mut self, chain: &Chain, after: u64, limit: u32) -> Found<Vec<AuditRecord>> {
        let rows = self.all(of_chain(sql::AUDIT, chain).bind(number(after)).bind(limit))?;
        rows.iter().map(|row| Columns { row, what: "audit record" }.json(0)).collect()
    }
}
