//! Cuts an XML stream (RFC 6120 section 4) into its stanzas, without building trees: the client
//! shares the machine with what it measures.

use std::ops::Range;

/// One part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The stream's opening tag.
    Open(Range<usize>),
    /// A whole stanza.
    Stanza(Range<usize>),
    /// The stream's closing tag.
    Close,
}

/// Octets as they came, and how far they were understood.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    buffer: Vec<u8>,
    /// Where the stanza begins that is being read.
    start: usize,
    /// How far it was looked at; always between two tags or within text.
    at: usize,
    /// Open elements within the stream.
    depth: usize,
}

impl Scanner {
    /// Takes more octets; ranges given out before mean nothing any more.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.at -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// The octets of a piece.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// The next piece, if it is there whole.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        loop {
            let open = self.at + memchr::memchr(b'<', &self.buffer[self.at..])?;
            let end = open + tag_length(&self.buffer[open..])?;
            let tag = &self.buffer[open..end];
            if self.depth == 0 {
                // Spaces between stanzas keep connections alive (RFC 6120 section 4.6.1).
                self.start = open;
            }
            self.at = end;
            let begin = self.start;
            if tag.starts_with(b"<?") {
                self.start = end;
            } else if tag.starts_with(b"<stream:stream") {
                self.start = end;
                return Some(Piece::Open(begin..end));
            } else if tag.starts_with(b"</") {
                if self.depth == 0 {
                    self.start = end;
                    return Some(Piece::Close);
                }
                self.depth -= 1;
            } else if !tag.ends_with(b"/>") {
                self.depth += 1;
            }
            if self.depth == 0 && self.start < end {
                self.start = end;
                return Some(Piece::Stanza(begin..end));
            }
        }
    }
}

/// The length of the tag that begins here; a `>` in a quoted value does not end it.
fn tag_length(octets: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (i, &c) in octets.iter().enumerate() {
        match (quote, c) {
            (None, b'>') => return Some(i + 1),
            (None, b'"' | b'\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

/// The value of an attribute of the first tag, as it is written.
pub(crate) fn attribute<'a>(stanza: &'a [u8], name: &str) -> Option<&'a str> {
    let tag = &stanza[..tag_length(stanza)?];
    let mut from = 0;
    loop {
        let at = from + memchr::memmem::find(&tag[from..], name.as_bytes())?;
        from = at + name.len();
        let quoted = tag.get(from..from + 2).filter(|q| matches!(*q, b"='" | b"=\""));
        // `id` is also the end of other names.
        let (Some(quoted), Some(b' ')) = (quoted, at.checked_sub(1).map(|before| tag[before]))
        else {
            continue;
        };
        let value = &tag[from + 2..];
        let end = memchr::memchr(quoted[1], value)?;
        return std::str::from_utf8(&value[..end]).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "<?xml version='1.0'?><stream:stream id='s1' xmlns='jabber:client'> \
        <message xml:id='no' id=\"m>1\" from='a@b'><body>1 &lt; 2</body><x/></message>\n<iq/></stream:stream>";

    fn pieces(chunk: usize) -> Vec<String> {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for octets in STREAM.as_bytes().chunks(chunk) {
            scanner.feed(octets);
            while let Some(piece) = scanner.next() {
                found.push(match piece {
                    Piece::Open(r) => {
                        format!("open {}", attribute(scanner.bytes(r), "id").unwrap_or("?"))
                    }
                    Piece::Stanza(r) => String::from_utf8_lossy(scanner.bytes(r)).into_owned(),
                    Piece::Close => "close".into(),
                });
            }
        }
        found
    }

    #[test]
    fn stanzas_are_found_however_they_arrive() {
        let whole = pieces(STREAM.len());
        assert_eq!(whole.len(), 4, "{whole:?}");
        assert_eq!(
            (whole[0].as_str(), whole[2].as_str(), whole[3].as_str()),
            ("open s1", "<iq/>", "close")
        );
        assert_eq!(attribute(whole[1].as_bytes(), "id"), Some("m>1"));
        assert_eq!(attribute(whole[1].as_bytes(), "to"), None);
        for chunk in [1, 2, 7, 64] {
            assert_eq!(pieces(chunk), whole);
        }
    }
}
