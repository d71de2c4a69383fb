//! Finds web addresses in plain text, so that pages can make them links.

/// A stretch of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// An `http:` or `https:` address; nothing else ever becomes a link.
    Link(&'a str),
}

/// Cuts `text` into pieces that together are the text again, unchanged.
#[must_use]
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut from = 0;
    while let Some(found) = rest[from..].find("http") {
        let start = from + found;
        let candidate = &rest[start..];
        let opens_word = !rest[..start].ends_with(|c: char| c.is_alphanumeric());
        let scheme = ["https://", "http://"].into_iter().find(|s| candidate.starts_with(s));
        let length = scheme.map_or(0, |_| link_length(candidate));
        match scheme {
            Some(scheme) if opens_word && length > scheme.len() => {
                if start > 0 {
                    out.push(Piece::Text(&rest[..start]));
                }
                out.push(Piece::Link(&candidate[..length]));
                rest = &candidate[length..];
                from = 0;
            }
            _ => from = start + "http".len(),
        }
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    out
}

/// Octets of the address that `text` begins with: up to white space or a delimiter of RFC 3986
/// appendix C, without the punctuation that ends the sentence around it.
fn link_length(text: &str) -> usize {
    let end = text
        .find(|c: char| {
            c.is_whitespace()
                || c.is_control()
                || "<>\"`\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}".contains(c)
        })
        .unwrap_or(text.len());
    let mut link = &text[..end];
    loop {
        let shorter = link.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', ']']);
        let shorter = match shorter.strip_suffix(')') {
            Some(inner) if !inner.contains('(') => inner,
            _ => shorter,
        };
        if shorter.len() == link.len() {
            return link.len();
        }
        link = shorter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_without_the_sentence_around_them() {
        assert_eq!(
            pieces("See https://a.test/x(1)?y=2. Or (http://b.test)!"),
            [
                Piece::Text("See "),
                Piece::Link("https://a.test/x(1)?y=2"),
                Piece::Text(". Or ("),
                Piece::Link("http://b.test"),
                Piece::Text(")!"),
            ]
        );
    }

    #[test]
    fn nothing_but_web_addresses_becomes_a_link() {
        for text in
            ["javascript:alert(1)", "data:text/html,x", "xhttp://a", "https://", "http", "ftp://a"]
        {
            assert_eq!(pieces(text), [Piece::Text(text)], "{text}");
        }
        assert!(pieces("").is_empty());
    }

    #[test]
    fn the_pieces_are_the_text_again() {
        let text = "httphttp://é.test\u{202e} \"https://q.test\" http://x";
        let joined: String = pieces(text)
            .iter()
            .map(|p| match p {
                Piece::Text(t) | Piece::Link(t) => *t,
            })
            .collect();
        assert_eq!(joined, text);
    }
}
