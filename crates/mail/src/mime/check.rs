//! What is looked at before a mail is taken: cheap, linear, within bounds.

use isthmus_domain::address::Email;

use super::{
    refusal::Refusal,
    structure::{self, Part, Tree},
    values,
};

/// `Received:` fields after which a mail is taken to go in circles (RFC 5321 section 6.3 asks
/// for at least 100 only where no other loop detection exists; ours is [`LOOP_FIELD`]).
pub const MAX_HOPS: usize = 50;

/// The field that carries the id of every installation a mail went out of.
pub const LOOP_FIELD: &str = "X-Isthmus-Loop";

/// Fields that appear at most once (RFC 5322 section 3.6; RFC 2045 section 3 is checked with the parts).
const ONCE: [&str; 10] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
    "Date",
];

/// What a door needs to know of a mail before it takes it.
#[derive(Clone, Debug)]
pub struct Peek {
    /// The Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// The one address in From; `None` when there are several.
    pub from: Option<Email>,
    /// How many addresses From names, at least 1.
    pub from_addresses: usize,
    /// The decoded subject.
    pub subject: String,
    /// How many `Received:` fields there are, at most [`MAX_HOPS`].
    pub hops: usize,
    /// The values of all [`LOOP_FIELD`] fields.
    pub loop_marks: Vec<String>,
    /// Auto-Submitted says something other than `no` (RFC 3834 section 5).
    pub auto_submitted: bool,
    /// How many MIME parts there are, the mail itself included.
    pub parts: usize,
    /// Octets of the header, with the empty line.
    pub header_size: usize,
}

/// Looks over a mail without decoding it; the time is linear in its size.
///
/// # Errors
/// Says why the mail must not be taken. Line ends must be CRLF in the header.
pub fn check(raw: &[u8]) -> Result<Peek, Refusal> {
    let tree = structure::scan(raw)?;
    inspect(raw, &tree)
}

/// The same for a mail that was taken apart already.
pub(crate) fn inspect(raw: &[u8], tree: &Tree<'_>) -> Result<Peek, Refusal> {
    let root = tree.root();
    unique_fields(root)?;
    let hops = root.values("Received").count();
    if hops > MAX_HOPS {
        return Err(Refusal::Hops(hops));
    }
    let (mut from, named) = root.value("From").map(values::mailboxes).ok_or(Refusal::From)?;
    if from.is_empty() {
        return Err(Refusal::From);
    }
    let header_size = header_size(raw, root);
    Ok(Peek {
        message_id: root.value("Message-ID").and_then(|v| values::ids(v, 1).pop()),
        from: (named == 1).then(|| from.remove(0).email),
        from_addresses: named.max(1),
        subject: root.value("Subject").map(values::text).unwrap_or_default(),
        hops,
        loop_marks: root.values(LOOP_FIELD).map(values::token).collect(),
        auto_submitted: root.value("Auto-Submitted").is_some_and(|v| values::keyword(v) != "no"),
        parts: tree.parts.len(),
        header_size,
    })
}

fn unique_fields(root: &Part<'_>) -> Result<(), Refusal> {
    let mut seen = [false; ONCE.len()];
    for field in &root.fields {
        if let Some(i) = ONCE.iter().position(|name| field.is(name)) {
            if seen[i] {
                return Err(Refusal::Duplicate(ONCE[i]));
            }
            seen[i] = true;
        }
    }
    Ok(())
}

fn header_size(raw: &[u8], root: &Part<'_>) -> usize {
    let body = root.body.as_ptr().addr() - raw.as_ptr().addr();
    body.min(raw.len())
}

/// The mail with every line end as CRLF, for mails that did not come by SMTP.
#[must_use]
pub fn with_crlf(raw: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let bare = memchr::memchr2_iter(b'\r', b'\n', raw).any(|i| match raw[i] {
        b'\n' => i == 0 || raw[i - 1] != b'\r',
        _ => raw.get(i + 1) != Some(&b'\n'),
    });
    if !bare {
        return raw.into();
    }
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut bytes = raw.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        match b {
            b'\r' => {
                out.extend_from_slice(b"\r\n");
                if bytes.peek() == Some(&b'\n') {
                    bytes.next();
                }
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            b => out.push(b),
        }
    }
    out.into()
}
