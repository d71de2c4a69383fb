//! What mail programs and authors say in their markup: here starts the quote, this is hidden.

use super::tokens::attribute;

/// What a mail program's own markup says about the place where quoted text starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutKind {
    /// An attribution line, with the quote in a blockquote below it (Gmail, Thunderbird, Yahoo).
    Attribution,
    /// Everything from here on is the quoted mail (Outlook).
    Everything,
}

/// Where the first such markup is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Offset into the text, at the start of a line.
    pub(crate) at: usize,
    pub(crate) kind: CutKind,
}

/// Classes and ids that mail programs give to what they quote.
const ATTRIBUTION_CLASSES: [&str; 5] =
    ["gmail_quote", "gmail_attr", "moz-cite-prefix", "yahoo_quoted", "protonmail_quote"];
const OUTLOOK_IDS: [&str; 3] =
    ["appendonsend", "divRplyFwdMsg", "mail-editor-reference-message-container"];
/// The line that Outlook draws above a quoted mail; nothing else in its markup marks it.
const OUTLOOK_LINES: [&str; 2] = ["border-top:solid #e1e1e1", "border-top:solid #b5c4df"];

/// Whether an element with these attributes starts a quote.
pub(super) fn quote_markup(attributes: &str) -> Option<CutKind> {
    let class = attribute(attributes, "class").unwrap_or("");
    if class.split_whitespace().any(|c| ATTRIBUTION_CLASSES.contains(&c)) {
        return Some(CutKind::Attribution);
    }
    let id = attribute(attributes, "id").unwrap_or("");
    let style =
        attribute(attributes, "style").filter(|s| s.len() < 200).unwrap_or("").to_ascii_lowercase();
    let outlook = OUTLOOK_IDS.contains(&id) || OUTLOOK_LINES.iter().any(|l| style.contains(l));
    outlook.then_some(CutKind::Everything)
}

/// Text that the author hid from readers, such as a newsletter's preview line.
pub(super) fn is_hidden(style: &str) -> bool {
    if style.len() < 12 {
        return false;
    }
    let style: String = style
        .chars()
        .take(2_000)
        .filter(|c| !c.is_whitespace())
        .collect::<String>()
        .to_ascii_lowercase();
    style.contains("display:none")
        || style.contains("mso-hide:all")
        || style.contains("visibility:hidden")
}
