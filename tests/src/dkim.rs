//! Verifies DKIM signatures with somebody else's library, so that what we sign is not judged by
//! ourselves.

use std::process::Stdio;

use tokio::{io::AsyncWriteExt, process::Command};

use crate::xmpp_client::python;

/// The domain that signed a mail, if the signature holds under the record as `isthmus keys dkim`
/// prints it (`NAME IN TXT "…"`) and no other record is published.
///
/// # Panics
/// When the record cannot be read, or there is no Python.
pub async fn signer(raw: &[u8], record: &str) -> Option<String> {
    let (name, text) = record.trim().split_once(" IN TXT ").expect("a TXT record");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/verify_dkim.py");
    let mut child = Command::new(python())
        .args([script, name, text.trim_matches('"')])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|e| panic!("python could not be started: {e}"));
    let mut input = child.stdin.take().expect("standard input was asked for");
    input.write_all(raw).await.expect("the script reads its input");
    drop(input);
    let output = child.wait_with_output().await.expect("the script ends");
    let domain = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(domain)
}
