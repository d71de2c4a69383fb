//! What the server says: a code, an enhanced code, and words that cannot break the protocol.

/// Longest text in one reply line: 512 octets (RFC 5321 section 4.5.3.1.5) less the codes.
const LINE_TEXT_MAX: usize = 480;
/// Longest text of a whole reply; what a remote host of ours says is cut here.
const TEXT_MAX: usize = 4096;

/// One reply to one command (RFC 5321 section 4.2), with the enhanced code of RFC 3463.
///
/// A reply with code 421 ends the session after it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: String,
    text: String,
}

impl Reply {
    /// A reply of three parts.
    ///
    /// `code` is clamped to 200..=599; `enhanced` looks like `5.7.1`, and one that is malformed or
    /// of another class than `code` becomes `x.0.0` of the right class. The text may have several
    /// lines; carriage returns, control characters and anything beyond ASCII are replaced.
    #[must_use]
    pub fn new(code: u16, enhanced: &str, text: &str) -> Self {
        let code = code.clamp(200, 599);
        let enhanced = if fits(enhanced, code) {
            enhanced.to_owned()
        } else {
            // RFC 2034 section 4: the classes of both codes agree, and 3yz has none.
            match code / 100 {
                3 => String::new(),
                class => format!("{class}.0.0"),
            }
        };
        Self { code, enhanced, text: clean(text) }
    }

    /// `250 2.0.0`: taken, and everything that has to be is committed.
    #[must_use]
    pub fn ok(text: &str) -> Self {
        Self::new(250, "2.0.0", text)
    }

    /// `451` with the given `4.y.z`: not now, a later try may succeed.
    #[must_use]
    pub fn temp(enhanced: &str, text: &str) -> Self {
        Self::new(451, enhanced, text)
    }

    /// `550` with the given `5.y.z`: not like this, and not later either.
    #[must_use]
    pub fn perm(enhanced: &str, text: &str) -> Self {
        Self::new(550, enhanced, text)
    }

    /// A reply without enhanced code, as greetings, EHLO and 3yz have it.
    pub(crate) fn bare(code: u16, text: &str) -> Self {
        Self { code, enhanced: String::new(), text: clean(text) }
    }

    /// The same words under another code; the enhanced code keeps its class only if it fits.
    #[must_use]
    pub fn with_code(self, code: u16) -> Self {
        Self::new(code, &self.enhanced, &self.text)
    }

    /// The three-digit code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced code, empty if there is none.
    #[must_use]
    pub fn enhanced(&self) -> &str {
        &self.enhanced
    }

    /// The words, lines separated by LF.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the command succeeded (2yz or 3yz).
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// Appends the reply as it goes over the wire.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').flat_map(pieces).peekable();
        while let Some(line) = lines.next() {
            let more = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(self.code.to_string().as_bytes());
            out.push(more as u8);
            if !self.enhanced.is_empty() {
                out.extend_from_slice(self.enhanced.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text.replace('\n', " ");
        match self.enhanced.as_str() {
            "" => write!(f, "{} {text}", self.code),
            enhanced => write!(f, "{} {enhanced} {text}", self.code),
        }
    }
}

/// Whether an enhanced code is well formed and of the class of `code`.
fn fits(enhanced: &str, code: u16) -> bool {
    let mut parts = enhanced.split('.');
    let class = parts.next().and_then(|p| p.parse::<u16>().ok());
    let rest =
        parts.filter(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
    class == Some(code / 100) && rest.count() == 2 && enhanced.matches('.').count() == 2
}

/// Printable ASCII and line feeds, nothing else.
fn clean(text: &str) -> String {
    text.trim_end()
        .chars()
        .filter(|c| *c != '\r')
        .map(|c| if c == '\n' || c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .take(TEXT_MAX)
        .collect()
}

/// Cuts one line into pieces that fit a reply line; an empty line is one empty piece.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let count = line.len().div_ceil(LINE_TEXT_MAX).max(1);
    // The text is ASCII (see `clean`), so that every index is a character boundary.
    (0..count).map(move |i| &line[i * LINE_TEXT_MAX..line.len().min((i + 1) * LINE_TEXT_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn several_lines_are_continued() {
        let reply = Reply::perm("5.7.1", "one\ntwo");
        assert_eq!(wire(&reply), "550-5.7.1 one\r\n550 5.7.1 two\r\n");
    }

    #[test]
    fn words_cannot_start_a_reply_of_their_own() {
        let reply = Reply::perm("5.1.1", "no\r\n250 2.0.0 yes\0\u{e9}");
        assert_eq!(wire(&reply), "550-5.1.1 no\r\n550 5.1.1 250 2.0.0 yes??\r\n");
    }

    #[test]
    fn both_codes_are_of_one_class() {
        assert_eq!(Reply::new(451, "5.1.1", "x").enhanced(), "4.0.0");
        assert_eq!(Reply::new(550, "5.x", "x").enhanced(), "5.0.0");
        assert_eq!(Reply::temp("4.3.1", "x").with_code(452).to_string(), "452 4.3.1 x");
    }

    #[test]
    fn long_lines_are_broken() {
        let text = "a".repeat(1000);
        let out = wire(&Reply::ok(&text));
        assert!(out.lines().all(|l| l.len() <= 510));
        assert_eq!(out.matches('a').count(), 1000);
    }
}
