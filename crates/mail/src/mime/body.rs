//! Chooses which parts are the text and which are files (RFC 2046 section 5.1, RFC 2387).

use mail_parser::{ContentType, HeaderValue, parsers::MessageStream};

use super::{
    decode, filename,
    html::{self, Sanitised},
    model::{AttachedMessage, Attachment},
    parse,
    structure::{Part, Tree},
    twin, values,
};

/// Text and files of a mail.
#[derive(Default)]
pub(crate) struct Bodies {
    /// The plain text, as the author's program wrote it.
    pub(crate) plain: Option<String>,
    /// The HTML, unsanitised.
    pub(crate) html: Option<String>,
    /// The HTML for a page.
    pub(crate) page: Option<Sanitised>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) attached_messages: Vec<AttachedMessage>,
}

/// One piece of the text, in the forms in which it came.
struct Section {
    plain: Option<String>,
    html: Option<String>,
}

struct Reader<'t, 'x> {
    tree: &'t Tree<'x>,
    depth: usize,
    sections: Vec<Section>,
    files: Bodies,
}

/// Reads all parts of a mail that is itself `depth` levels deep in others.
pub(crate) fn read(tree: &Tree<'_>, depth: usize) -> Bodies {
    let mut reader = Reader { tree, depth, sections: Vec::new(), files: Bodies::default() };
    reader.part(0, false);
    let Reader { sections, mut files, .. } = reader;
    let any_html = sections.iter().any(|s| s.html.is_some());
    if any_html {
        files.html = Some(join(&sections, |s| match (&s.html, &s.plain) {
            (Some(html), _) => html.clone(),
            (None, Some(plain)) => twin::text_to_html(plain),
            (None, None) => String::new(),
        }));
        files.page = files.html.as_deref().map(html::sanitise);
    }
    // Where one section has no plain text, the whole is told by its HTML; and so it is where the
    // plain text is there but says nothing.
    if !sections.is_empty() && sections.iter().all(|s| s.plain.is_some()) {
        let plain = join(&sections, |s| s.plain.clone().unwrap_or_default());
        files.plain = Some(plain).filter(|p| !any_html || !p.trim().is_empty());
    }
    files
}

fn join(sections: &[Section], form: impl Fn(&Section) -> String) -> String {
    let mut out = String::new();
    for section in sections {
        if !out.is_empty() {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            out.push('\n');
        }
        out.push_str(&form(section));
    }
    out
}

impl Reader<'_, '_> {
    /// Reads the part at `index`. The recursion is as deep as the structure, which was checked.
    fn part(&mut self, index: usize, related: bool) {
        let tree = self.tree;
        let part = &tree.parts[index];
        if part.children.is_empty() {
            return self.leaf(part, related);
        }
        if part.is_type("multipart", "alternative") {
            return self.alternative(part);
        }
        let is_related = part.is_type("multipart", "related");
        for (i, &child) in part.children.iter().enumerate() {
            self.part(child, is_related && i > 0);
        }
    }

    /// The same content in several forms: the plain one and the richest one are kept as text,
    /// files inside any of them stay files.
    fn alternative(&mut self, part: &Part<'_>) {
        let before = std::mem::take(&mut self.sections);
        let mut merged = Section { plain: None, html: None };
        for &child in &part.children {
            self.part(child, false);
            for section in std::mem::take(&mut self.sections) {
                if section.plain.as_deref().is_some_and(|p| !p.trim().is_empty()) {
                    append(&mut merged.plain, section.plain);
                }
                append(&mut merged.html, section.html);
            }
        }
        self.sections = before;
        if merged.plain.is_some() || merged.html.is_some() {
            self.sections.push(merged);
        }
    }

    fn leaf(&mut self, part: &Part<'_>, related: bool) {
        let disposition = part.value("Content-Disposition").and_then(disposition);
        let attached =
            disposition.as_ref().is_some_and(|d| !d.c_type.eq_ignore_ascii_case("inline"));
        let named = file_name(part, disposition.as_ref());
        let report =
            part.is_type("text", "rfc822-headers") || part.is_type("message", "delivery-status");
        // A multipart in which no part was found is shown as the text that it is.
        let broken = part.is_main("multipart");
        let plain = part.is_type("text", "plain") || broken;
        if !attached && !report && (broken || named.is_none()) && !related && plain {
            self.sections.push(Section { plain: Some(decode::text(part)), html: None });
        } else if !attached && named.is_none() && !related && part.is_type("text", "html") {
            self.sections.push(Section { plain: None, html: Some(decode::text(part)) });
        } else {
            self.file(part, attached, named);
        }
    }

    fn file(&mut self, part: &Part<'_>, attached: bool, named: Option<String>) {
        let octets = decode::octets(part);
        let media_type = part
            .content_type
            .as_ref()
            .and_then(|t| {
                filename::safe_media_type(&format!("{}/{}", t.c_type, t.c_subtype.as_deref()?))
            })
            .unwrap_or_else(|| "application/octet-stream".to_owned());
        let content_id = part.value("Content-ID").and_then(|v| values::ids(v, 1).pop());
        // Some programs attach a mail under no better type than its extension.
        let extension = named.as_deref().and_then(|n| n.rsplit_once('.')).map_or("", |(_, e)| e);
        let is_mail = matches!(media_type.as_str(), "message/rfc822" | "message/global")
            || (media_type == "application/octet-stream" && extension.eq_ignore_ascii_case("eml"));
        let message = if is_mail { parse::attached(&octets, self.depth + 1) } else { None };
        let name = named.unwrap_or_else(|| {
            let stem =
                message.as_ref().map(|m| m.subject.trim()).filter(|s| !s.is_empty()).unwrap_or("");
            let stem = if stem.is_empty() { "attachment" } else { stem };
            format!("{stem}{}", filename::extension(&media_type))
        });
        let name = filename::safe_file_name(&name);
        let name = if message.is_some() && !name.to_ascii_lowercase().ends_with(".eml") {
            filename::safe_file_name(&format!("{name}.eml"))
        } else {
            name
        };
        self.files.attachments.push(Attachment {
            name,
            inline: !attached && content_id.is_some() && media_type.starts_with("image/"),
            media_type,
            content_id,
            data: octets.into_owned().into(),
        });
        if let Some(message) = message {
            let attachment = self.files.attachments.len() - 1;
            self.files
                .attached_messages
                .push(AttachedMessage { attachment, message: Box::new(message) });
        }
    }
}

fn append(to: &mut Option<String>, more: Option<String>) {
    let Some(more) = more else { return };
    match to {
        Some(text) => {
            text.push('\n');
            text.push_str(&more);
        }
        None => *to = Some(more),
    }
}

fn disposition(value: &[u8]) -> Option<ContentType<'_>> {
    match MessageStream::new(value).parse_content_type() {
        HeaderValue::ContentType(t) => Some(t),
        _ => None,
    }
}

/// The name that the sender gave, from either field (RFC 2183 section 2.3), decoded.
fn file_name(part: &Part<'_>, disposition: Option<&ContentType<'_>>) -> Option<String> {
    let name =
        disposition.and_then(|d| d.attribute("filename")).or_else(|| part.parameter("name"))?;
    let name = if name.contains("=?") {
        // RFC 2047 section 5 forbids encoded words in parameters; many programs write them.
        values::text(format!("{}\r\n", name.replace(['\r', '\n'], "")).as_bytes())
    } else {
        name.to_owned()
    };
    (!name.trim().is_empty()).then_some(name)
}
