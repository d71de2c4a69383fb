//! Carries SQLite's write-ahead log into the database, beside the commits instead of inside one.

use std::{sync::Weak, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(200);
/// Pages (of 4 KiB) in the log from which on it is carried over.
const ENOUGH: i32 = 1_000;
/// Pages from which on writers wait until all of it is carried over and the log begins anew.
/// Without that it would grow for as long as somebody writes all the time.
const TOO_MANY: i32 = 8_000;

/// Runs until `alive` is gone.
pub(crate) async fn run<T>(db: DatabaseConnection, alive: Weak<T>) {
    while alive.strong_count() > 0 {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = look(&db).await {
            tracing::warn!(%error, "The write-ahead log could not be carried over; it goes on growing");
        }
    }
}

async fn look(db: &DatabaseConnection) -> Result<(), DbErr> {
    let (pages, done) = checkpoint(db, "NOOP").await?;
    if pages < done + ENOUGH {
        return Ok(());
    }
    checkpoint(db, "PASSIVE").await?;
    if pages >= TOO_MANY {
        checkpoint(db, "RESTART").await?;
    }
    Ok(())
}

/// Pages in the log, and how many of them are in the database.
async fn checkpoint(db: &DatabaseConnection, how: &str) -> Result<(i32, i32), DbErr> {
    let sql = format!("PRAGMA wal_checkpoint({how})");
    let row = db.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await?;
    let Some(row) = row else { return Ok((0, 0)) };
    Ok((row.try_get_by_index(1)?, row.try_get_by_index(2)?))
}
