//! The schema and how it came about: numbered steps, forward only.
//!
//! Every table of a tenant leads with `tenant_id` and `incarnation`, and so do its keys. A text that is JSON is
//! written and read whole; what is asked for in a `WHERE` has a column beside it.

use std::path::Path;

use super::connection::{Connection, Row, query};
use crate::store::StoreError;
use crate::store::rows::Found;

/// The steps, first to last; the number of the last is the schema's.
pub(super) const MIGRATIONS: [&str; 4] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];

const HAS_VERSION: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version'";
const VERSION: &str = "SELECT coalesce(max(number), 0) FROM schema_version";
const ADD_VERSION: &str = "INSERT INTO schema_version (number, program) VALUES (?1, ?2)";
const REWRITE: &str = "VACUUM";
/// The schema since which what is deleted is overwritten in its page.
const OVERWRITES_SINCE: i64 = 3;
const BACK_UP: &str = "VACUUM INTO ?1";

/// The schema's number that this program knows.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// The schema's number of an open database; 0 where there is none.
pub(super) fn version(connection: &mut Connection) -> Found<i64> {
    let number =
        |row: &Row| row.integer(0).map_err(|message| StoreError::Corrupt { what: "schema version", message });
    if number(&connection.one(query(HAS_VERSION))?)? == 0 {
        return Ok(0);
    }
    number(&connection.one(query(VERSION))?)
}

/// Refuses a schema that this program does not know.
pub(super) fn check(found: i64) -> Found<()> {
    if found > KNOWN { Err(StoreError::Newer { found, known: KNOWN }) } else { Ok(()) }
}

/// Brings an open database to the schema of this program. `backups` is asked for a directory only if a database
/// that holds something is changed. True if the database was empty.
pub(super) fn migrate(
    connection: &mut Connection,
    backups: impl FnOnce() -> Found<std::path::PathBuf>,
) -> Found<bool> {
    let found = version(connection)?;
    check(found)?;
    if found == KNOWN {
        return Ok(false);
    }
    if found > 0 {
        back_up(connection, &backups()?.join(format!("before-schema-{KNOWN}.sqlite")))?;
    }
    if (1..OVERWRITES_SINCE).contains(&found) {
        // Programs before only forgot what they deleted: this leaves no page behind that nobody uses. Before the
        // steps, so that after a crash it is done again.
        connection.run(query(REWRITE))?;
    }
    let first = usize::try_from(found).unwrap_or(0);
    for (number, step) in (1_i64..).zip(MIGRATIONS).skip(first) {
        connection.run(query("BEGIN IMMEDIATE"))?;
        // Where one of them fails, the connection is dropped and the whole step with it.
        connection.script(step)?;
        connection.run(query(ADD_VERSION).bind(number).bind(env!("CARGO_PKG_VERSION")))?;
        connection.run(query("COMMIT"))?;
    }
    Ok(found == 0)
}

/// Copies the database as it stands; an older copy of the same name is replaced.
fn back_up(connection: &mut Connection, to: &Path) -> Found<()> {
    if to.exists() {
        #[expect(clippy::disallowed_methods, reason = "a copy left by a migration that did not end")]
        std::fs::remove_file(to).map_err(|error| {
            crate::store::directory::failed(format!("`{}` cannot be replaced", to.display()), error)
        })?;
    }
    connection.run(query(BACK_UP).bind(to.to_string_lossy().into_owned())).map(|_| ())
}

/// Runs the statement that sets a schema's number, for the test of a newer database.
#[cfg(test)]
pub(super) fn pretend(connection: &mut Connection, number: i64) {
    let sql = format!("INSERT INTO schema_version (number, program) VALUES ({number}, 'later')");
    connection.script(&sql).unwrap();
}

/// Copies the database as a migration would.
#[cfg(test)]
pub(super) fn back_up_for_test(connection: &mut Connection, to: &Path) {
    back_up(connection, to).unwrap();
    back_up(connection, to).unwrap();
}
