//! One connection to the database: a statement and its values in, rows out.
//!
//! Every call blocks, so whoever calls stands on a thread that may: a statement takes microseconds, and handing each
//! one to another thread took several times as long as running it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use tokio::sync::Semaphore;

use super::shared::lock;
use super::writer::gone;
use super::{BUSY, STATEMENTS_MAX, unavailable};
use crate::store::StoreError;
use crate::store::rows::Found;

/// Connections that read.
const READERS_MAX: u32 = 4;

/// Pages of the write-ahead log after which it is taken over into the database: 16 MiB. A step writes about fifty, and
/// taking over waits for the disk twice.
const CHECKPOINT_PAGES: u32 = 4_096;

/// A connection; one thread at a time.
pub(super) struct Connection(rusqlite::Connection);

impl Connection {
    /// Opens the database to write it, and makes it where there is none.
    ///
    /// # Errors
    /// The engine's, among them that the file is no database.
    pub(super) fn to_write(file: &Path) -> Result<Self, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let opened = Self::open(file, flags)?;
        opened.0.pragma_update(None, "journal_mode", "WAL")?;
        opened.0.pragma_update(None, "synchronous", "FULL")?;
        opened.0.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        // What a row no longer holds is overwritten in its page, and not only forgotten.
        opened.0.pragma_update(None, "secure_delete", true)?;
        Ok(opened)
    }
    /// Opens the database to read it.
    ///
    /// # Errors
    /// The engine's, among them that the file is no database or is not there.
    pub(super) fn to_read(file: &Path) -> Result<Self, rusqlite::Error> {
        Self::open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }
    fn open(file: &Path, flags: OpenFlags) -> Result<Self, rusqlite::Error> {
        let opened = rusqlite::Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        opened.busy_timeout(BUSY)?;
        opened.pragma_update(None, "foreign_keys", true)?;
        // Otherwise a statement whose plan looked at a bound value is prepared anew each time a value is bound.
        opened.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        opened.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self(opened))
    }

    /// The first row, if there is one.
    pub(super) fn first(&mut self, query: Query) -> Found<Option<Row>> {
        self.rows(query, 1).map(|rows| rows.into_iter().next())
    }
    /// The one row of a statement that always gives one.
    pub(super) fn one(&mut self, query: Query) -> Found<Row> {
        self.first(query)?.ok_or_else(|| unavailable(rusqlite::Error::QueryReturnedNoRows))
    }
    /// Every row.
    pub(super) fn all(&mut self, query: Query) -> Found<Vec<Row>> {
        self.rows(query, usize::MAX)
    }
    fn rows(&mut self, query: Query, rows_max: usize) -> Found<Vec<Row>> {
        let mut statement = self.0.prepare_cached(query.statement).map_err(unavailable)?;
        let columns = statement.column_count();
        let mut found = Vec::new();
        let mut rows = statement.query(rusqlite::params_from_iter(query.values)).map_err(unavailable)?;
        while found.len() < rows_max
            && let Some(row) = rows.next().map_err(unavailable)?
        {
            let column = |index| row.get::<_, Value>(index);
            found.push(Row((0..columns).map(column).collect::<Result<_, _>>().map_err(unavailable)?));
        }
        Ok(found)
    }
    /// Runs a statement that gives no rows; gives the number of rows that it changed.
    pub(super) fn run(&mut self, query: Query) -> Found<u64> {
        let mut statement = self.0.prepare_cached(query.statement).map_err(unavailable)?;
        let changed = statement.execute(rusqlite::params_from_iter(query.values)).map_err(unavailable)?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }
    /// Runs several statements without values.
    pub(super) fn script(&mut self, statements: &str) -> Found<()> {
        self.0.execute_batch(statements).map_err(unavailable)
    }
    /// Whether the engine can run a statement.
    #[cfg(test)]
    pub(super) fn prepares(&self, statement: &str) -> Result<(), rusqlite::Error> {
        self.0.prepare(statement).map(|_| ())
    }
    /// Switches the check that a row belongs to another, for tests that do damage.
    #[cfg(test)]
    pub(super) fn let_rows_dangle(&self) {
        self.0.pragma_update(None, "foreign_keys", false).unwrap();
    }
    /// Takes over what the write-ahead log has and cuts it to nothing, as far as nobody reads from it; gives whether it
    /// is empty. Until then it holds rows as they were.
    pub(super) fn empty_log(&mut self) -> Found<bool> {
        let row = self.one(query("PRAGMA wal_checkpoint(TRUNCATE)"))?;
        let busy =
            row.integer(0).map_err(|message| StoreError::Corrupt { what: "write-ahead log", message })?;
        Ok(busy == 0)
    }
    /// Closes the database; the last one that closes takes over what the write-ahead log has.
    pub(super) fn close(self) -> Found<()> {
        self.0.close().map_err(|(_, error)| unavailable(error))
    }
}

/// A statement with its values, `?1` first.
pub(super) struct Query {
    statement: &'static str,
    values: Vec<Value>,
}

/// A statement without values yet.
pub(super) fn query(statement: &'static str) -> Query {
    Query { statement, values: Vec::new() }
}

impl Query {
    /// Gives the next value.
    pub(super) fn bind(mut self, value: impl Column) -> Self {
        self.values.push(value.value());
        self
    }
}

/// What a column can hold.
pub(super) trait Column {
    fn value(self) -> Value;
}
impl Column for &str {
    fn value(self) -> Value {
        Value::Text(self.to_owned())
    }
}
impl Column for String {
    fn value(self) -> Value {
        Value::Text(self)
    }
}
impl Column for Vec<u8> {
    fn value(self) -> Value {
        Value::Blob(self)
    }
}
impl Column for i64 {
    fn value(self) -> Value {
        Value::Integer(self)
    }
}
impl Column for u32 {
    fn value(self) -> Value {
        Value::Integer(self.into())
    }
}
impl Column for bool {
    fn value(self) -> Value {
        Value::Integer(self.into())
    }
}
impl<T: Column> Column for Option<T> {
    fn value(self) -> Value {
        self.map_or(Value::Null, Column::value)
    }
}

/// A row, its columns by number.
pub(super) struct Row(Vec<Value>);

impl Row {
    fn at(&self, index: usize) -> ValueRef<'_> {
        self.0.get(index).map_or(ValueRef::Null, ValueRef::from)
    }
    /// The error says what the column holds instead, and nothing of it.
    fn wrong(&self, index: usize, wanted: &str) -> String {
        format!("column {index} holds {}, not {wanted}", self.at(index).data_type())
    }
    pub(super) fn text(&self, index: usize) -> Result<&str, String> {
        self.at(index).as_str().map_err(|_| self.wrong(index, "a text"))
    }
    pub(super) fn text_or_null(&self, index: usize) -> Result<Option<&str>, String> {
        self.at(index).as_str_or_null().map_err(|_| self.wrong(index, "a text"))
    }
    pub(super) fn blob(&self, index: usize) -> Result<&[u8], String> {
        self.at(index).as_blob().map_err(|_| self.wrong(index, "bytes"))
    }
    pub(super) fn integer(&self, index: usize) -> Result<i64, String> {
        self.at(index).as_i64().map_err(|_| self.wrong(index, "a number"))
    }
    pub(super) fn integer_or_null(&self, index: usize) -> Result<Option<i64>, String> {
        self.at(index).as_i64_or_null().map_err(|_| self.wrong(index, "a number"))
    }
}

/// Connections that read, opened as they are wanted.
pub(super) struct Readers {
    file: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn of(file: &Path) -> Self {
        let places = usize::try_from(READERS_MAX).unwrap_or(1);
        Self { file: file.to_owned(), idle: Arc::default(), places: Arc::new(Semaphore::new(places)) }
    }

    /// Has a connection read, on a thread that may block.
    ///
    /// # Errors
    /// The work's own, or that the store is closed or cannot be opened.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Found<T> + Send + 'static,
    ) -> Found<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (idle, file) = (Arc::clone(&self.idle), self.file.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let known = lock(&idle).pop();
            let mut connection = match known {
                Some(connection) => connection,
                None => Connection::to_read(&file).map_err(unavailable)?,
            };
            let found = work(&mut connection);
            lock(&idle).push(connection);
            drop(place);
            found
        });
        match reading.await {
            Ok(found) => found,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(gone()),
        }
    }

    /// Has a connection read what belongs to one moment.
    ///
    /// # Errors
    /// As [`Readers::read`].
    pub(super) async fn read_at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Found<T> + Send + 'static,
    ) -> Found<T> {
        self.read(|connection| {
            connection.run(query("BEGIN"))?;
            let found = work(connection);
            connection.run(query("ROLLBACK"))?;
            found
        })
        .await
    }

    /// Waits for those that read, and closes them all.
    pub(super) async fn close(&self) {
        // An error says that somebody closed them already. Held until nobody can begin to read any more.
        let _all = self.places.acquire_many(READERS_MAX).await;
        self.places.close();
        lock(&self.idle).clear();
    }
}
