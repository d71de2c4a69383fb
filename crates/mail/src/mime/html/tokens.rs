//! A tokenizer for the HTML of mails: tags, text, nothing else. Every octet is looked at a
//! bounded number of times, whatever is left unclosed.

use memchr::{memchr, memchr2, memmem};

/// The elements that anything is done with, sorted; all others are read as if they were absent.
pub(super) const TAGS: [&str; 63] = [
    "a",
    "abbr",
    "address",
    "article",
    "aside",
    "b",
    "big",
    "blockquote",
    "body",
    "br",
    "caption",
    "center",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "div",
    "dl",
    "dt",
    "em",
    "figure",
    "font",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "i",
    "img",
    "ins",
    "li",
    "main",
    "mark",
    "nav",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "wbr",
];

/// Elements whose content is not shown as text (HTML 13.2.5: raw text and RCDATA).
const SILENT: [&str; 10] = [
    "iframe", "noembed", "noframes", "object", "script", "style", "svg", "template", "title", "xmp",
];

/// An index into [`TAGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u8);

impl Tag {
    pub(super) fn named(name: &str) -> Option<Self> {
        if name.len() > 10 {
            return None;
        }
        let mut lower = [0_u8; 10];
        for (to, from) in lower.iter_mut().zip(name.bytes()) {
            *to = from.to_ascii_lowercase();
        }
        let lower = std::str::from_utf8(&lower[..name.len()]).ok()?;
        TAGS.binary_search(&lower).ok().and_then(|i| u8::try_from(i).ok()).map(Self)
    }

    pub(super) fn name(self) -> &'static str {
        TAGS[usize::from(self.0)]
    }

    /// Elements without content or end tag.
    pub(super) fn is_void(self) -> bool {
        matches!(self.name(), "br" | "col" | "hr" | "img" | "wbr")
    }
}

/// One piece of a document.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'x> {
    /// A start tag, with its attributes unread.
    Open(Tag, &'x str),
    /// An end tag.
    Close(Tag),
    /// Text with its character references.
    Text(&'x str),
}

/// Reads a document piece by piece.
pub(super) struct Tokens<'x> {
    html: &'x str,
    at: usize,
    // Once a search for one of these found nothing, none lies ahead of any later position.
    no_double_quote: bool,
    no_single_quote: bool,
    no_comment_end: bool,
    // The same few names come again and again.
    last: (&'x str, Option<Tag>),
}

impl<'x> Tokens<'x> {
    pub(super) fn new(html: &'x str) -> Self {
        Self {
            html,
            at: 0,
            no_double_quote: false,
            no_single_quote: false,
            no_comment_end: false,
            last: ("", None),
        }
    }

    /// Where a tag that starts before `from` ends: the position of its `>`.
    fn tag_end(&mut self, from: usize) -> Option<usize> {
        let bytes = self.html.as_bytes();
        let plain = memchr(b'>', &bytes[from..])? + from;
        // A quote opens a value only right after `=`.
        let mut at = from;
        while let Some(n) = memchr2(b'=', b'>', &bytes[at..]) {
            at += n;
            if bytes[at] == b'>' {
                return Some(at);
            }
            at += 1;
            while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
                at += 1;
            }
            let closed = match bytes.get(at) {
                Some(b'"') if !self.no_double_quote => {
                    let found = memchr(b'"', &bytes[at + 1..]);
                    self.no_double_quote = found.is_none();
                    found
                }
                Some(b'\'') if !self.no_single_quote => {
                    let found = memchr(b'\'', &bytes[at + 1..]);
                    self.no_single_quote = found.is_none();
                    found
                }
                _ => continue,
            };
            match closed {
                Some(n) => at += n + 2,
                None => return Some(plain),
            }
        }
        Some(plain)
    }

    /// Skips to behind the end tag of a silent element; without one everything is its content.
    fn skip_silent(&mut self, name: &str) {
        let bytes = self.html.as_bytes();
        while let Some(n) = memchr(b'<', &bytes[self.at..]) {
            self.at += n + 1;
            let rest = &bytes[self.at..];
            if rest.first() == Some(&b'/')
                && rest.get(1..=name.len()).is_some_and(|r| r.eq_ignore_ascii_case(name.as_bytes()))
            {
                self.at = memchr(b'>', &bytes[self.at..]).map_or(bytes.len(), |n| self.at + n + 1);
                return;
            }
        }
        self.at = bytes.len();
    }

    /// Skips a comment, doctype or processing instruction that starts at `<!` or `<?`; false if
    /// no tag or the like can end any more.
    fn skip_markup(&mut self, start: usize) -> bool {
        let bytes = self.html.as_bytes();
        if bytes[start..].starts_with(b"<!--") && !self.no_comment_end {
            if let Some(n) = memmem::find(&bytes[start + 2..], b"-->") {
                self.at = start + 2 + n + 3;
                return true;
            }
            self.no_comment_end = true;
        }
        match memchr(b'>', &bytes[start..]) {
            Some(n) => {
                self.at = start + n + 1;
                true
            }
            None => false,
        }
    }
}

impl<'x> Iterator for Tokens<'x> {
    type Item = Token<'x>;

    fn next(&mut self) -> Option<Token<'x>> {
        let bytes = self.html.as_bytes();
        while self.at < bytes.len() {
            let start = self.at;
            if bytes[start] != b'<' {
                self.at = memchr(b'<', &bytes[start..]).map_or(bytes.len(), |n| start + n);
                return Some(Token::Text(&self.html[start..self.at]));
            }
            let next = bytes.get(start + 1).copied().unwrap_or(0);
            let close = next == b'/';
            let name_start = start + 1 + usize::from(close);
            if bytes.get(name_start).is_some_and(u8::is_ascii_alphabetic) {
                let Some(end) = self.tag_end(name_start) else {
                    // No `>` ahead: what is left is text.
                    self.at = bytes.len();
                    return Some(Token::Text(&self.html[start..]));
                };
                let inner = &self.html[name_start..end];
                let name_end = inner
                    .find(|c: char| c.is_ascii_whitespace() || c == '/')
                    .unwrap_or(inner.len());
                let (name, attributes) = inner.split_at(name_end);
                self.at = end + 1;
                if self.last.0 != name {
                    self.last = (name, Tag::named(name));
                }
                if let Some(tag) = self.last.1 {
                    return Some(if close {
                        Token::Close(tag)
                    } else {
                        Token::Open(tag, attributes)
                    });
                }
                let silent = SILENT.iter().find(|s| s.eq_ignore_ascii_case(name));
                if let (Some(silent), false) = (silent, close || attributes.ends_with('/')) {
                    self.skip_silent(silent);
                }
                continue;
            }
            if matches!(next, b'!' | b'?') || close {
                if self.skip_markup(start) {
                    continue;
                }
                self.at = bytes.len();
                return Some(Token::Text(&self.html[start..]));
            }
            // A `<` that starts nothing is text, up to the next one that starts something.
            let starts = |&i: &usize| {
                bytes
                    .get(i + 1)
                    .is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'!' | b'?'))
            };
            let next =
                memchr::memchr_iter(b'<', &bytes[start + 1..]).map(|n| start + 1 + n).find(starts);
            self.at = next.unwrap_or(bytes.len());
            return Some(Token::Text(&self.html[start..self.at]));
        }
        None
    }
}

/// The attributes of a start tag: name and undecoded value, in order, at most 64.
pub(super) fn attributes(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/' || c == '=');
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .find(|c: char| c.is_ascii_whitespace() || c == '=' || c == '/')
            .unwrap_or(rest.len());
        let name = &rest[..end];
        rest = rest[end..].trim_start();
        let Some(after) = rest.strip_prefix('=') else { return Some((name, "")) };
        let after = after.trim_start();
        let (value, left) = match after.as_bytes().first() {
            Some(&q @ (b'"' | b'\'')) => {
                let body = &after[1..];
                let end = memchr(q, body.as_bytes()).unwrap_or(body.len());
                (&body[..end], body.get(end + 1..).unwrap_or(""))
            }
            _ => {
                let end = after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len());
                after.split_at(end)
            }
        };
        rest = left;
        Some((name, value))
    })
    .take(64)
}

/// The first attribute called `name`, undecoded.
pub(super) fn attribute<'x>(text: &'x str, name: &str) -> Option<&'x str> {
    if text.is_empty() {
        return None;
    }
    attributes(text).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

/// Adds text with its character references decoded.
pub(super) fn push_decoded(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(n) = memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..n]);
        rest = &rest[n..];
        // The longest named reference has 31 characters.
        let window = &rest.as_bytes()[1..rest.len().min(33)];
        let length = window.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'#'));
        match length {
            Some(length) if window[length] == b';' && length > 0 => {
                let before = out.len();
                mail_parser::decoders::html::add_html_token(
                    out,
                    &rest.as_bytes()[..length + 2],
                    false,
                );
                if out[before..].contains('\0') {
                    out.truncate(before);
                }
                rest = &rest[length + 2..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
}
