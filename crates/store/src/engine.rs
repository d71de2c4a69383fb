//! Opening the database, and the handle that everybody else holds.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use isthmus_domain::clock::Millis;
use isthmus_migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    Statement,
};

use crate::{
    ChangeSet, Directory, StoreError, blobs::Blobs, checkpoint, directory, find::Scope, rows,
    writer::Writer,
};

/// Where the store keeps what.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite://PATH`.
    pub url: String,
    /// Folder of attachments and originals too large for a row.
    pub blobs: PathBuf,
}

/// A handle on the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) read: DatabaseConnection,
    writer: Writer,
    blobs: Blobs,
    directory: Arc<ArcSwap<Directory>>,
}

/// Connections that only read.
const READERS: u32 = 4;

impl Store {
    /// Opens the database, brings it up to date and reads the directory.
    ///
    /// # Errors
    /// When the database cannot be opened or migrated.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let write = connect(&config.url, 1).await?;
        Migrator::up(&write, None).await?;
        Self::on(write, config).await
    }

    async fn on(write: DatabaseConnection, config: &StoreConfig) -> Result<Self, StoreError> {
        let read = connect(&config.url, READERS).await?;
        let directory = Arc::new(ArcSwap::from_pointee(directory::load(&read).await?));
        let log = connect(&config.url, 1).await?;
        tokio::spawn(checkpoint::run(log, Arc::downgrade(&directory)));
        Ok(Self {
            writer: Writer::start(write),
            blobs: Blobs::new(config.blobs.clone())?,
            directory,
            read,
        })
    }

    /// Commits `set`; it is synced to disk when this returns.
    ///
    /// # Errors
    /// The set is written whole or not at all.
    pub async fn commit(&self, set: ChangeSet) -> Result<(), StoreError> {
        if set.is_empty() {
            return Ok(());
        }
        let directory = set.touches_directory();
        let large = set.once_blobs.iter().filter(|blob| blob.data.is_none());
        let files: Vec<_> = large.map(|b| self.blobs.path(&b.tenant_id, &b.hash)).collect();
        self.writer.set(set).await?;
        self.blobs.settle(&files).await;
        // It is written: that the directory cannot be read anew is another matter, and is tried
        // again every second.
        if directory && let Err(error) = self.refresh_directory().await {
            tracing::error!(%error, "The directory cannot be read");
        }
        Ok(())
    }

    /// Runs `f` inside a write transaction. `f` may run twice and must then do the same.
    pub(crate) async fn write<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        T: Send + Sync + 'static,
        F: for<'a> Fn(&'a DatabaseTransaction) -> BoxFuture<'a, Result<T, StoreError>>
            + Send
            + Sync
            + 'static,
    {
        let slot: Arc<std::sync::Mutex<Option<T>>> = Arc::default();
        let (out, f) = (Arc::clone(&slot), Arc::new(f));
        self.writer
            .run(Box::new(move |tx| {
                let (out, f) = (Arc::clone(&out), Arc::clone(&f));
                Box::pin(async move {
                    let value = f(tx).await?;
                    *out.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
                    Ok(())
                })
            }))
            .await?;
        slot.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
            .ok_or(StoreError::Closed)
    }

    /// What belongs to one tenant.
    #[must_use]
    pub fn of<'a>(&'a self, tenant_id: &'a str) -> Scope<'a> {
        Scope { store: self, tenant: tenant_id }
    }

    /// Tenants and people as they were at the last look.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Reads tenants and people again if anybody changed them, in this process or another.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn refresh_directory(&self) -> Result<(), StoreError> {
        let version = directory::version(&self.read).await?;
        if version != self.directory().version {
            self.directory.store(Arc::new(directory::load(&self.read).await?));
        }
        Ok(())
    }

    /// The row for some octets, to be committed with what refers to it.
    ///
    /// # Errors
    /// When a large blob's file cannot be written.
    pub async fn keep_blob(&self, tenant: &str, data: Bytes) -> Result<rows::Blob, StoreError> {
        self.blobs.keep(tenant, vec![data]).await
    }

    /// The row for the octets of a mail, all parts together, as it came or goes.
    ///
    /// # Errors
    /// When a large blob's file cannot be written.
    pub async fn keep_original(
        &self,
        tenant: &str,
        parts: Vec<Bytes>,
        at: Millis,
    ) -> Result<rows::Blob, StoreError> {
        self.blobs.keep_original(tenant, parts, at).await
    }

    /// Gives a blob up whose commit failed: its file is taken away, unless a row names it or
    /// somebody else has kept the same octets and is about to commit one.
    pub async fn drop_unused(&self, blob: &rows::Blob) {
        if blob.data.is_some() {
            return;
        }
        let file = self.blobs.path(&blob.tenant_id, &blob.hash);
        let mut claims = self.blobs.claims.lock().await;
        if claims.give_up(&file) > 0 {
            return;
        }
        if let Ok(false) = self.of(&blob.tenant_id).has_blob(&blob.hash).await
            && let Err(error) = tokio::fs::remove_file(file).await
        {
            tracing::warn!(%error, "A file that nothing refers to could not be removed");
        }
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Answers if the database answers.
    ///
    /// # Errors
    /// What the database said.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read.query_one_raw(Statement::from_string(DbBackend::Sqlite, "SELECT 1")).await?;
        Ok(())
    }

    /// Applied and pending migrations, by name.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub async fn migrations(url: &str) -> Result<Vec<(String, bool)>, StoreError> {
        let db = connect(url, 1).await?;
        Migrator::install(&db).await?;
        let applied: Vec<String> = Migrator::get_applied_migrations(&db)
            .await?
            .iter()
            .map(|m| m.name().to_owned())
            .collect();
        let all = Migrator::get_migration_files();
        Ok(all
            .iter()
            .map(|m| (m.name().to_owned(), applied.contains(&m.name().to_owned())))
            .collect())
    }

    /// Applies all pending migrations; `each` is called after every one.
    ///
    /// # Errors
    /// When one of them fails; it is then undone.
    pub async fn migrate_up(url: &str, each: impl Fn()) -> Result<(), StoreError> {
        let db = connect(url, 1).await?;
        Migrator::install(&db).await?;
        for _ in Migrator::get_pending_migrations(&db).await? {
            Migrator::up(&db, Some(1)).await?;
            each();
        }
        Ok(())
    }

    /// Takes the last migration back.
    ///
    /// # Errors
    /// When it fails.
    pub async fn migrate_down(url: &str) -> Result<(), StoreError> {
        Ok(Migrator::down(&connect(url, 1).await?, Some(1)).await?)
    }
}

/// Page cache of a connection in KiB, as SQLite wants it. The writer touches pages all over its
/// indexes; what is not in its cache it reads from the operating system again and again.
const WRITER_CACHE: &str = "-24000";
const READER_CACHE: &str = "-4000";

async fn connect(url: &str, connections: u32) -> Result<DatabaseConnection, StoreError> {
    if let Some(path) = url.strip_prefix("sqlite://")
        && let Some(folder) = Path::new(path).parent()
    {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = ConnectOptions::new(url);
    let cache = if connections == 1 { WRITER_CACHE } else { READER_CACHE };
    options
        .max_connections(connections)
        .min_connections(1)
        .sqlx_logging(false)
        // A file does not go away between two uses.
        .test_before_acquire(false)
        .map_sqlx_sqlite_opts(move |options| {
            // A commit is on the disk before anybody hears of it: WAL with FULL syncs the log
            // at every commit.
            // The log is carried into the database by a task of its own, so that no commit waits.
            options
                .create_if_missing(true)
                .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sea_orm::sqlx::sqlite::SqliteSynchronous::Full)
                .busy_timeout(std::time::Duration::from_secs(10))
                .pragma("cache_size", cache)
                .pragma("wal_autocheckpoint", "0")
                // What a statement would have to take back if it failed.
                .pragma("temp_store", "memory")
                .statement_cache_capacity(512)
        });
    Ok(Database::connect(options).await?)
}
