//! Postfix's smtp-sink, and how many mails it has taken.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Result, bail};
use isthmus_tests::{Port, Server, ServerSpec, port_opens};
use tempfile::TempDir;
use tokio::time::Instant;

/// A running smtp-sink; killed on drop.
pub(crate) struct Sink {
    port: Port,
    folder: TempDir,
    _server: Server,
}

impl Sink {
    /// Starts one that takes everything and counts.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("isthmus-sink-").tempdir()?;
        let port = Port::free();
        let root = std::fs::metadata("/proc/self")?;
        let mut command = vec!["smtp-sink".to_owned(), "-c".into()];
        // As root it insists on being told as whom to run.
        if std::os::unix::fs::MetadataExt::uid(&root) == 0 {
            command.extend(["-u".into(), "nobody".into()]);
        }
        command.extend([port.addr().to_string(), "1024".into()]);
        let server = Server::start(ServerSpec::new("sink", folder.path(), command));
        port_opens(port.addr(), Duration::from_secs(20)).await;
        Ok(Self { port, folder, _server: server })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Mails taken so far, as its running counter tells.
    pub(crate) fn count(&self) -> u32 {
        let tail = || -> std::io::Result<String> {
            let mut file = File::open(self.folder.path().join("sink.log"))?;
            let size = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(size.saturating_sub(200)))?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = tail().unwrap_or_default();
        // Whole counts only: the last one may still be on its way into the file.
        let whole = text.rsplit_once('\r').map_or("", |(whole, _)| whole);
        let last = whole.rsplit_once("mesg=").map_or("", |(_, n)| n);
        last.trim().parse().unwrap_or(0)
    }

    /// Waits until it has taken `count` mails altogether; says when that was.
    ///
    /// # Errors
    /// When nothing comes for 30 s.
    pub(crate) async fn until(&self, count: u32) -> Result<Instant> {
        let (mut before, mut since) = (self.count(), Instant::now());
        loop {
            let now = self.count();
            if now >= count {
                return Ok(Instant::now());
            }
            if now != before {
                (before, since) = (now, Instant::now());
            }
            if since.elapsed() > Duration::from_secs(30) {
                bail!("Postfix has passed on {now} of {count} mails and no more");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
