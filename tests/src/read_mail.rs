//! Reads a mail with somebody else's parser, so that what we write is not judged by ourselves.

use std::process::Stdio;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

/// A file in a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFile {
    /// Its name, empty if it has none.
    pub name: String,
    /// MIME type.
    pub media_type: String,
    /// Its octets, decoded.
    pub data: Vec<u8>,
}

/// A mail as Python's `email` package reads it.
#[derive(Clone, Debug)]
pub struct ReadMail {
    headers: Value,
    /// The plain text, empty if there is none.
    pub text: String,
    /// The HTML, empty if there is none.
    pub html: String,
    /// The files.
    pub files: Vec<MailFile>,
}

impl ReadMail {
    /// Reads a mail as it was on the wire.
    ///
    /// # Panics
    /// When there is no Python, or the mail cannot be read.
    pub async fn read(raw: &[u8]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/read_mail.py");
        let mut child = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("python3 could not be started: {e}"));
        let mut input = child.stdin.take().expect("standard input was asked for");
        input.write_all(raw).await.expect("the script reads its input");
        drop(input);
        let output = child.wait_with_output().await.expect("the script ends");
        assert!(
            output.status.success(),
            "the mail cannot be read: {}",
            String::from_utf8_lossy(raw)
        );
        let mail: Value = serde_json::from_slice(&output.stdout).expect("the script writes JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let files = mail["files"].as_array().into_iter().flatten().map(|file| MailFile {
            name: text(&file["name"]),
            media_type: text(&file["type"]),
            data: STANDARD.decode(text(&file["base64"])).expect("the script writes base64"),
        });
        Self {
            files: files.collect(),
            text: text(&mail["text"]).replace("\r\n", "\n"),
            html: text(&mail["html"]),
            headers: mail["headers"].clone(),
        }
    }

    /// A header field, decoded and unfolded; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers[name.to_ascii_lowercase()].as_str().unwrap_or_default()
    }

    /// The bare address in a header field: `a@b` of `A <a@b>`.
    #[must_use]
    pub fn address(&self, name: &str) -> &str {
        let value = self.header(name);
        value.rsplit_once('<').map_or(value, |(_, rest)| rest.trim_end_matches('>'))
    }
}
