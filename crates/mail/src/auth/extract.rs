//! What is left of a mail while DNS is asked about it: a large one need not stay in memory meanwhile.

use mail_auth::{AuthenticatedMessage, common::crypto::HashAlgorithm, dkim::Canonicalization};

use crate::mime;

/// A hash of the body for each way in which a signature wants it: at most one for each pair of a
/// canonicalization and an algorithm, since signatures over a part of the body are not heard.
type BodyHashes = Vec<(Canonicalization, HashAlgorithm, u64, Vec<u8>)>;

/// The header of a mail, and the hashes of its body that its signatures speak of.
#[derive(Clone, Debug)]
pub struct Extract {
    /// With the empty line that ends it; nothing if it cannot be read.
    header: Vec<u8>,
    body_hashes: BodyHashes,
    /// What a server before us said against the mail.
    pub(super) upstream_verdict: Option<String>,
}

impl Extract {
    /// Reads a mail once; the time is linear in its size.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        let readable = AuthenticatedMessage::parse(raw)
            .filter(|message| message.raw_headers().len() <= mime::MAX_HEADER);
        let (header, body_hashes) = readable
            .map(|message| (message.raw_headers().to_vec(), message.body_hashes))
            .unwrap_or_default();
        Self { header, body_hashes, upstream_verdict: mime::upstream_verdict(raw) }
    }

    /// The mail as far as it can be checked; `None` if it has no header that can be read.
    pub(super) fn message(&self) -> Option<AuthenticatedMessage<'_>> {
        let mut message = AuthenticatedMessage::parse(&self.header)?;
        message.body_hashes.clone_from(&self.body_hashes);
        Some(message)
    }
}
