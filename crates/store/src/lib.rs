#![doc = include_str!("../README.md")]

mod audit;
mod blobs;
mod change;
mod checkpoint;
mod claims;
mod directory;
mod engine;
mod entities;
mod find;
mod find_work;
mod leaving;
mod people;
mod portal;
pub mod rows;
#[cfg(test)]
mod tests;
mod texts;
mod writer;

pub use blobs::{INLINE_MAX, blob_hash};
pub use change::{ChangeSet, Ended};
pub use directory::{Directory, TenantView, alias_of};
pub use engine::{Store, StoreConfig};
pub use find::{Page, Scope};
pub use find_work::UnsentMail;
pub use people::{ApplyContact, ApplyMember, ApplyTenant};

/// What a revoked mapping keeps as `how` when the person behind it wants to be asked no more.
pub const DECLINED: &str = "declined in chat";

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("the database could not do it: {0}")]
    Database(#[from] sea_orm::DbErr),
    /// A file beside the database could not be read or written.
    #[error("a stored file could not be read or written: {0}")]
    File(#[from] std::io::Error),
    /// A row changed between reading and writing it.
    #[error("a row of {0} was changed by somebody else meanwhile")]
    Moved(&'static str),
    /// A row that cannot be right.
    #[error("{table}.{column} of {id} cannot be read: {why}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// Row.
        id: String,
        /// Reason.
        why: String,
    },
    /// What was asked for breaks a rule, in words for the person who asked.
    #[error("{0}")]
    Rule(String),
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the row is there already (a unique key is taken).
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        match self {
            Self::Database(error) => {
                matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
            }
            _ => false,
        }
    }

    /// Whether the same may well work a little later: the fault lies with the machine, not with
    /// what was to be stored.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::File(_) | Self::Closed => true,
            Self::Database(sea_orm::DbErr::Conn(_) | sea_orm::DbErr::ConnectionAcquire(_)) => true,
            Self::Database(error) => {
                let text = error.to_string();
                ["disk is full", "disk I/O error", "database is locked", "unable to open"]
                    .iter()
                    .any(|fault| text.contains(fault))
            }
            _ => false,
        }
    }

    /// Whether there was no room left to write it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            // SQLite calls every failed write but ENOSPC an I/O error.
            Self::Database(error) => {
                let text = error.to_string();
                text.contains("disk is full") || text.contains("disk I/O error")
            }
            Self::File(error) => matches!(
                error.kind(),
                std::io::ErrorKind::StorageFull
                    | std::io::ErrorKind::QuotaExceeded
                    | std::io::ErrorKind::FileTooLarge
            ),
            _ => false,
        }
    }
}
