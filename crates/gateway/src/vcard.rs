//! Contacts from vCards, versions 3.0 (RFC 2426) and 4.0 (RFC 6350): names, email addresses and
//! XMPP addresses. Everything else is passed over unread, so that a photo costs nothing.

use percent_encoding::percent_decode;

/// Cards of one file.
pub(crate) const MOST: usize = 10_000;
/// Octets of a value that is read. Photos are longer, and are not read.
const VALUE: usize = 10_000;
/// Addresses of one card and kind.
const ADDRESSES: usize = 20;

/// Why a file is refused as a whole.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFile {
    #[error("This is no vCard file: there is no line BEGIN:VCARD")]
    NoCard,
    #[error("The file has more than {MOST} cards; send it in parts")]
    TooMany,
}

/// One card of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it begins, from 1.
    pub(crate) line: usize,
    /// What it says, or why it cannot be taken.
    pub(crate) card: Result<Card, String>,
}

/// Whom a card is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) name: String,
    /// The preferred one first.
    pub(crate) emails: Vec<String>,
    /// `xmpp:bob@chat.test`.
    pub(crate) ims: Vec<String>,
}

/// Whether a file wants to be read as vCards.
pub(crate) fn looks_like(octets: &[u8]) -> bool {
    starts_with(without_mark(octets).trim_ascii_start(), "BEGIN:VCARD")
}

/// Reads a file.
pub(crate) fn read(octets: &[u8]) -> Result<Vec<Entry>, BadFile> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut open: Option<Open> = None;
    for (number, line) in without_mark(octets).split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii_end().eq_ignore_ascii_case(b"BEGIN:VCARD") {
            entries.extend(open.take().map(Open::unfinished));
            if entries.len() >= MOST {
                return Err(BadFile::TooMany);
            }
            open = Some(Open::at(number + 1));
        } else if line.trim_ascii_end().eq_ignore_ascii_case(b"END:VCARD") {
            entries.extend(open.take().map(Open::finished));
        } else if let Some(open) = &mut open {
            open.line(line);
        }
    }
    entries.extend(open.map(Open::unfinished));
    if entries.is_empty() { Err(BadFile::NoCard) } else { Ok(entries) }
}

fn without_mark(octets: &[u8]) -> &[u8] {
    octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets)
}

fn starts_with(line: &[u8], start: &str) -> bool {
    line.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

/// The properties that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Version,
    FormattedName,
    Name,
    Email,
    Im,
}

/// A property that is read, while its continuation lines may follow.
struct Property {
    kind: Kind,
    /// From the parameters on.
    rest: Vec<u8>,
}

/// A card of which the end has not come.
struct Open {
    line: usize,
    last: Option<Property>,
    version: Option<String>,
    formatted: String,
    structured: String,
    /// With how much each is preferred, less is more.
    emails: Vec<(u32, String)>,
    ims: Vec<(u32, String)>,
    wrong: Option<String>,
}

impl Open {
    fn at(line: usize) -> Self {
        Self {
            line,
            last: None,
            version: None,
            formatted: String::new(),
            structured: String::new(),
            emails: Vec::new(),
            ims: Vec::new(),
            wrong: None,
        }
    }

    fn unfinished(self) -> Entry {
        Entry { line: self.line, card: Err("it has no line END:VCARD".to_owned()) }
    }

    fn finished(mut self) -> Entry {
        self.take_last();
        Entry { line: self.line, card: self.card() }
    }

    fn card(mut self) -> Result<Card, String> {
        match self.version.as_deref() {
            Some("3.0" | "4.0") => {}
            Some("2.1") => {
                return Err("it is a vCard 2.1, which is not read; export it as 3.0 or 4.0".into());
            }
            Some(_) => return Err("it is of no version that is read: 3.0 and 4.0 are".into()),
            None => return Err("it does not say its version: 3.0 and 4.0 are read".into()),
        }
        if let Some(why) = self.wrong {
            return Err(why);
        }
        if self.emails.is_empty() {
            return Err("it has no email address".into());
        }
        if self.emails.len().max(self.ims.len()) > ADDRESSES {
            return Err(format!("it has more than {ADDRESSES} addresses"));
        }
        self.emails.sort_by_key(|(pref, _)| *pref);
        self.ims.sort_by_key(|(pref, _)| *pref);
        let name = if self.formatted.is_empty() { self.structured } else { self.formatted };
        let texts = |all: Vec<(u32, String)>| all.into_iter().map(|(_, text)| text).collect();
        Ok(Card { name, emails: texts(self.emails), ims: texts(self.ims) })
    }

    /// One line of the file; what begins with white space goes on with the one before (RFC 6350
    /// section 3.2).
    fn line(&mut self, line: &[u8]) {
        if let Some(more) = line.strip_prefix(b" ").or_else(|| line.strip_prefix(b"\t")) {
            if let Some(last) = &mut self.last {
                // One octet beyond the bound is enough to see that it is too long.
                let room = (VALUE + 1).saturating_sub(last.rest.len());
                last.rest.extend_from_slice(&more[..more.len().min(room)]);
            }
            return;
        }
        self.take_last();
        let end = line.iter().position(|b| matches!(b, b':' | b';')).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        // A group in front only says what belongs together (section 3.3).
        let name = name.rsplit(|b| *b == b'.').next().unwrap_or(name);
        let kind = match name.to_ascii_uppercase().as_slice() {
            b"VERSION" => Kind::Version,
            b"FN" => Kind::FormattedName,
            b"N" => Kind::Name,
            b"EMAIL" => Kind::Email,
            b"IMPP" => Kind::Im,
            _ => return,
        };
        let rest = rest[..rest.len().min(VALUE + 1)].to_vec();
        self.last = Some(Property { kind, rest });
    }

    /// Takes in the property whose lines have come to their end.
    fn take_last(&mut self) {
        let Some(property) = self.last.take() else { return };
        match value_of(&property.rest) {
            Ok((params, value)) => self.take(property.kind, &params, value),
            Err(why) => self.wrong = Some(why.to_owned()),
        }
    }

    fn take(&mut self, kind: Kind, params: &Params, value: &str) {
        match kind {
            Kind::Version => self.version = Some(value.trim().to_owned()),
            Kind::FormattedName if self.formatted.is_empty() => self.formatted = plain(value),
            Kind::FormattedName => {}
            // Section 6.2.2: family name; given names; …
            Kind::Name => {
                let mut parts = parts(value).into_iter();
                let family = parts.next().unwrap_or_default();
                let given = parts.next().unwrap_or_default();
                self.structured = format!("{given} {family}").trim().to_owned();
            }
            Kind::Email => {
                let email = plain(value).trim().to_owned();
                let known = self.emails.iter().any(|(_, e)| *e == email);
                if !email.is_empty() && !known && self.emails.len() <= ADDRESSES {
                    self.emails.push((params.pref, email));
                }
            }
            Kind::Im => {
                if let Some(im) = xmpp(value)
                    && self.ims.len() <= ADDRESSES
                {
                    self.ims.push((params.pref, im));
                }
            }
        }
    }
}

/// `xmpp:bob@chat.test` of an XMPP address (RFC 5122), without what it asks to do there; other
/// networks are not ours.
fn xmpp(value: &str) -> Option<String> {
    let value = plain(value);
    let (scheme, address) = value.trim().split_once(':')?;
    let address = address.split('?').next().unwrap_or(address);
    let address = percent_decode(address.as_bytes()).decode_utf8_lossy();
    scheme.eq_ignore_ascii_case("xmpp").then(|| format!("xmpp:{address}"))
}

struct Params {
    /// 1 to 100 as in section 5.3; 101 if nothing is said.
    pref: u32,
}

/// Takes parameters and value apart: the first colon outside of quotes parts them.
fn value_of(rest: &[u8]) -> Result<(Params, &str), &'static str> {
    if rest.len() > VALUE {
        return Err("a name or address in it is too long");
    }
    let rest = std::str::from_utf8(rest).map_err(|_| "it is not UTF-8")?;
    let mut quoted = false;
    let colon = rest.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == ':' && !quoted
    });
    let (at, _) = colon.ok_or("a name or address in it has no value")?;
    let (params, value) = (&rest[..at], &rest[at + 1..]);
    let mut pref = 101;
    for param in params.split(';') {
        let (name, of) = param.split_once('=').unwrap_or(("TYPE", param));
        match name.to_ascii_uppercase().as_str() {
            "ENCODING" => return Err("a name or address in it is encoded; export it as vCard 4.0"),
            "PREF" => pref = of.trim_matches('"').parse().unwrap_or(101),
            // RFC 2426 section 3.3.2.
            "TYPE" if of.split([',', '"']).any(|t| t.eq_ignore_ascii_case("pref")) => pref = 1,
            _ => {}
        }
    }
    Ok((Params { pref }, value))
}

/// The components of a structured value.
fn parts(value: &str) -> Vec<String> {
    let (mut all, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in value.char_indices() {
        if c == ';' && !escaped {
            all.push(plain(&value[start..at]));
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    all.push(plain(&value[start..]));
    all
}

/// A text without its escapes (section 3.4).
fn plain(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "vcard_tests.rs"]
mod tests;
