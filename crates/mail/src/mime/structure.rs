//! Finds fields and parts by their positions, in one pass and within bounds (RFC 5322, RFC 2046).
//!
//! Delimiters are recognised at line starts only (RFC 2046 section 5.1.1), so that what is
//! checked when a mail arrives and what is read later is the same tree.

use std::collections::HashMap;

use mail_parser::{ContentType, HeaderValue, parsers::MessageStream};
use memchr::{memchr, memmem};

use super::refusal::Refusal;

/// Bounds; each is several times what real mail needs.
pub(crate) const MAX_HEADER: usize = 256 * 1024;
/// Octets of one field with its folded lines.
pub(crate) const MAX_FIELD: usize = 64 * 1024;
/// Fields of the mail's own header.
pub(crate) const MAX_FIELDS: usize = 1_000;
/// Fields of one part's header.
const MAX_PART_FIELDS: usize = 100;
/// Parts of one mail.
pub(crate) const MAX_PARTS: usize = 2_000;
/// Multiparts within multiparts.
pub(crate) const MAX_DEPTH: usize = 50;
/// Parameters of one Content-Type or Content-Disposition, RFC 2231 sections included.
pub(crate) const MAX_PARAMETERS: usize = 100;
/// RFC 2046 section 5.1.1 allows 70 octets; some senders take more.
const MAX_BOUNDARY: usize = 200;

/// One header field, undecoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'x> {
    /// The name, without colon and without blanks before the colon.
    pub(crate) name: &'x [u8],
    /// What follows the colon, with folded lines and the last line end.
    pub(crate) value: &'x [u8],
}

impl Field<'_> {
    /// Whether this is the field called `name`, in whatever case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The mail itself or one part of it.
#[derive(Debug)]
pub(crate) struct Part<'x> {
    /// The fields in order.
    pub(crate) fields: Vec<Field<'x>>,
    /// The parsed Content-Type, if there is one.
    pub(crate) content_type: Option<ContentType<'x>>,
    /// The undecoded content.
    pub(crate) body: &'x [u8],
    /// Indices of the parts in it; empty for a leaf.
    pub(crate) children: Vec<usize>,
}

impl<'x> Part<'x> {
    /// The undecoded value of the first field called `name`.
    pub(crate) fn value(&self, name: &str) -> Option<&'x [u8]> {
        self.fields.iter().find(|f| f.is(name)).map(|f| f.value)
    }

    /// The undecoded values of all fields called `name`.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'x [u8]> + 'a {
        self.fields.iter().filter(move |f| f.is(name)).map(|f| f.value)
    }

    /// Whether the media type is `main/sub`; a part without one is text/plain (RFC 2045 section 5.2).
    pub(crate) fn is_type(&self, main: &str, sub: &str) -> bool {
        match &self.content_type {
            Some(t) => {
                t.c_type.eq_ignore_ascii_case(main)
                    && t.c_subtype.as_deref().unwrap_or("").eq_ignore_ascii_case(sub)
            }
            None => main == "text" && sub == "plain",
        }
    }

    /// Whether the media type's first half is `main`.
    pub(crate) fn is_main(&self, main: &str) -> bool {
        self.content_type.as_ref().map_or(main == "text", |t| t.c_type.eq_ignore_ascii_case(main))
    }

    /// A parameter of the Content-Type.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.content_type.as_ref()?.attribute(name)
    }
}

/// A mail's parts; the first is the mail itself.
#[derive(Debug)]
pub(crate) struct Tree<'x> {
    pub(crate) parts: Vec<Part<'x>>,
}

impl<'x> Tree<'x> {
    /// The mail itself.
    pub(crate) fn root(&self) -> &Part<'x> {
        &self.parts[0]
    }
}

/// Takes a mail apart.
pub(crate) fn scan(raw: &[u8]) -> Result<Tree<'_>, Refusal> {
    let (fields, start) = root_fields(raw)?;
    let mut scanner =
        Scanner { raw, parts: Vec::new(), open: Vec::new(), by_boundary: HashMap::new() };
    scanner.begin(fields, start)?;
    scanner.run(start)?;
    Ok(Tree { parts: scanner.parts })
}

/// The mail itself without its parts, for those who only look at its fields.
pub(crate) fn header(raw: &[u8]) -> Result<Part<'_>, Refusal> {
    let (fields, start) = root_fields(raw)?;
    Ok(Part { fields, content_type: None, body: &raw[start..], children: Vec::new() })
}

/// A multipart whose end was not seen yet.
struct Open {
    part: usize,
    boundary: Vec<u8>,
    // The leaf or nested multipart that is being read, with the start of its body.
    child: Option<(usize, usize)>,
}

struct Scanner<'x> {
    raw: &'x [u8],
    parts: Vec<Part<'x>>,
    open: Vec<Open>,
    by_boundary: HashMap<Vec<u8>, usize>,
}

impl<'x> Scanner<'x> {
    /// Adds a part whose body starts at `start`; a multipart is opened.
    fn begin(&mut self, fields: Vec<Field<'x>>, start: usize) -> Result<(), Refusal> {
        if self.parts.len() >= MAX_PARTS {
            return Err(Refusal::Complexity("it has more than 2,000 parts"));
        }
        let content_type = content_headers(&fields)?;
        let index = self.parts.len();
        if let Some(parent) = self.open.last_mut() {
            parent.child = Some((index, start));
            self.parts[parent.part].children.push(index);
        }
        let boundary = content_type
            .as_ref()
            .filter(|t| t.c_type.eq_ignore_ascii_case("multipart"))
            .and_then(|t| t.attribute("boundary"))
            .map(|b| b.trim_end().as_bytes().to_vec())
            .filter(|b| !b.is_empty());
        if boundary.is_some() {
            no_encoded_multipart(&fields)?;
        }
        let body = &self.raw[start..];
        self.parts.push(Part { fields, content_type, body, children: Vec::new() });
        if let Some(boundary) = boundary {
            if boundary.len() > MAX_BOUNDARY {
                return Err(Refusal::Structure(
                    "a multipart boundary is longer than 200 characters",
                ));
            }
            if self.open.len() >= MAX_DEPTH {
                return Err(Refusal::Complexity("its parts are nested more than 50 deep"));
            }
            if self.by_boundary.insert(boundary.clone(), self.open.len()).is_some() {
                return Err(Refusal::Structure("two nested multiparts have the same boundary"));
            }
            self.open.push(Open { part: index, boundary, child: None });
        }
        Ok(())
    }

    /// Walks over all delimiter lines from `at` on.
    fn run(&mut self, mut at: usize) -> Result<(), Refusal> {
        let finder = memmem::Finder::new(b"\n--");
        while !self.open.is_empty() {
            // The line before `at` ended in LF, which is where a delimiter at `at` is found.
            let from = at.saturating_sub(1);
            let Some(hit) = finder.find(&self.raw[from..]) else { break };
            let line = from + hit + 1;
            let end = memchr(b'\n', &self.raw[line..]).map_or(self.raw.len(), |n| line + n + 1);
            let Some((depth, last)) = self.delimiter(&self.raw[line + 2..end]) else {
                at = end;
                continue;
            };
            self.close_above(depth, line);
            if last {
                self.pop();
                at = end;
            } else {
                let (fields, start) = part_fields(self.raw, end)?;
                self.begin(fields, start)?;
                at = start.max(end);
            }
        }
        let end = self.raw.len();
        self.close_above(0, end);
        Ok(())
    }

    /// Which open multipart a line after its two hyphens delimits, and whether it ends it.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        if line.len() > MAX_BOUNDARY + 64 {
            return None;
        }
        let line = line.trim_ascii_end();
        if let Some(&depth) = self.by_boundary.get(line) {
            return Some((depth, false));
        }
        let &depth = self.by_boundary.get(line.strip_suffix(b"--")?)?;
        Some((depth, true))
    }

    /// Ends what is open inside the multipart at `depth` before the line that starts at `line`.
    fn close_above(&mut self, depth: usize, line: usize) {
        let mut end = line;
        if end < self.raw.len() {
            // The line end before a delimiter belongs to it (RFC 2046 section 5.1.1).
            end = end.saturating_sub(1);
            if end > 0 && self.raw[end - 1] == b'\r' {
                end -= 1;
            }
        }
        while self.open.len() > depth + 1 {
            self.end_child(end);
            self.pop();
        }
        self.end_child(end);
    }

    fn end_child(&mut self, end: usize) {
        if let Some(open) = self.open.last_mut()
            && let Some((child, start)) = open.child.take()
        {
            self.parts[child].body = &self.raw[start.min(end)..end];
        }
    }

    fn pop(&mut self) {
        if let Some(open) = self.open.pop() {
            self.by_boundary.remove(&open.boundary);
        }
    }
}

/// Fields of the mail's own header: strict, since filters and readers must see the same ones.
fn root_fields(raw: &[u8]) -> Result<(Vec<Field<'_>>, usize), Refusal> {
    let mut fields = Vec::with_capacity(24);
    let mut at = 0;
    loop {
        let line = at;
        let Some(n) = memchr(b'\n', &raw[at..raw.len().min(at + MAX_HEADER + 1)]) else {
            if at == raw.len() && !fields.is_empty() {
                return Ok((fields, at));
            }
            return Err(if raw.len() - at > MAX_HEADER {
                Refusal::HeaderSize("it is longer than 256 KiB")
            } else {
                Refusal::Header("its last line has no end")
            });
        };
        at += n + 1;
        let text = &raw[line..at];
        let Some(content) = text.strip_suffix(b"\r\n") else {
            return Err(Refusal::Header("a line ends in LF without CR"));
        };
        if memchr(b'\r', content).is_some() {
            return Err(Refusal::Header("a line holds a CR that does not end it"));
        }
        if memchr(0, content).is_some() {
            return Err(Refusal::Header("it holds a NUL character"));
        }
        if content.is_empty() {
            return if fields.is_empty() {
                Err(Refusal::Header("there is none"))
            } else {
                Ok((fields, at))
            };
        }
        if at > MAX_HEADER {
            return Err(Refusal::HeaderSize("it is longer than 256 KiB"));
        }
        if matches!(content[0], b' ' | b'\t') {
            let Some(field) = fields.last_mut() else {
                return Err(Refusal::Header("it starts with a continued line"));
            };
            extend(raw, field, at)?;
        } else {
            let Some(field) = field(raw, line, at) else {
                return Err(Refusal::Header("a line is not a field"));
            };
            if field.value.len() > MAX_FIELD {
                return Err(Refusal::HeaderSize("a field is longer than 64 KiB"));
            }
            if fields.len() >= MAX_FIELDS {
                return Err(Refusal::HeaderSize("it has more than 1,000 fields"));
            }
            fields.push(field);
        }
    }
}

/// Fields of a part: forgiving, up to the first line that is none.
fn part_fields(raw: &[u8], start: usize) -> Result<(Vec<Field<'_>>, usize), Refusal> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut at = start;
    while at < raw.len() {
        let line = at;
        let end = memchr(b'\n', &raw[at..]).map_or(raw.len(), |n| at + n + 1);
        let content = raw[line..end].trim_ascii_end();
        if content.is_empty() {
            return Ok((fields, end));
        }
        if matches!(raw[line], b' ' | b'\t') && !fields.is_empty() {
            if let Some(last) = fields.last_mut() {
                extend(raw, last, end)?;
            }
        } else if content.starts_with(b"--") {
            return Ok((fields, line));
        } else if let Some(field) = field(raw, line, end) {
            if field.value.len() > MAX_FIELD {
                return Err(Refusal::HeaderSize("a field of a part is longer than 64 KiB"));
            }
            if fields.len() >= MAX_PART_FIELDS {
                return Err(Refusal::HeaderSize("a part has more than 100 fields"));
            }
            fields.push(field);
        } else {
            return Ok((fields, line));
        }
        at = end;
    }
    Ok((fields, at))
}

/// Reads `name: value` from the line `start..end`.
fn field(raw: &[u8], start: usize, end: usize) -> Option<Field<'_>> {
    let line = &raw[start..end];
    let colon = memchr(b':', line)?;
    // RFC 5322 section 4.5 knows blanks before the colon; the name is the same then.
    let name = line[..colon].trim_ascii_end();
    let printable = !name.is_empty() && name.iter().all(|b| (33..=126).contains(b));
    printable.then(|| Field { name, value: &line[colon + 1..] })
}

/// Adds a folded line that ends at `end` to a field.
fn extend<'x>(raw: &'x [u8], field: &mut Field<'x>, end: usize) -> Result<(), Refusal> {
    let start = field.value.as_ptr().addr() - raw.as_ptr().addr();
    field.value = &raw[start..end];
    if field.value.len() > MAX_FIELD {
        return Err(Refusal::HeaderSize("a field is longer than 64 KiB"));
    }
    Ok(())
}

/// Reads the Content-Type, and refuses contradictory Content- fields (RFC 2045 section 3).
fn content_headers<'x>(fields: &[Field<'x>]) -> Result<Option<ContentType<'x>>, Refusal> {
    let mut content_type = None;
    let (mut encodings, mut dispositions) = (0, 0);
    for field in fields {
        if field.is("Content-Type") {
            if content_type.is_some() {
                return Err(Refusal::Duplicate("Content-Type"));
            }
            few_parameters(field.value)?;
            content_type = match MessageStream::new(field.value).parse_content_type() {
                HeaderValue::ContentType(t) => Some(t),
                _ => None,
            };
            let boundaries = content_type
                .iter()
                .flat_map(|t| t.attributes.iter().flatten())
                .filter(|a| a.name.eq_ignore_ascii_case("boundary"))
                .count();
            if boundaries > 1 {
                return Err(Refusal::Structure("a part names two boundaries"));
            }
        } else if field.is("Content-Transfer-Encoding") {
            encodings += 1;
            if encodings > 1 {
                return Err(Refusal::Duplicate("Content-Transfer-Encoding"));
            }
        } else if field.is("Content-Disposition") {
            few_parameters(field.value)?;
            dispositions += 1;
            if dispositions > 1 {
                return Err(Refusal::Duplicate("Content-Disposition"));
            }
        }
    }
    Ok(content_type)
}

fn few_parameters(value: &[u8]) -> Result<(), Refusal> {
    if memchr::memchr_iter(b';', value).take(MAX_PARAMETERS + 1).count() > MAX_PARAMETERS {
        return Err(Refusal::Complexity("a part has more than 100 parameters"));
    }
    Ok(())
}

/// RFC 2045 section 6.4: a multipart is never encoded as a whole.
fn no_encoded_multipart(fields: &[Field<'_>]) -> Result<(), Refusal> {
    let encoded = fields.iter().filter(|f| f.is("Content-Transfer-Encoding")).any(|f| {
        let value = f.value.trim_ascii();
        value.eq_ignore_ascii_case(b"base64") || value.eq_ignore_ascii_case(b"quoted-printable")
    });
    if encoded {
        return Err(Refusal::Structure("a multipart has a transfer encoding of its own"));
    }
    Ok(())
}
