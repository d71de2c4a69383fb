//! Postfix's smtp-source: the same generator for ourselves and for Postfix.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What smtp-source sends.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) to: SocketAddr,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) sessions: u32,
    pub(crate) mails: u32,
    /// Goes into the subject, so that no two runs send the same mails.
    pub(crate) run: u32,
}

impl Source {
    /// Runs it to its end: every mail of 4 KB was taken. Each session stays open for its share
    /// of the mails, and each mail has a Message-ID of its own.
    ///
    /// # Errors
    /// When a mail was refused.
    pub(crate) async fn run(&self) -> Result<()> {
        let output = tokio::process::Command::new("smtp-source")
            .args(["-d", "-l", "4096"])
            .args(["-s", &self.sessions.to_string()])
            .args(["-m", &self.mails.to_string()])
            .args(["-S", &format!("Bench {}", self.run)])
            .args(["-f", &self.sender, "-t", &self.recipient])
            .arg(self.to.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            tokio::time::timeout(LIMIT, output).await.context("smtp-source does not end")?;
        let output = output.context("smtp-source cannot be started; is Postfix installed?")?;
        if !output.status.success() {
            bail!("smtp-source failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}
