//! Finds the mail that another one hands on, attached or as text.

use super::{
    block::{self, Block},
    model::{AttachedMessage, Attachment, ForwardHow, Forwarded},
    quote::{self, Lines, Piece},
    subject,
};

/// What is known of the mail that may hand on another one.
pub(crate) struct Outer<'x> {
    pub(crate) subject: &'x str,
    /// Everything as text.
    pub(crate) full_text: &'x str,
    /// The new text without signature.
    pub(crate) text: &'x str,
    /// The id of the original that some programs name (X-Forwarded-Message-Id, In-Reply-To).
    pub(crate) original_id: Option<String>,
    pub(crate) attachments: &'x [Attachment],
    pub(crate) attached_messages: &'x [AttachedMessage],
}

/// Finds it; an attached mail is the original itself and therefore goes first.
pub(crate) fn find(outer: &Outer<'_>) -> Option<Forwarded> {
    if let Some(attached) = outer.attached_messages.first() {
        return Some(from_attached(outer, attached));
    }
    if outer.full_text.len() > quote::MAX_TEXT {
        return None;
    }
    let lines = Lines::new(outer.full_text);
    let mut found = (0..lines.len()).find_map(|i| block::at(&lines, i).map(|b| (i, b)));
    if found.is_none() && subject::is_forward(outer.subject) {
        // Apple Mail's HTML puts the mark itself into the quote.
        found = (0..lines.len()).find_map(|i| block::at_quoted_mark(&lines, i).map(|b| (i, b)));
    }
    found.map(|(i, b)| from_text(outer, &lines, i, b))
}

fn from_attached(outer: &Outer<'_>, attached: &AttachedMessage) -> Forwarded {
    let original = &attached.message;
    Forwarded {
        how: ForwardHow::AsAttachment,
        certain: true,
        comment: without_bare_signature(outer.text),
        from: Some(original.from.clone()),
        subject: Some(original.subject.clone()),
        date: original.date,
        date_text: original.date.map(isthmus_domain::clock::Millis::rfc3339),
        message_id: original.message_id.clone(),
        to: original.to.clone(),
        cc: original.cc.clone(),
        text: original.full_text.trim().to_owned(),
        raw: outer.attachments.get(attached.attachment).map(|a| a.data.clone()),
        attachments: original.attachments.clone(),
    }
}

fn from_text(outer: &Outer<'_>, lines: &Lines<'_>, start: usize, block: Block) -> Forwarded {
    let above = &outer.full_text[..lines.start(start)];
    let comment = comment(above);
    let how = if block.forward_mark || subject::is_forward(outer.subject) {
        ForwardHow::Inline
    } else {
        ForwardHow::Quoted
    };
    Forwarded {
        how,
        certain: false,
        comment,
        from: block.from,
        subject: block.subject,
        date: block.date,
        date_text: block.date_text,
        message_id: outer.original_id.clone(),
        to: block.to,
        cc: block.cc,
        text: body(lines, start, block.body),
        raw: None,
        attachments: Vec::new(),
    }
}

/// What was written above the block, without the signature and without Outlook's rule.
fn comment(above: &str) -> String {
    let pieces = quote::split(above, None);
    let text = quote::joined(above, &pieces, Piece::Text).unwrap_or_default();
    let text = text.trim_end_matches(|c: char| c == '_' || c.is_whitespace());
    without_bare_signature(text)
}

/// A signature without any text above it counts as text elsewhere; here it is no comment.
fn without_bare_signature(text: &str) -> String {
    if text.starts_with("-- \n") || text == "--" { String::new() } else { text.trim().to_owned() }
}

/// The text below the block; Apple Mail quotes block and text one level deep.
fn body(lines: &Lines<'_>, start: usize, body: usize) -> String {
    let quoted = (start..body).any(|i| lines.get(i).starts_with('>'));
    let mut out = String::new();
    for i in body..lines.len() {
        let line = lines.get(i);
        out.push_str(if quoted { block::unquoted(line) } else { line });
        out.push('\n');
    }
    out.trim().to_owned()
}
