//! The writing side of a connection: everything that is queued goes out in one write.

use std::{io, sync::Arc, time::Duration};

use isthmus_im::SendError;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Echoes;
use crate::config::Confirm;

/// Stanzas that may wait for the socket; more make their senders wait.
const QUEUE: usize = 4_096;
/// Octets after which a batch is written, whatever else is queued.
const BATCH: usize = 64 * 1024;
/// How long a sender waits for the confirmation of a message on a connection that lives.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// How long the server may refuse to take anything before the connection counts as dead.
const STALLED: Duration = Duration::from_secs(10);

/// Somebody who waits for a stanza to be out.
///
/// Dropped unwritten it tells them nothing, which [`Out::send`] reads as "not connected";
/// dropped after writing began it tells them that nobody knows.
pub(crate) struct Waiter {
    answer: Option<oneshot::Sender<Result<(), SendError>>>,
    written: bool,
}

impl Waiter {
    pub(super) fn done(mut self) {
        if let Some(answer) = self.answer.take() {
            // Whoever stopped waiting needs no answer.
            drop(answer.send(Ok(())));
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take().filter(|_| self.written) {
            let lost = "the connection was lost before the server confirmed it".to_owned();
            drop(answer.send(Err(SendError::Unclear(lost))));
        }
    }
}

struct Queued {
    xml: String,
    waiter: Option<Waiter>,
}

/// What is written at once.
#[derive(Default)]
struct Batch {
    bytes: String,
    waiters: Vec<Waiter>,
}

impl Batch {
    fn fill(&mut self, first: Queued, queue: &mut mpsc::Receiver<Queued>) {
        let mut next = Some(first);
        while let Some(queued) = next {
            self.bytes.push_str(&queued.xml);
            self.waiters.extend(queued.waiter);
            next = if self.bytes.len() < BATCH { queue.try_recv().ok() } else { None };
        }
    }
}

/// Where stanzas for one connection go in. Ends with that connection.
#[derive(Clone)]
pub(crate) struct Out(mpsc::Sender<Queued>);

impl Out {
    /// Queues stanzas that belong together and waits until they are out.
    pub(crate) async fn send(&self, xml: String) -> Result<(), SendError> {
        let gone = || {
            SendError::NotConnected("the session ended before the message was written".to_owned())
        };
        let (answer, done) = oneshot::channel();
        let waiter = Some(Waiter { answer: Some(answer), written: false });
        self.0.send(Queued { xml, waiter }).await.map_err(|_| gone())?;
        match timeout(UNCONFIRMED, done).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(SendError::Unclear("the server did not confirm it in time".to_owned())),
        }
    }

    /// Queues an answer that nobody waits for. When the server takes nothing any more, the
    /// connection is about to end, and the answer with it.
    pub(crate) async fn push(&self, xml: String) {
        let queued = Queued { xml, waiter: None };
        if timeout(STALLED, self.0.send(queued)).await.is_err() {
            tracing::debug!("an XMPP answer was dropped because the server takes nothing");
        }
    }
}

/// The task that owns the socket's writing half.
pub(crate) struct Writer<S> {
    socket: S,
    queue: mpsc::Receiver<Queued>,
    echoes: Arc<Echoes>,
    confirm: Confirm,
}

impl<S: AsyncWrite + Unpin> Writer<S> {
    pub(crate) fn new(socket: S, echoes: Arc<Echoes>, confirm: Confirm) -> (Self, Out) {
        let (out, queue) = mpsc::channel(QUEUE);
        (Self { socket, queue, echoes, confirm }, Out(out))
    }

    /// Writes until the connection breaks or `stop` is asked for. On `stop` what is queued
    /// still goes out, then the stream is closed.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) -> io::Result<()> {
        loop {
            let mut batch = Batch::default();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.finish().await,
                first = self.queue.recv(), if self.echoes.may_write() => match first {
                    Some(first) => batch.fill(first, &mut self.queue),
                    None => return self.finish().await,
                },
                () = self.echoes.wanted.notified() => {}
            }
            self.write(batch).await?;
        }
    }

    /// Closes with a stream error (RFC 6120 section 4.9).
    pub(crate) async fn fail(&mut self, condition: &'static str) {
        let error = format!(
            "<stream:error><{condition} xmlns='{}'/></stream:error></stream:stream>",
            crate::ns::STREAM_ERRORS
        );
        // The connection is given up: whether the peer still reads this changes nothing.
        drop(timeout(Duration::from_secs(1), self.socket.write_all(error.as_bytes())).await);
        drop(timeout(Duration::from_secs(1), self.socket.shutdown()).await);
    }

    async fn write(&mut self, Batch { mut bytes, mut waiters }: Batch) -> io::Result<()> {
        for waiter in &mut waiters {
            waiter.written = true;
        }
        let mut flushed = Vec::new();
        if self.confirm == Confirm::Flushed {
            flushed.append(&mut waiters);
        }
        if let Some(ping) = self.echoes.behind(waiters.into_iter(), bytes.len()) {
            bytes.push_str(&ping);
        }
        if !bytes.is_empty() {
            let write = async {
                self.socket.write_all(bytes.as_bytes()).await?;
                self.socket.flush().await
            };
            timeout(STALLED, write).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, "the server takes nothing any more")
            })??;
        }
        flushed.into_iter().for_each(Waiter::done);
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.queue.close();
        while let Some(first) = self.queue.recv().await {
            let mut batch = Batch::default();
            batch.fill(first, &mut self.queue);
            self.write(batch).await?;
        }
        let confirmed = async {
            while self.echoes.owing() {
                self.echoes.wanted.notified().await;
                self.write(Batch::default()).await?;
            }
            Ok::<(), io::Error>(())
        };
        // After this second they count as unclear.
        timeout(Duration::from_secs(1), confirmed).await.unwrap_or(Ok(()))?;
        timeout(Duration::from_secs(1), self.socket.write_all(b"</stream:stream>")).await??;
        Ok(())
    }
}
