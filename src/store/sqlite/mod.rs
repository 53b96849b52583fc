//! SQLite: the default engine. One directory, nothing to set up.
//!
//! Write-ahead log, `synchronous=FULL`, one writer that commits what waits together, readers beside it.
//! Deliberately absent: several daemons on one directory, which the lock refuses.

mod rows;
mod schema;
mod shared;
mod statements;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinHandle;

use self::rows::SqliteRows;
use self::shared::{Shared, lock};
use self::writer::{Operation, QUEUE_MAX, Request, Writer, gone};
use super::directory::{self, Directory};
use super::ledger::LedgerFile;
use super::pending::{LastFetch, Turn};
use super::rows::{Document, Engine, Found, Outlook, Rows as _, Work};
use super::{Pending, SourceRow, Store as _, StoreError, TenantHead};
use crate::domain::{ActualState, Clock, TenantId, Timestamp};
use crate::record::{Ledger, LedgerEntry};

/// The oldest SQLite that keeps what it committed: earlier ones can lose pages when the write-ahead log is
/// reset. Source: design page `store.md`.
const ENGINE_MIN: [u32; 3] = [3, 51, 3];
/// Connections that read.
const READERS_MAX: u32 = 4;
/// How long one connection waits for another; the writer is alone, so only a backup makes it wait.
const BUSY: Duration = Duration::from_secs(10);
/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS_MAX: usize = 128;

/// A store in one directory.
pub struct SqliteStore {
    directory: PathBuf,
    readers: SqlitePool,
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
        let held = Directory::take(path)?;
        let file = directory::database(path);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
        let mut connection = connect(&options, &file).await?;
        check_engine(&mut connection).await?;
        let fresh = schema::migrate(&mut connection, || held.backups()).await?;
        let shared = Arc::new(load(&mut connection, clock, held.key()?).await?);
        let mut ledger = LedgerFile::open(&held.ledger())?;
        if fresh {
            replay(&mut connection, &shared, ledger.ledger()).await?;
        }
        catch_up(&mut connection, &shared, &mut ledger, path).await?;
        let readers = readers(&file);
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let writer =
            Writer { connection, shared: Arc::clone(&shared), ledger, _directory: held, halted: None };
        Ok(Self {
            directory: path.to_owned(),
            readers,
            shared,
            alone: true,
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(tokio::spawn(writer.serve(requests)))),
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
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .read_only(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let mut connection = connect(&options, &file).await?;
        let found = schema::version(&mut connection).await?;
        schema::check(found)?;
        if found < schema::KNOWN {
            return Err(StoreError::Unavailable {
                message: format!(
                    "the database in `{}` has the older schema {found}: `tenantry serve` brings it to {}",
                    path.display(),
                    schema::KNOWN
                ),
                source: None,
            });
        }
        let shared = Arc::new(load(&mut connection, clock, directory::existing_key(path)?).await?);
        Ok(Self {
            directory: path.to_owned(),
            readers: readers(&file),
            shared,
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
        let mut rows = self.readers.acquire().await.map_err(unavailable)?;
        let mut rows = SqliteRows::new(&mut rows, &self.shared);
        let Some(row) = crate::store::operations::document(&mut rows, Document::Source).await? else {
            return Ok(());
        };
        match self.shared.last_fetch.over(SourceRow::clone(&row)) {
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
        drop(self.queue.lock().await.take());
        if let Some(writer) = self.writer.lock().await.take() {
            // A writer that panicked has lost its connection already; there is nothing left to wait for.
            let _ = writer.await;
        }
        self.readers.close().await;
    }

    /// Copies the database as it stands now into a new file, while everything goes on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file is there already or cannot be written.
    pub async fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        sqlx::query("VACUUM INTO ?1")
            .bind(to.to_string_lossy().into_owned())
            .execute(&mut *connection)
            .await
            .map(|_| ())
            .map_err(unavailable)
    }

    /// Has the engine check the whole database; gives what is wrong with it, nothing if all is well.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        let mut wrong = Vec::new();
        for row in
            sqlx::query("PRAGMA integrity_check").fetch_all(&mut *connection).await.map_err(unavailable)?
        {
            wrong.push(row.get::<String, _>(0));
        }
        wrong.retain(|line| line != "ok");
        for row in
            sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection).await.map_err(unavailable)?
        {
            wrong.push(format!("a row of `{}` belongs to none", row.get::<String, _>(0)));
        }
        Ok(wrong)
    }

    /// Heads of the named tenants, read from one moment.
    async fn read_heads(&self, names: Option<Vec<TenantId>>) -> Found<Vec<(TenantId, Option<TenantHead>)>> {
        let mut transaction = self.readers.begin().await.map_err(unavailable)?;
        let names = match names {
            Some(names) => names,
            None => {
                let rows = sqlx::query(statements::TENANT_NAMES).fetch_all(&mut *transaction).await;
                let parsed = rows.map_err(unavailable)?.into_iter().map(|row| {
                    let name: String = row.get(0);
                    name.parse().map_err(|error: crate::domain::NameError| StoreError::Corrupt {
                        what: "tenant",
                        message: error.to_string(),
                    })
                });
                parsed.collect::<Found<_>>()?
            }
        };
        let mut heads = Vec::with_capacity(names.len());
        for name in names {
            let query = sqlx::query(statements::HEAD).bind(name.as_str().to_owned());
            let row = query.fetch_optional(&mut *transaction).await.map_err(unavailable)?;
            let head = row.map(|row| head_of(&name, &row)).transpose()?;
            heads.push((name, head));
        }
        Ok(heads)
    }
}

fn head_of(tenant: &TenantId, row: &sqlx::sqlite::SqliteRow) -> Found<TenantHead> {
    let corrupt =
        |error: &dyn std::fmt::Display| StoreError::Corrupt { what: "status", message: error.to_string() };
    let (incarnation, authority): (i64, i64) = (row.get(0), row.get(1));
    // Only what a head shows of a state; who may do what is never decided by it.
    let state = ActualState {
        incarnation: u32::try_from(incarnation).map_err(|error| corrupt(&error))?,
        authority: u64::try_from(authority).map_err(|error| corrupt(&error))?,
        removed: row.get::<Option<i64>, _>(2).map(Timestamp::from_millis),
        ..ActualState::empty(tenant.clone())
    };
    let outlook = Outlook {
        status: serde_json::from_str(row.get(3)).map_err(|error| corrupt(&error))?,
        deadline: row.get::<Option<i64>, _>(4).map(Timestamp::from_millis),
        released: row.get(5),
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
    fn last_fetch(&self) -> &LastFetch {
        &self.shared.last_fetch
    }
    async fn read<T: Send + 'static>(&self, work: Work<T>) -> Found<T> {
        let mut transaction = self.readers.begin().await.map_err(unavailable)?;
        let result = {
            let mut rows = SqliteRows::new(&mut transaction, &self.shared);
            work(&mut rows).await
        };
        transaction.rollback().await.map_err(unavailable)?;
        result
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
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        let mut rows = SqliteRows::new(&mut connection, &self.shared);
        let found: Option<T> = crate::store::operations::document(&mut rows, document).await?;
        let found = found.map(Arc::new);
        // Where somebody else may write, nothing is remembered.
        if self.alone {
            lock(&self.shared.documents).learn(document, before, found.clone().map(|found| found as _));
        }
        Ok(found)
    }
    async fn recorded(&self) -> Found<Timestamp> {
        Ok(self.shared.recorded())
    }
}

async fn connect(options: &SqliteConnectOptions, file: &Path) -> Found<SqliteConnection> {
    options.connect().await.map_err(|error| match unavailable(error) {
        StoreError::Unavailable { message, source } => {
            StoreError::Unavailable { message: format!("`{}`: {message}", file.display()), source }
        }
        other => other,
    })
}

fn readers(file: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(BUSY)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

async fn check_engine(connection: &mut SqliteConnection) -> Found<()> {
    let row = sqlx::query("SELECT sqlite_version()").fetch_one(connection).await.map_err(unavailable)?;
    let text: String = row.get(0);
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

async fn load(connection: &mut SqliteConnection, clock: Clock, key: Vec<u8>) -> Found<Shared> {
    let row = sqlx::query(statements::RECORDED).fetch_one(&mut *connection).await.map_err(unavailable)?;
    let recorded = Timestamp::from_millis(row.get(0));
    let row = sqlx::query(statements::VERSION_MAX).fetch_one(connection).await.map_err(unavailable)?;
    Ok(Shared::new(clock, key, recorded, row.get(0)))
}

/// Begins an empty database with what moves one way only and stands in no tree.
async fn replay(connection: &mut SqliteConnection, shared: &Shared, ledger: &Ledger) -> Found<()> {
    use sqlx::Connection as _;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
    let mut rows = SqliteRows::new(&mut transaction, shared);
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
        rows.put_tenant(Arc::new(state)).await?;
    }
    transaction.commit().await.map_err(unavailable)
}

/// Compares the database with its ledger: lines that a crash kept from the ledger are added, a database that is
/// older than its ledger is refused.
async fn catch_up(
    connection: &mut SqliteConnection,
    shared: &Shared,
    ledger: &mut LedgerFile,
    path: &Path,
) -> Found<()> {
    let names =
        sqlx::query(statements::TENANT_NAMES).fetch_all(&mut *connection).await.map_err(unavailable)?;
    let mut missing = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for row in names {
        let name: String = row.get(0);
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
fn unavailable(error: sqlx::Error) -> StoreError {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .map(|code| code & 0xff);
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
