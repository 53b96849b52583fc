//! SQLite: the default engine. One directory, nothing to set up.
//!
//! Write-ahead log, `synchronous=FULL`, one writer that commits what waits together, readers beside it.
//! Deliberately absent: several daemons on one directory, which the lock refuses.

mod connection;
mod rows;
mod schema;
mod shared;
mod statements;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinHandle;

use self::connection::{Connection, Query, Readers, Row, query};
use self::rows::{Columns, SqliteRows};
use self::shared::{Shared, lock};
use self::writer::{Offered, Operation, QUEUE_MAX, Request, Writer, gone};
use super::directory::{self, Directory};
use super::ledger::LedgerFile;
use super::pending::{LastFetch, Turn};
use super::rows::{Again, Document, Engine, Found, Outlook, Rows as _, Work, work};
use super::{Offer, Pending, Sealer, SourceRow, Store as _, StoreError, TenantHead};
use crate::domain::{ActualState, Clock, TenantId, Timestamp};
use crate::record::{Ledger, LedgerEntry};

/// The oldest SQLite that keeps what it committed: earlier ones can lose pages when the write-ahead log is
/// reset. Source: design page `store.md`.
const ENGINE_MIN: [u32; 3] = [3, 51, 3];
/// How long one connection waits for another; the writer is alone, so only a backup makes it wait.
const BUSY: Duration = Duration::from_secs(10);
/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS_MAX: usize = 128;

/// A store in one directory.
pub struct SqliteStore {
    directory: PathBuf,
    readers: Readers,
    shared: Arc<Shared>,
    /// Whether nobody else can write here: this process holds the directory.
    alone: bool,
    /// `None` where the directory is only read, and once it is closed.
    queue: Mutex<Option<mpsc::Sender<Box<dyn Request>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Takes a data directory, makes what is missing, brings its database to this program's schema and its
    /// ledger and database together.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if another process has the directory, a file cannot be read or the database
    /// is behind its ledger; [`StoreError::Newer`] if a newer program wrote it; [`StoreError::Corrupt`] if it is
    /// damaged. Each says the cure.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let (file, directory) = (directory::database(path), path.to_owned());
        let opened = blocking(move || Opened::of(&directory, clock)).await?;
        let shared = Arc::new(opened.shared);
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let writer = Writer {
            connection: opened.connection,
            shared: Arc::clone(&shared),
            ledger: opened.ledger,
            _directory: opened.held,
            halted: None,
        };
        // A thread of its own, which every statement blocks.
        let runtime = Handle::current();
        let writer = tokio::task::spawn_blocking(move || runtime.block_on(writer.serve(requests)));
        Ok(Self {
            directory: path.to_owned(),
            readers: Readers::of(&file),
            shared,
            alone: true,
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Opens a data directory to read it while no daemon, or another process, has it. Every change is refused.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if there is no database or it has to be migrated first.
    pub async fn open_to_read(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let file = directory::database(path);
        if !file.exists() {
            return Err(StoreError::Unavailable {
                message: format!(
                    "there is no database in `{}`: start `tenantry serve` or `tenantry reconcile` there first",
                    path.display()
                ),
                source: None,
            });
        }
        let (opened, directory) = (file.clone(), path.to_owned());
        let shared = blocking(move || {
            let mut connection = Connection::to_read(&opened).map_err(|error| cannot_open(&opened, error))?;
            let found = schema::version(&mut connection)?;
            schema::check(found)?;
            if found < schema::KNOWN {
                return Err(StoreError::Unavailable {
                    message: format!(
                        "the database in `{}` has the older schema {found}: `tenantry serve` brings it to {}",
                        directory.display(),
                        schema::KNOWN
                    ),
                    source: None,
                });
            }
            load(&mut connection, clock, directory::existing_key(&directory)?)
        });
        Ok(Self {
            directory: path.to_owned(),
            readers: Readers::of(&file),
            shared: Arc::new(shared.await?),
            alone: false,
            queue: Mutex::new(None),
            writer: Mutex::new(None),
        })
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    async fn ask(&self, request: impl Request + 'static) -> Found<()> {
        let queue = self.queue.lock().await.clone().ok_or_else(|| StoreError::Unavailable {
            message: "the store is closed, or was opened to be read only".to_owned(),
            source: None,
        })?;
        queue.send(Box::new(request)).await.map_err(|_| gone())
    }

    /// Writes down what was only remembered.
    async fn settle(&self) -> Found<()> {
        let Some(row) = self.read_document::<SourceRow>(Document::Source).await? else {
            return Ok(());
        };
        match self.shared.last_fetch.over(row.clone()) {
            seen if seen == row => Ok(()),
            seen => self.set_source(&seen, &[]).await,
        }
    }

    /// Told whenever a commit has left something to lease, whoever queued it: for the worker of this process.
    #[must_use]
    pub fn queued(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.queued)
    }

    /// Waits for everything that was asked for, closes the database and gives the directory free.
    pub async fn close(&self) {
        if self.writer.lock().await.is_some()
            && let Err(error) = self.settle().await
        {
            tracing::warn!(%error, "when the source was last fetched could not be written down");
        }
        // Before the writer, which closes once nobody can ask it: the last to close empties the write-ahead log, and
        // whoever only reads may not.
        self.readers.close().await;
        drop(self.queue.lock().await.take());
        if let Some(writer) = self.writer.lock().await.take() {
            // A writer that panicked has lost its connection already; there is nothing left to wait for.
            let _ = writer.await;
        }
    }

    /// Copies the database as it stands now into a new file, while everything goes on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file is there already or cannot be written.
    pub async fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_string_lossy().into_owned();
        self.readers.read(|connection| connection.run(query("VACUUM INTO ?1").bind(to)).map(|_| ())).await
    }

    /// Has the engine check the whole database; gives what is wrong with it, nothing if all is well.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        let text = |row: &Row| row.text(0).map(str::to_owned).unwrap_or_else(|error| error);
        self.readers
            .read(move |connection| {
                let mut wrong: Vec<String> =
                    connection.all(query("PRAGMA integrity_check"))?.iter().map(text).collect();
                wrong.retain(|line| line != "ok");
                for row in connection.all(query("PRAGMA foreign_key_check"))? {
                    wrong.push(format!("a row of `{}` belongs to none", text(&row)));
                }
                Ok(wrong)
            })
            .await
    }

    /// Reads what stands once for the whole store, past what is remembered of it.
    async fn read_document<T: DeserializeOwned + Send + 'static>(
        &self,
        document: Document,
    ) -> Found<Option<T>> {
        self.read(work(move |rows| Box::pin(crate::store::operations::document(rows, document)))).await
    }

    /// Heads of the named tenants, read from one moment.
    async fn read_heads(&self, names: Option<Vec<TenantId>>) -> Found<Vec<(TenantId, Option<TenantHead>)>> {
        self.readers
            .read_at_once(move |connection| {
                let names = match names {
                    Some(names) => names,
                    None => tenant_names(connection)?
                        .iter()
                        .map(|name| name.parse().map_err(|error| corrupt("tenant", &error)))
                        .collect::<Found<_>>()?,
                };
                let mut heads = Vec::with_capacity(names.len());
                for name in names {
                    let row = connection.first(query(statements::HEAD).bind(name.as_str()))?;
                    let head = row.map(|row| head_of(&name, &row)).transpose()?;
                    heads.push((name, head));
                }
                Ok(heads)
            })
            .await
    }
}

fn corrupt(what: &'static str, error: &crate::domain::NameError) -> StoreError {
    StoreError::Corrupt { what, message: error.to_string() }
}

/// Every name that a tenant has or had.
fn tenant_names(connection: &mut Connection) -> Found<Vec<String>> {
    let name = |row: &Row| {
        row.text(0).map(str::to_owned).map_err(|message| StoreError::Corrupt { what: "tenant", message })
    };
    connection.all(query(statements::TENANT_NAMES))?.iter().map(name).collect()
}

fn head_of(tenant: &TenantId, row: &Row) -> Found<TenantHead> {
    let columns = Columns { row, what: "status" };
    // Only what a head shows of a state; who may do what is never decided by it.
    let state = ActualState {
        incarnation: columns.count(0)?,
        authority: columns.count(1)?,
        removed: columns.time_or_null(2)?,
        ..ActualState::empty(tenant.clone())
    };
    let outlook = Outlook {
        status: columns.json(3)?,
        deadline: columns.time_or_null(4)?,
        released: columns.integer(5)? != 0,
    };
    Ok(TenantHead::of(&state, &outlook))
}

#[async_trait]
impl Engine for SqliteStore {
    async fn write<T: Send + 'static>(&self, work: Work<T>) -> Found<T> {
        let (operation, answer) = Operation::new(work, None);
        self.ask(operation).await?;
        answer.await.map_err(|_| gone())?
    }
    async fn write_ahead(&self, work: Work<()>) -> Found<Pending> {
        let turn = Turn::of(&self.shared.waited_for);
        let (operation, answer) = Operation::new(work, Some(turn.clone()));
        self.ask(operation).await?;
        Ok(Pending::of(answer, turn))
    }
    async fn stand<T: Send + 'static>(&self, work: Again<T>) -> Found<Offer<T>> {
        let turn = Turn::of(&self.shared.waited_for);
        let (offer, answer) = Offered::new(work, turn.clone());
        self.ask(offer).await?;
        Ok(Offer::of(answer, turn))
    }
    fn sealer(&self) -> &OnceLock<Sealer> {
        &self.shared.sealer
    }
    fn last_fetch(&self) -> &LastFetch {
        &self.shared.last_fetch
    }
    async fn read<T: Send + 'static>(&self, work: Work<T>) -> Found<T> {
        let (shared, runtime) = (Arc::clone(&self.shared), Handle::current());
        self.readers
            .read_at_once(move |connection| {
                let mut rows = SqliteRows::new(connection, &shared);
                runtime.block_on(work(&mut rows))
            })
            .await
    }
    async fn heads(&self) -> Found<Arc<[Arc<TenantHead>]>> {
        if let Some(list) = &lock(&self.shared.heads).list {
            return Ok(Arc::clone(list));
        }
        let _refresh = self.shared.refresh.lock().await;
        let (stale, loaded) = {
            let heads = lock(&self.shared.heads);
            if let Some(list) = &heads.list {
                return Ok(Arc::clone(list));
            }
            (heads.stale.clone(), heads.loaded)
        };
        let read = self.read_heads(loaded.then(|| stale.keys().cloned().collect())).await?;
        let mut heads = lock(&self.shared.heads);
        for (name, head) in read {
            match head {
                Some(head) => heads.known.insert(name, Arc::new(head)),
                None => heads.known.remove(&name),
            };
        }
        heads.loaded = true;
        heads.settle(&stale);
        let list: Arc<[Arc<TenantHead>]> = heads.known.values().cloned().collect();
        // What changed meanwhile is read the next time.
        if heads.stale.is_empty() {
            heads.list = Some(Arc::clone(&list));
        }
        Ok(list)
    }
    async fn document<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        document: Document,
    ) -> Found<Option<Arc<T>>> {
        let before = match lock(&self.shared.documents).known(document) {
            Ok(known) => return Ok(known.and_then(|known| known.downcast().ok())),
            Err(changes) => changes,
        };
        let found: Option<T> = self.read_document(document).await?;
        let found = found.map(Arc::new);
        // Where somebody else may write, nothing is remembered.
        if self.alone {
            lock(&self.shared.documents).learn(document, before, found.clone().map(|found| found as _));
        }
        Ok(found)
    }
    async fn overwritten(&self) -> Found<bool> {
        let file = directory::database(&self.directory);
        blocking(move || Connection::to_write(&file).map_err(unavailable)?.empty_log()).await
    }
    async fn recorded(&self) -> Found<Timestamp> {
        Ok(self.shared.recorded())
    }
}

/// What a data directory has when it is opened.
struct Opened {
    connection: Connection,
    shared: Shared,
    ledger: LedgerFile,
    held: Directory,
}

impl Opened {
    fn of(path: &Path, clock: Clock) -> Found<Self> {
        let held = Directory::take(path)?;
        let file = directory::database(path);
        let mut connection = Connection::to_write(&file).map_err(|error| cannot_open(&file, error))?;
        check_engine(&mut connection)?;
        let fresh = schema::migrate(&mut connection, || held.backups())?;
        let shared = load(&mut connection, clock, held.key()?)?;
        let mut ledger = LedgerFile::open(&held.ledger())?;
        let runtime = Handle::current();
        if fresh {
            runtime.block_on(replay(&mut connection, &shared, ledger.ledger()))?;
        }
        runtime.block_on(catch_up(&mut connection, &shared, &mut ledger, path))?;
        Ok(Self { connection, shared, ledger, held })
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Found<T> + Send + 'static) -> Found<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(gone()),
    }
}

fn cannot_open(file: &Path, error: rusqlite::Error) -> StoreError {
    match unavailable(error) {
        StoreError::Unavailable { message, source } => {
            StoreError::Unavailable { message: format!("`{}`: {message}", file.display()), source }
        }
        other => other,
    }
}

fn check_engine(connection: &mut Connection) -> Found<()> {
    let row = connection.one(query("SELECT sqlite_version()"))?;
    let text = row.text(0).unwrap_or_default();
    let parts: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    if parts.as_slice() >= ENGINE_MIN.as_slice() {
        return Ok(());
    }
    let [major, minor, patch] = ENGINE_MIN;
    Err(StoreError::Unavailable {
        message: format!(
            "this program was built with SQLite {text}, which can lose what it committed: build it with \
             {major}.{minor}.{patch} or later"
        ),
        source: None,
    })
}

fn load(connection: &mut Connection, clock: Clock, key: Vec<u8>) -> Found<Shared> {
    let mut number = |statement: Query| {
        let row = connection.one(statement)?;
        row.integer(0).map_err(|message| StoreError::Corrupt { what: "recorded time", message })
    };
    let recorded = Timestamp::from_millis(number(query(statements::RECORDED))?);
    Ok(Shared::new(clock, key, recorded, number(query(statements::VERSION_MAX))?))
}

/// Begins an empty database with what moves one way only and stands in no tree.
async fn replay(connection: &mut Connection, shared: &Shared, ledger: &Ledger) -> Found<()> {
    connection.run(query("BEGIN IMMEDIATE"))?;
    for (tenant, known) in &ledger.tenants {
        let state = ActualState {
            incarnation: known.incarnation.max(1),
            generation: known.generation,
            authority: known.authority,
            elevations_started: known.started.clone(),
            elevations_ended: known.ended.clone(),
            revoked: known.revoked.clone(),
            removed: known.removed,
            ..ActualState::empty(tenant.clone())
        };
        SqliteRows::new(connection, shared).put_tenant(Arc::new(state)).await?;
    }
    connection.run(query("COMMIT")).map(|_| ())
}

/// Compares the database with its ledger: lines that a crash kept from the ledger are added, a database that is
/// older than its ledger is refused.
async fn catch_up(
    connection: &mut Connection,
    shared: &Shared,
    ledger: &mut LedgerFile,
    path: &Path,
) -> Found<()> {
    let mut missing = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for name in tenant_names(connection)? {
        let Ok(tenant) = name.parse::<TenantId>() else { continue };
        let mut rows = SqliteRows::new(connection, shared);
        // Damage to one tenant's row is met, and told, where that tenant is asked for.
        let Ok(Some(state)) = rows.tenant(&tenant).await else {
            seen.insert(tenant);
            continue;
        };
        let known = ledger.ledger().tenants.get(&tenant).cloned().unwrap_or_default();
        let same = known.incarnation == state.incarnation;
        let newer = known.generation > state.generation || known.authority > state.authority;
        let lacks = known
            .revoked
            .iter()
            .any(|(secret, versions)| versions.iter().any(|version| !state.is_revoked(secret, version)));
        if known.incarnation > state.incarnation || (same && (newer || lacks)) {
            return Err(behind(path, &tenant, known.generation, state.generation));
        }
        missing.extend(crate::store::tenant::lacking(&known, &state));
        seen.insert(tenant);
    }
    if let Some((tenant, known)) = ledger.ledger().tenants.iter().find(|(tenant, _)| !seen.contains(*tenant))
    {
        return Err(behind(path, tenant, known.generation, 0));
    }
    let mut rows = SqliteRows::new(connection, shared);
    let platform: Option<crate::store::AppliedPlatform> =
        crate::store::operations::document(&mut rows, Document::Platform).await?;
    if let Some(platform) = platform
        && ledger.ledger().platform.as_ref() != Some(&platform.commit)
    {
        missing.push(LedgerEntry::PlatformApplied { commit: platform.commit });
    }
    if missing.is_empty() { Ok(()) } else { ledger.append(shared.recorded(), missing) }
}

fn behind(path: &Path, tenant: &TenantId, ledger: u64, database: u64) -> StoreError {
    let shown = path.display();
    StoreError::Unavailable {
        message: format!(
            "the database in `{shown}` is older than its ledger: of tenant `{tenant}` the ledger knows apply \
             {ledger}, the database {database}; restore a newer backup, or delete `{shown}/tenantry.db*` \
             and reconcile, which rebuilds it from Git and the ledger"
        ),
        source: None,
    }
}

/// The engine's error as ours: what is wrong and the cure.
fn unavailable(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|error| error.extended_code & 0xff);
    let cure = match code {
        Some(5 | 6) => BUSY_MESSAGE,
        Some(8 | 14) => {
            "the database cannot be opened or written: check who owns the data directory and its files"
        }
        Some(10) => "the disk fails to read or write: check it, then restart",
        Some(11 | 26) => {
            "the database is damaged: restore a backup, or delete it and reconcile, which rebuilds it from Git"
        }
        Some(13) => FULL_MESSAGE,
        _ => "the database refuses",
    };
    StoreError::Unavailable { message: format!("{cure} ({error})"), source: Some(Box::new(error)) }
}

const FULL_MESSAGE: &str = "the disk is full: free space; nothing was changed";
const BUSY_MESSAGE: &str = "the database is busy: another program has it open for writing";

/// Whether an error leaves everything as it was, so that the next operation may succeed.
fn passes(message: &str) -> bool {
    message.starts_with(FULL_MESSAGE) || message.starts_with(BUSY_MESSAGE)
}
