//! The one writer: takes whatever is waiting, puts it into one transaction, syncs once, and
//! answers everybody. Under load the cost of the sync is shared; alone nobody waits for company.

use futures::future::BoxFuture;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tokio::sync::{mpsc, oneshot};

use crate::{ChangeSet, StoreError};

/// A piece of work that needs to read and write in one go. It may run more than once.
pub(crate) type Run = Box<
    dyn for<'a> Fn(&'a DatabaseTransaction) -> BoxFuture<'a, Result<(), StoreError>> + Send + Sync,
>;

enum Work {
    Set(Box<ChangeSet>),
    Run(Run),
}

struct Job {
    work: Work,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// Jobs that share one commit at most.
const BATCH: usize = 256;
/// Jobs that may wait; more of them wait outside.
const QUEUE: usize = 4_096;

/// Where changes are handed in.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    /// Starts the writer on its own connection; it ends when the last handle is dropped.
    pub(crate) fn start(db: DatabaseConnection) -> Self {
        let (tx, rx) = mpsc::channel(QUEUE);
        tokio::spawn(work(db, rx));
        Self(tx)
    }

    pub(crate) async fn set(&self, set: ChangeSet) -> Result<(), StoreError> {
        self.hand_in(Work::Set(Box::new(set))).await
    }

    pub(crate) async fn run(&self, run: Run) -> Result<(), StoreError> {
        self.hand_in(Work::Run(run)).await
    }

    async fn hand_in(&self, work: Work) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.0.send(Job { work, done }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

async fn work(db: DatabaseConnection, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.recv_many(&mut batch, BATCH).await > 0 {
        if batch.len() > 1 && together(&db, &mut batch).await.is_ok() {
            for job in batch.drain(..) {
                let _ = job.done.send(Ok(()));
            }
            continue;
        }
        // Alone, or one of them failed: each gets its own transaction and its own answer.
        for mut job in batch.drain(..) {
            let result = together(&db, std::slice::from_mut(&mut job)).await;
            let _ = job.done.send(result);
        }
    }
}

/// Writes all of it in one transaction. The sets are joined for that and, when it failed, taken
/// apart again.
async fn together(db: &DatabaseConnection, batch: &mut [Job]) -> Result<(), StoreError> {
    let mut merged = ChangeSet::default();
    let mut lengths = Vec::with_capacity(batch.len());
    for job in &mut *batch {
        lengths.push(merged.lengths());
        if let Work::Set(set) = &mut job.work {
            merged.append(std::mem::take(&mut **set));
        }
    }
    let result = write(db, &merged, batch).await;
    if result.is_err() {
        for (job, lengths) in batch.iter_mut().zip(&lengths).rev() {
            if let Work::Set(set) = &mut job.work {
                **set = merged.split_off(lengths);
            }
        }
    }
    result
}

async fn write(
    db: &DatabaseConnection,
    merged: &ChangeSet,
    batch: &[Job],
) -> Result<(), StoreError> {
    let tx = db
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    merged.apply(&tx).await?;
    for job in batch {
        if let Work::Run(run) = &job.work {
            run(&tx).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}
