//! Walks over HTML and writes it as plain text or Markdown, line by line.

mod lines;

use super::{
    cut::{self, Cut, CutKind, is_hidden},
    tokens::{TAGS, Tag, Token, Tokens, attribute, push_decoded},
};

/// Elements whose effect on the text is remembered until they end.
const MAX_DEPTH: usize = 100;
/// Quote marks at the start of a line.
const MAX_QUOTES: usize = 10;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// `label <target>` for links, no emphasis.
    Plain,
    /// CommonMark.
    Markdown,
}

/// A document as text.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) cut: Option<Cut>,
}

/// Writes a document as text.
pub(crate) fn render(html: &str, flavour: Flavour) -> Rendered {
    let mut writer = Writer::new(flavour, html.len());
    for token in Tokens::new(html) {
        match token {
            Token::Text(text) => writer.text(text),
            Token::Open(tag, attributes) => writer.open(tag, attributes),
            Token::Close(tag) => writer.close(tag),
        }
    }
    writer.finish()
}

/// What an open element does to the text inside it.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    None,
    Hidden,
    Quote,
    Preformatted,
    Bullets,
    Numbers,
    Mark(&'static str),
    Link,
}

struct Element {
    tag: Tag,
    effect: Effect,
    tight: bool,
}

struct Link {
    target: String,
    // Where its label starts in the output, once there is one.
    start: Option<usize>,
}

struct Writer {
    flavour: Flavour,
    out: String,
    stack: Vec<Element>,
    // How many of each element are open, so that a stray end tag costs nothing.
    open: [u16; TAGS.len()],
    hidden: usize,
    quotes: usize,
    // How deep the line that was written last is quoted.
    line_quotes: usize,
    preformatted: usize,
    lists: Vec<Option<u32>>,
    marks: Vec<&'static str>,
    written_marks: Vec<&'static str>,
    link: Option<Link>,
    // What has to come before the next text.
    newlines: usize,
    space: bool,
    cell: bool,
    item: Option<String>,
    line_is_empty: bool,
    cut_due: Option<CutKind>,
    cut: Option<Cut>,
    decoded: String,
}

impl Writer {
    fn new(flavour: Flavour, size: usize) -> Self {
        Self {
            flavour,
            out: String::with_capacity(size / 2),
            stack: Vec::new(),
            open: [0; TAGS.len()],
            hidden: 0,
            quotes: 0,
            line_quotes: 0,
            preformatted: 0,
            lists: Vec::new(),
            marks: Vec::new(),
            written_marks: Vec::new(),
            link: None,
            newlines: 0,
            space: false,
            cell: false,
            item: None,
            line_is_empty: true,
            cut_due: None,
            cut: None,
            decoded: String::new(),
        }
    }

    fn open(&mut self, tag: Tag, attributes: &str) {
        self.note_cut(attributes);
        match tag.name() {
            "br" if self.hidden == 0 => return self.break_line(),
            "hr" if self.hidden == 0 => return self.block(2),
            "img" => return self.image(attributes),
            _ if tag.is_void() => return,
            _ => {}
        }
        self.imply_end(tag);
        // Outlook's paragraphs have no space between them.
        let tight = tag.name() == "p"
            && attribute(attributes, "class").is_some_and(|c| c.starts_with("Mso"));
        if tight {
            self.block(1);
        } else {
            self.margin(tag);
        }
        let style = attribute(attributes, "style").unwrap_or("");
        let effect = if is_hidden(style) { Effect::Hidden } else { self.effect(tag) };
        if self.stack.len() < MAX_DEPTH {
            self.begin(effect, attributes, tag);
            self.open[usize::from(tag.0)] += 1;
            self.stack.push(Element { tag, effect, tight });
        }
    }

    fn effect(&self, tag: Tag) -> Effect {
        match tag.name() {
            "blockquote" => Effect::Quote,
            "pre" => Effect::Preformatted,
            "ul" => Effect::Bullets,
            "ol" => Effect::Numbers,
            "b" | "strong" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Effect::Mark("**"),
            "i" | "em" => Effect::Mark("_"),
            "s" | "strike" | "del" => Effect::Mark("~~"),
            "code" | "tt" | "samp" if self.preformatted == 0 => Effect::Mark("`"),
            "a" => Effect::Link,
            _ => Effect::None,
        }
    }

    fn begin(&mut self, effect: Effect, attributes: &str, tag: Tag) {
        match effect {
            Effect::Hidden => self.hidden += 1,
            Effect::Quote => self.quotes += 1,
            Effect::Preformatted => self.preformatted += 1,
            Effect::Bullets => self.lists.push(None),
            Effect::Numbers => self.lists.push(Some(0)),
            Effect::Mark(mark) => {
                if !self.marks.contains(&mark) {
                    self.marks.push(mark);
                }
            }
            Effect::Link => self.begin_link(attributes),
            Effect::None => {}
        }
        if tag.name() == "li" {
            self.item = Some(match self.lists.last_mut() {
                Some(Some(n)) => {
                    *n += 1;
                    format!("{n}. ")
                }
                _ => "- ".to_owned(),
            });
        }
    }

    fn close(&mut self, tag: Tag) {
        let open = &mut self.open[usize::from(tag.0)];
        if *open == 0 {
            // `</p>` without `<p>` is a paragraph of its own (HTML 13.2.6.4.7).
            if tag.name() == "p" {
                self.margin(tag);
            }
            return;
        }
        while let Some(element) = self.stack.pop() {
            self.open[usize::from(element.tag.0)] -= 1;
            self.end(element.effect);
            if element.tight {
                self.block(1);
            } else {
                self.margin(element.tag);
            }
            if element.tag == tag {
                break;
            }
        }
    }

    fn end(&mut self, effect: Effect) {
        match effect {
            Effect::Hidden => self.hidden -= 1,
            Effect::Quote => self.quotes -= 1,
            Effect::Preformatted => self.preformatted -= 1,
            Effect::Bullets | Effect::Numbers => {
                self.lists.pop();
            }
            Effect::Mark(mark) => {
                // Nested ones of the same kind were counted once; the outermost ends it.
                let others = self.stack.iter().any(|e| e.effect == Effect::Mark(mark));
                if !others {
                    self.marks.retain(|m| *m != mark);
                    self.close_stale_marks();
                }
            }
            Effect::Link => self.end_link(),
            Effect::None => {}
        }
    }

    /// End tags that may be left out (HTML 13.1.2.4).
    fn imply_end(&mut self, tag: Tag) {
        let Some(top) = self.stack.last().map(|e| e.tag) else { return };
        let implied = match tag.name() {
            "p" | "div" | "ul" | "ol" | "table" | "blockquote" => top.name() == "p",
            "li" => matches!(top.name(), "li" | "p") && self.open_named("li"),
            "td" | "th" => matches!(top.name(), "td" | "th"),
            "tr" => matches!(top.name(), "td" | "th" | "tr"),
            "dd" | "dt" => matches!(top.name(), "dd" | "dt"),
            _ => false,
        };
        if implied {
            self.close(top);
            if matches!(tag.name(), "li" | "tr") && self.stack.last().is_some_and(|e| e.tag == tag)
            {
                self.close(tag);
            }
        }
    }

    fn open_named(&self, name: &str) -> bool {
        Tag::named(name).is_some_and(|t| self.open[usize::from(t.0)] > 0)
    }

    /// The space around a block.
    fn margin(&mut self, tag: Tag) {
        if self.hidden > 0 {
            return;
        }
        match tag.name() {
            "p" | "blockquote" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "pre" | "dl"
            | "figure" => self.block(2),
            "ul" | "ol" => self.block(if self.lists.is_empty() { 2 } else { 1 }),
            "table" | "div" | "tr" | "li" | "dt" | "dd" | "section" | "article" | "header"
            | "footer" | "main" | "nav" | "aside" | "center" | "address" | "caption" => {
                self.block(1)
            }
            "td" | "th" => self.cell = true,
            _ => {}
        }
    }

    fn image(&mut self, attributes: &str) {
        if self.hidden > 0 {
            return;
        }
        let alt = attribute(attributes, "alt").unwrap_or("");
        let mut text = String::new();
        push_decoded(&mut text, alt);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() {
            self.word(&format!("[{text}]"));
        }
    }

    fn begin_link(&mut self, attributes: &str) {
        // Links do not nest: a new one ends the last one (HTML 13.2.6.4.7).
        self.end_link();
        let mut target = String::new();
        push_decoded(&mut target, attribute(attributes, "href").unwrap_or("").trim());
        target.retain(|c| !c.is_control() && !c.is_whitespace() && c != '<' && c != '>');
        let lower = target.get(..8.min(target.len())).unwrap_or("").to_ascii_lowercase();
        if ["http://", "https://", "mailto:", "tel:", "xmpp:"].iter().any(|s| lower.starts_with(s))
        {
            self.link = Some(Link { target, start: None });
        }
    }

    fn end_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        let Some(start) = link.start else { return };
        let label =
            self.out.get(start..).unwrap_or("").trim_matches(['*', '_', '~', '`', ' ']).to_owned();
        let shown = link
            .target
            .strip_prefix("mailto:")
            .or(link.target.strip_prefix("tel:"))
            .unwrap_or(&link.target);
        let shown =
            shown.split('?').next().filter(|_| link.target.starts_with("mailto:")).unwrap_or(shown);
        let bare = |t: &str| {
            let t = t.strip_prefix("https://").or(t.strip_prefix("http://")).unwrap_or(t);
            t.trim_end_matches('/').to_ascii_lowercase()
        };
        if label.is_empty() || bare(&label) == bare(shown) {
            return;
        }
        self.close_marks();
        if self.flavour == Flavour::Markdown && !label.contains('\n') {
            self.out.insert(start, '[');
            self.out
                .push_str(&format!("]({})", link.target.replace('(', "%28").replace(')', "%29")));
        } else {
            self.out.push_str(&format!(" <{shown}>"));
        }
    }

    /// Notes where a mail program marks the start of what it quotes.
    fn note_cut(&mut self, attributes: &str) {
        if self.cut.is_some() || self.cut_due.is_some() || attributes.len() < 4 || self.hidden > 0 {
            return;
        }
        self.cut_due = cut::quote_markup(attributes);
        if self.cut_due.is_some() {
            self.block(1);
        }
    }

    fn finish(mut self) -> Rendered {
        while let Some(element) = self.stack.pop() {
            self.end(element.effect);
        }
        self.end_link();
        self.close_marks();
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        Rendered { text: self.out, cut: self.cut }
    }
}
