//! Finds web addresses in plain text, so that pages can make them links; and in the text of an HTML
//! mail its links and bold words, which are kept there as Markdown writes them.

/// A stretch of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// An `http:` or `https:` address; nothing else ever becomes a link.
    Link(&'a str),
    /// Words that lead to such an address.
    Named {
        /// What is read.
        words: &'a str,
        /// Where it leads.
        link: &'a str,
    },
    /// Bold words.
    Strong(&'a str),
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

/// Octets within which a mark must end, so that a text of nothing but beginnings costs little.
const MARKED: usize = 2_500;

/// The same for the text of an HTML mail.
#[must_use]
pub fn marked_pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while let Some(found) = text[at..].find(['[', '*']) {
        let start = at + found;
        let mark = &text[start..text.floor_char_boundary(start.saturating_add(MARKED))];
        let Some((piece, length)) = named(mark).or_else(|| strong(mark)) else {
            at = start + 1;
            continue;
        };
        out.extend(pieces(&text[plain..start]));
        out.push(piece);
        at = start + length;
        plain = at;
    }
    out.extend(pieces(&text[plain..]));
    out
}

/// `[words](https://…)`, and its length. Whoever wrote the mail chose the words, so nothing that
/// looks like an address of its own may stand for another one.
fn named(text: &str) -> Option<(Piece<'_>, usize)> {
    let words_end = text.find([']', '\n']).filter(|_| text.starts_with('['))?;
    let words = &text[1..words_end];
    let rest = text[words_end..].strip_prefix("](")?;
    let link = &rest[..rest.find([')', '\n', ' '])?];
    let is_web =
        ["https://", "http://"].iter().any(|s| link.len() > s.len() && link.starts_with(s));
    let honest = !words.is_empty() && !words.contains("://") && !words.starts_with("www.");
    (rest[link.len()..].starts_with(')') && is_web && honest && link_length(link) == link.len())
        .then(|| (Piece::Named { words, link }, words_end + 2 + link.len() + 1))
}

/// `**words**`, and its length.
fn strong(text: &str) -> Option<(Piece<'_>, usize)> {
    let rest = text.strip_prefix("**")?;
    let words = &rest[..rest.find("**").filter(|end| *end > 0)?];
    let is_bold = words.trim() == words && !words.contains(['\n', '[']) && !words.contains("://");
    is_bold.then(|| (Piece::Strong(words), words.len() + 4))
}

/// What marked text says without its marks.
#[must_use]
pub fn without_marks(text: &str) -> String {
    let said = |piece: &Piece<'_>| match *piece {
        Piece::Text(words) | Piece::Link(words) | Piece::Strong(words) => words.to_owned(),
        Piece::Named { words, .. } => words.to_owned(),
    };
    marked_pieces(text).iter().map(said).collect()
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
                other => panic!("{other:?} in plain text"),
            })
            .collect();
        assert_eq!(joined, text);
    }

    #[test]
    fn links_and_bold_words_of_an_html_mail_are_told_apart() {
        assert_eq!(
            marked_pieces("**Big news** [here](https://a.test/x), https://b.test. [x]"),
            [
                Piece::Strong("Big news"),
                Piece::Text(" "),
                Piece::Named { words: "here", link: "https://a.test/x" },
                Piece::Text(", "),
                Piece::Link("https://b.test"),
                Piece::Text(". [x]"),
            ]
        );
    }

    #[test]
    fn a_text_of_nothing_but_beginnings_is_read_in_no_time() {
        let text = "[".repeat(200_000) + &"**[".repeat(100_000);
        assert_eq!(without_marks(&text), text);
        assert_eq!(without_marks("**Big** [one](https://a.test)"), "Big one");
    }

    #[test]
    fn words_never_hide_an_address_behind_another_nor_anything_but_the_web() {
        for text in [
            "[https://bank.test](https://evil.test)",
            "[www.bank.test](https://evil.test)",
            "[click](javascript:alert(1))",
            "[click](https://)",
            "[a\nb](https://evil.test",
            "**a\nb** ****",
        ] {
            let named = |p: &Piece<'_>| matches!(p, Piece::Named { .. } | Piece::Strong(_));
            assert!(!marked_pieces(text).iter().any(named), "{text}");
        }
    }
}
