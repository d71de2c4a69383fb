//! Reads a mail: header, bodies, files, and what belongs to what.

use super::{
    body::{self, Bodies},
    check::{self, LOOP_FIELD},
    forward,
    html::{self, Flavour},
    kind,
    model::{Kind, Mailbox, Parsed},
    quote::{self, Piece},
    refusal::Refusal,
    structure::{self, Part},
    values,
};

/// Ids kept of References: enough for any thread, bounded for any header.
const MAX_REFERENCES: usize = 200;
/// Ids kept of In-Reply-To.
const MAX_IN_REPLY_TO: usize = 50;
/// Attached mails are read this many levels deep; what lies deeper is a file.
const MAX_ATTACHED_DEPTH: usize = 3;

/// Reads a mail. It is checked first as by [`super::check()`].
///
/// # Errors
/// Says why the mail must not be taken.
pub fn parse(raw: &[u8]) -> Result<Parsed, Refusal> {
    at_depth(raw, 0)
}

/// Reads a mail that was attached to another one; `None` if it is malformed or lies too deep.
pub(crate) fn attached(raw: &[u8], depth: usize) -> Option<Parsed> {
    if depth > MAX_ATTACHED_DEPTH {
        return None;
    }
    at_depth(&check::with_crlf(raw), depth).ok()
}

fn at_depth(raw: &[u8], depth: usize) -> Result<Parsed, Refusal> {
    let tree = structure::scan(raw)?;
    let peek = check::inspect(raw, &tree)?;
    let root = tree.root();
    let bodies = body::read(&tree, depth);
    let texts = texts(&bodies);
    let references = references(root);
    let in_reply_to =
        root.value("In-Reply-To").map(|v| values::ids(v, MAX_IN_REPLY_TO)).unwrap_or_default();
    let original_id = root
        .value("X-Forwarded-Message-Id")
        .and_then(|v| values::ids(v, 1).pop())
        .or_else(|| in_reply_to.first().cloned());
    let forwarded = forward::find(&forward::Outer {
        subject: &peek.subject,
        full_text: &texts.full,
        text: &texts.text,
        original_id,
        attachments: &bodies.attachments,
        attached_messages: &bodies.attached_messages,
    });
    let kind = kind::kind(&tree, &peek.subject);
    // The check made sure that there is one.
    let authors = people(root, "From");
    let from = authors.first().cloned().ok_or(Refusal::From)?;
    Ok(Parsed {
        message_id: peek.message_id,
        in_reply_to,
        references,
        from,
        authors,
        sender: people(root, "Sender").into_iter().next(),
        reply_to: people(root, "Reply-To"),
        to: people(root, "To"),
        cc: people(root, "Cc"),
        date: root.value("Date").and_then(values::date),
        text: texts.text,
        quoted: texts.quoted,
        signature: texts.signature,
        full_text: texts.full,
        markdown: texts.markdown,
        html: bodies.page.as_ref().map(|p| p.html.clone()),
        remote_images: bodies.page.as_ref().map_or(0, |p| p.remote_images),
        attachments: bodies.attachments,
        attached_messages: bodies.attached_messages,
        auto: !matches!(kind, Kind::Ordinary | Kind::Calendar(_)) || kind::is_from_a_list(root),
        kind,
        forwarded,
        upstream_verdict: kind::upstream_verdict(root),
        list_id: root.value("List-Id").map(list_id).filter(|l| !l.is_empty()),
        loop_marks: root.values(LOOP_FIELD).map(values::token).collect(),
        subject: peek.subject,
    })
}

fn people(root: &Part<'_>, field: &str) -> Vec<Mailbox> {
    root.value(field).map(|v| values::mailboxes(v).0).unwrap_or_default()
}

/// All ids in order; of too many the first, which name the thread, and the last.
fn references(root: &Part<'_>) -> Vec<String> {
    let mut ids = root.value("References").map(|v| values::ids(v, usize::MAX)).unwrap_or_default();
    if ids.len() > MAX_REFERENCES {
        ids.drain(20..ids.len() - (MAX_REFERENCES - 20));
    }
    ids
}

/// The id between angle brackets (RFC 2919 section 3), or what stands there instead.
fn list_id(value: &[u8]) -> String {
    let text = values::token(value);
    match (text.rfind('<'), text.rfind('>')) {
        (Some(a), Some(b)) if a < b => text[a + 1..b].to_owned(),
        _ => text,
    }
}

struct Texts {
    full: String,
    text: String,
    quoted: Option<String>,
    signature: Option<String>,
    markdown: Option<String>,
}

fn texts(bodies: &Bodies) -> Texts {
    let (full, hint) = match (&bodies.plain, &bodies.html) {
        (Some(plain), _) => (plain.clone(), None),
        (None, Some(html)) => {
            let rendered = html::render(html, Flavour::Plain);
            (rendered.text, rendered.cut)
        }
        (None, None) => (String::new(), None),
    };
    let pieces = quote::split(&full, hint);
    let markdown = bodies.html.as_ref().map(|html| {
        let rendered = html::render(html, Flavour::Markdown);
        let pieces = quote::split(&rendered.text, rendered.cut);
        quote::joined(&rendered.text, &pieces, Piece::Text).unwrap_or_default()
    });
    Texts {
        text: quote::joined(&full, &pieces, Piece::Text).unwrap_or_default(),
        quoted: quote::joined(&full, &pieces, Piece::Quoted),
        signature: quote::joined(&full, &pieces, Piece::Signature),
        markdown,
        full,
    }
}
