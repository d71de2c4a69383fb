//! Rewrites HTML so that a tree builder takes linear time and memory over it.
//!
//! ammonia's parser is quadratic in nesting, in the number of attributes of a tag, and in
//! formatting elements that stay open over blocks (HTML 13.2.4.3 has it reopen them in every
//! block). What is written here nests at most [`MAX_DEPTH`] deep, has few short attributes, and
//! leaves at most [`MAX_FORMATTING`] formatting elements open, each over [`MAX_REOPENED`] blocks.

use std::sync::LazyLock;

use super::{
    sanitise::is_within_the_mail,
    tokens::{TAGS, Tag, Token, Tokens, attributes},
};

/// Elements within elements; nested layout tables of real newsletters need about 60.
const MAX_DEPTH: usize = 120;
/// Formatting elements open at the same time.
const MAX_FORMATTING: usize = 12;
/// Blocks that may start while one formatting element is open.
const MAX_REOPENED: u32 = 16;
/// Octets of an attribute that names a target.
const MAX_URL: usize = 2_048;
/// Octets of any other attribute.
const MAX_ATTRIBUTE: usize = 512;

/// Attributes that are passed on.
const ATTRIBUTES: [&str; 18] = [
    "align",
    "alt",
    "bgcolor",
    "border",
    "cellpadding",
    "cellspacing",
    "class",
    "color",
    "colspan",
    "dir",
    "height",
    "href",
    "id",
    "rowspan",
    "src",
    "style",
    "title",
    "width",
];

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Can stay open over blocks and be reopened in them.
    Formatting,
    /// End tags of other elements do not reach over it (HTML 13.2.4.2).
    Barrier,
    Block,
    Inline,
}

/// How an element is treated; element sets are bit sets over [`TAGS`].
#[derive(Clone, Copy)]
struct Rule {
    role: Role,
    /// Open elements that its start tag ends (HTML 13.1.2.4).
    ends: u64,
    /// Open elements over which that does not reach.
    stops: u64,
}

static RULES: LazyLock<[Rule; TAGS.len()]> = LazyLock::new(|| TAGS.map(rule));

fn rule(name: &str) -> Rule {
    let role = match name {
        "a" | "b" | "big" | "code" | "em" | "font" | "i" | "s" | "small" | "strike" | "strong"
        | "tt" | "u" => Role::Formatting,
        "td" | "th" | "caption" | "table" => Role::Barrier,
        "abbr" | "del" | "ins" | "mark" | "q" | "samp" | "span" | "sub" | "sup" => Role::Inline,
        _ => Role::Block,
    };
    let (ends, stops): (&[&str], &[&str]) = match name {
        "li" => (&["li"], &["ul", "ol", "td", "th", "table"]),
        "dd" | "dt" => (&["dd", "dt"], &["dl", "td", "th", "table"]),
        "tr" => (&["tr"], &["table"]),
        "td" | "th" => (&["td", "th"], &["table"]),
        "p" | "div" | "table" | "ul" | "ol" | "h1" | "h2" | "h3" | "hr" | "blockquote" | "pre" => {
            (&["p"], &["td", "th", "caption", "table", "blockquote", "div", "li"])
        }
        _ => (&[], &[]),
    };
    let set = |names: &[&str]| {
        names.iter().filter_map(|n| Tag::named(n)).fold(0, |set, t| set | 1 << t.0)
    };
    Rule { role, ends: set(ends), stops: set(stops) }
}

fn role(tag: Tag) -> Role {
    RULES[usize::from(tag.0)].role
}

struct Element {
    tag: Tag,
    role: Role,
    blocks: u32,
}

/// A document within the bounds.
pub(super) struct Tame {
    pub(super) html: String,
    /// Images from elsewhere, whose sources were left out.
    pub(super) remote_images: usize,
}

/// The document within the bounds; text is never lost.
pub(super) fn tame(html: &str) -> Tame {
    let mut out = Tamer {
        out: String::with_capacity(html.len() + 64),
        stack: Vec::new(),
        formatting: 0,
        break_due: false,
        remote_images: 0,
    };
    for token in Tokens::new(html) {
        match token {
            Token::Text(text) => out.text(text),
            Token::Open(tag, attributes) => out.open(tag, attributes),
            Token::Close(tag) => out.close(tag),
        }
    }
    out.finish()
}

struct Tamer {
    out: String,
    // What the tree builder has open or would reopen; never fewer than it really has.
    stack: Vec<Element>,
    formatting: usize,
    // A block was left out: its text starts on a new line.
    break_due: bool,
    remote_images: usize,
}

impl Tamer {
    fn text(&mut self, text: &str) {
        if self.break_due && !text.trim().is_empty() {
            self.out.push_str("<br>");
            self.break_due = false;
        }
        // A `<` that started no tag here must not start one there.
        let mut rest = text;
        while let Some(n) = memchr::memchr(b'<', rest.as_bytes()) {
            self.out.push_str(&rest[..n]);
            self.out.push_str("&lt;");
            rest = &rest[n + 1..];
        }
        self.out.push_str(rest);
    }

    fn open(&mut self, tag: Tag, attributes: &str) {
        let role = role(tag);
        if matches!(tag.name(), "body") {
            return;
        }
        if tag.is_void() {
            self.write_open(tag, attributes);
            return;
        }
        self.imply_ends(tag);
        match role {
            Role::Formatting => {
                if tag.name() == "a" {
                    self.close(tag);
                }
                if self.formatting >= MAX_FORMATTING {
                    return;
                }
                self.formatting += 1;
            }
            Role::Block | Role::Barrier => self.count_block(),
            Role::Inline => {}
        }
        if self.stack.len() >= MAX_DEPTH {
            if role == Role::Formatting {
                self.formatting -= 1;
            }
            self.break_due |= role != Role::Inline && role != Role::Formatting;
            return;
        }
        self.stack.push(Element { tag, role, blocks: 0 });
        self.write_open(tag, attributes);
    }

    /// Ends formatting elements that were open over too many blocks.
    fn count_block(&mut self) {
        let scope =
            self.stack.iter().rposition(|e| matches!(e.role, Role::Barrier)).map_or(0, |i| i + 1);
        let mut at = self.stack.len();
        while at > scope {
            at -= 1;
            if self.stack[at].role == Role::Formatting {
                self.stack[at].blocks += 1;
                if self.stack[at].blocks > MAX_REOPENED {
                    let element = self.stack.remove(at);
                    self.formatting -= 1;
                    self.write_close(element.tag);
                }
            }
        }
    }

    /// End tags that authors leave out (HTML 13.1.2.4), so that they do not pile up.
    fn imply_ends(&mut self, tag: Tag) {
        let rule = RULES[usize::from(tag.0)];
        if rule.ends == 0 {
            return;
        }
        for at in (0..self.stack.len()).rev() {
            let here = 1_u64 << self.stack[at].tag.0;
            if rule.ends & here != 0 {
                self.close_at(at);
                return;
            }
            if rule.stops & here != 0 {
                return;
            }
        }
    }

    fn close(&mut self, tag: Tag) {
        if tag.is_void() {
            return;
        }
        let wanted = role(tag);
        let found = self.stack.iter().rposition(|e| {
            e.tag == tag
                || match wanted {
                    Role::Formatting => e.role == Role::Barrier,
                    // An unknown end tag stops at any special element, a block's at a cell.
                    Role::Inline => e.role != Role::Inline && e.role != Role::Formatting,
                    Role::Block => e.role == Role::Barrier,
                    Role::Barrier => e.tag.name() == "table",
                }
        });
        if let Some(at) = found
            && self.stack[at].tag == tag
        {
            self.close_at(at);
        }
    }

    /// Ends the element at `at`; formatting elements inside it stay open, as the tree builder has it.
    fn close_at(&mut self, at: usize) {
        let closed = self.stack.remove(at);
        self.write_close(closed.tag);
        match closed.role {
            Role::Formatting => self.formatting -= 1,
            Role::Barrier => {
                // The list of what is reopened is cleared up to a cell or table's marker.
                self.formatting -=
                    self.stack.drain(at..).filter(|e| e.role == Role::Formatting).count();
            }
            Role::Block | Role::Inline => {
                let mut index = 0;
                self.stack.retain(|e| {
                    index += 1;
                    index <= at || e.role == Role::Formatting
                });
            }
        }
    }

    fn write_open(&mut self, tag: Tag, text: &str) {
        self.out.push('<');
        self.out.push_str(tag.name());
        let mut seen = [false; ATTRIBUTES.len()];
        for (name, value) in attributes(text) {
            let Some(i) = ATTRIBUTES.iter().position(|a| a.eq_ignore_ascii_case(name)) else {
                continue;
            };
            let most =
                if matches!(ATTRIBUTES[i], "href" | "src") { MAX_URL } else { MAX_ATTRIBUTE };
            // Formatting elements may be reopened often: they carry no more than they need.
            let wanted = role(tag) != Role::Formatting
                || matches!(
                    (tag.name(), ATTRIBUTES[i]),
                    ("a", "href" | "title" | "style") | ("font", "color")
                );
            if seen[i] || !wanted || value.len() > most {
                continue;
            }
            seen[i] = true;
            if ATTRIBUTES[i] == "src" && !is_within_the_mail(value) {
                self.remote_images += usize::from(tag.name() == "img");
                continue;
            }
            self.out.push(' ');
            self.out.push_str(ATTRIBUTES[i]);
            self.out.push_str("=\"");
            for c in value.chars() {
                match c {
                    '"' => self.out.push_str("&quot;"),
                    '<' => self.out.push_str("&lt;"),
                    '>' => self.out.push_str("&gt;"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        self.out.push('>');
    }

    fn write_close(&mut self, tag: Tag) {
        self.out.push_str("</");
        self.out.push_str(tag.name());
        self.out.push('>');
    }

    fn finish(mut self) -> Tame {
        while let Some(element) = self.stack.pop() {
            self.write_close(element.tag);
        }
        Tame { html: self.out, remote_images: self.remote_images }
    }
}
