//! The mails that are sent: of 4 KB with a mark, and of 25 MB with a file.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::{MARK, MARK_DIGITS};

/// Octets of an ordinary mail's body.
const BODY: usize = 4_096;
/// Octets of a large mail.
const LARGE: usize = 25_000_000;

/// A number that no other message of this run carries.
pub(crate) fn next_mark() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The mark as it stands in a message.
pub(crate) fn marked(mark: u32) -> String {
    format!("{MARK}{mark:0MARK_DIGITS$}")
}

fn head(from: &str, to: &str, mark: u32) -> String {
    // The run's process id keeps ids of several runs apart.
    let run = std::process::id();
    format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: Bench {mark}\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{run}.{mark}@bench.test>\r\n\
         MIME-Version: 1.0\r\n"
    )
}

/// A mail of 4 KB.
pub(crate) fn ordinary(from: &str, to: &str, mark: u32) -> Vec<u8> {
    const LINE: &str =
        "The pump runs, the valve is tight, and the report for the week is in the folder.\r\n";
    let mut mail = head(from, to, mark);
    mail.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\n");
    let end = mail.len() + BODY;
    mail.push_str(&marked(mark));
    mail.push_str("\r\n");
    while mail.len() < end {
        mail.push_str(LINE);
    }
    mail.into_bytes()
}

/// A mail of 25 MB: what stands in front of the file, and the octets that all of them share.
pub(crate) struct Large {
    shared: Arc<Vec<u8>>,
}

impl Large {
    pub(crate) fn new() -> Self {
        const LINE: &[u8] =
            b"SXN0aG11cyBsYXJnZSBmaWxlLCBsaW5lIGJ5IGxpbmUsIGFsbCBvZiB0aGVtIGFsaWtlIDAx\r\n";
        let mut shared = LINE.repeat(LARGE / LINE.len());
        shared.extend_from_slice(b"--part--\r\n");
        Self { shared: Arc::new(shared) }
    }

    /// The parts of one mail, in order.
    pub(crate) fn parts(&self, from: &str, to: &str, mark: u32) -> (Vec<u8>, Arc<Vec<u8>>) {
        let mut front = head(from, to, mark);
        front.push_str("Content-Type: multipart/mixed; boundary=\"part\"\r\n\r\n--part\r\n");
        front.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\n");
        front.push_str(&marked(mark));
        front.push_str(
            "\r\nHere is the file.\r\n\r\n--part\r\nContent-Type: application/octet-stream\r\n",
        );
        front.push_str("Content-Transfer-Encoding: base64\r\n");
        front.push_str(&format!(
            "Content-Disposition: attachment; filename=\"large-{mark}.bin\"\r\n\r\n"
        ));
        // Each file differs from all others, so that none is stored for two.
        use base64::Engine;
        let own = base64::engine::general_purpose::STANDARD.encode(format!("{mark:054}"));
        front.push_str(&own);
        front.push_str("\r\n");
        (front.into_bytes(), Arc::clone(&self.shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_the_rows_say_and_no_line_begins_with_a_dot() {
        let mail = ordinary("a@a.test", "b@b.test", 7);
        assert!((4_096..4_700).contains(&mail.len()), "{}", mail.len());
        assert!(!mail.windows(2).any(|w| w == b"\n."));
        let (front, shared) = Large::new().parts("a@a.test", "b@b.test", 8);
        let size = front.len() + shared.len();
        assert!((LARGE - 1_000..LARGE + 1_000).contains(&size), "{size}");
        assert!(memchr::memmem::find(&front, b"mark=00000008").is_some());
    }
}
