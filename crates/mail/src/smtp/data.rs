//! The content of a mail as it comes over the wire: where it ends, and what of it is the mail.
//!
//! RFC 5321 section 4.1.1.4: the end is CRLF.CRLF and nothing else; section 2.3.8: CR and LF may
//! only appear together. Servers that saw more than this one end were made to take one mail for
//! two (SMTP smuggling), so a stray CR or LF spoils the mail here, and the search for the true end
//! goes on.

use memchr::memchr2;

/// What a call of [`Scanner::feed`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// All of the input belongs to the mail.
    More,
    /// The mail ended; so many octets of the input were part of it or of its end.
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// After CRLF, or at the very beginning.
    LineStart,
    /// Within a line.
    Middle,
    /// After a CR within a line.
    Cr,
    /// After the first dot of a line, which is not part of the mail (section 4.5.2).
    Dot,
    /// After dot and CR: the end, if LF follows.
    DotCr,
}

/// Finds the end of a mail in input that arrives in arbitrary pieces.
#[derive(Debug)]
pub(crate) struct Scanner {
    at: At,
    stray: bool,
}

impl Scanner {
    /// Stands where DATA was answered with 354.
    pub(crate) fn new() -> Self {
        Self { at: At::LineStart, stray: false }
    }

    /// A CR without LF or an LF without CR was seen: the mail must not be taken.
    pub(crate) fn stray(&self) -> bool {
        self.stray
    }

    /// Reads on, and hands the octets of the mail to `sink` in runs as long as possible.
    pub(crate) fn feed(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Fed {
        // `start..pos` are octets of the mail that `sink` has not seen yet.
        let (mut start, mut pos) = (0, 0);
        while pos < input.len() {
            match (self.at, input[pos]) {
                (At::LineStart, b'.') => {
                    sink(&input[start..pos]);
                    pos += 1;
                    start = pos;
                    self.at = At::Dot;
                }
                (At::Dot, b'\r') => {
                    pos += 1;
                    start = pos;
                    self.at = At::DotCr;
                }
                (At::DotCr, b'\n') => return Fed::End(pos + 1),
                (At::DotCr, _) => {
                    self.stray = true;
                    self.at = At::Middle;
                }
                (At::Cr, b'\n') => {
                    pos += 1;
                    self.at = At::LineStart;
                }
                (At::Cr, _) => {
                    self.stray = true;
                    self.at = At::Middle;
                }
                (At::LineStart | At::Dot | At::Middle, _) => {
                    self.at = At::Middle;
                    match memchr2(b'\r', b'\n', &input[pos..]) {
                        None => pos = input.len(),
                        Some(skip) => {
                            pos += skip + 1;
                            if input[pos - 1] == b'\r' {
                                self.at = At::Cr;
                            } else {
                                // The line goes on: an LF alone ends no line.
                                self.stray = true;
                            }
                        }
                    }
                }
            }
        }
        sink(&input[start..]);
        Fed::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The mail, the rest after its end, and whether it was spoilt.
    fn scan(pieces: &[&[u8]]) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let (mut scanner, mut mail) = (Scanner::new(), Vec::new());
        for (i, piece) in pieces.iter().enumerate() {
            if let Fed::End(n) = scanner.feed(piece, |run| mail.extend_from_slice(run)) {
                let rest = [&[&piece[n..]], &pieces[i + 1..]].concat().concat();
                return (mail, Some(rest), scanner.stray());
            }
        }
        (mail, None, scanner.stray())
    }

    fn clean(input: &str) -> (String, String) {
        let (mail, rest, stray) = scan(&[input.as_bytes()]);
        assert!(!stray, "{input:?}");
        (String::from_utf8(mail).unwrap(), String::from_utf8(rest.unwrap()).unwrap())
    }

    #[test]
    fn the_end_is_found_and_dots_are_undone() {
        assert_eq!(clean(".\r\n"), (String::new(), String::new()));
        assert_eq!(clean("a\r\n.\r\nMAIL"), ("a\r\n".into(), "MAIL".into()));
        assert_eq!(clean("..\r\n...x\r\n.y\r\n.\r\n").0, ".\r\n..x\r\ny\r\n");
    }

    #[test]
    fn every_other_ending_is_no_ending() {
        for ending in ["\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n"]
        {
            let (_, rest, stray) = scan(&[format!("a{ending}b\r\n.\r\nc").as_bytes()]);
            assert_eq!(rest.as_deref(), Some(&b"c"[..]), "{ending:?}");
            assert!(stray, "{ending:?}");
        }
    }

    /// The same rules once more, octet by octet and without state of its own.
    fn reference(input: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        let framed = [b"\r\n", input].concat();
        let end = framed.windows(5).position(|w| w == b"\r\n.\r\n");
        let mail = &framed[2..end.map_or(framed.len(), |e| e + 2).max(2)];
        let mut out = Vec::new();
        for (i, &b) in mail.iter().enumerate() {
            let line_start = i == 0 || (i >= 2 && &mail[i - 2..i] == b"\r\n");
            if !(b == b'.' && line_start) {
                out.push(b);
            }
        }
        (out, end.map(|e| framed[e + 5..].to_vec()))
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            input in proptest::collection::vec(prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a')], 0..60),
            cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &input[w[0]..w[1]]).collect();
            let whole = scan(&[&input]);
            prop_assert_eq!(&scan(&pieces), &whole);
            let (mail, rest) = reference(&input);
            prop_assert_eq!(&rest, &whole.1);
            if rest.is_some() && !whole.2 {
                prop_assert_eq!(mail, whole.0);
            }
        }

        #[test]
        fn stuffed_mail_comes_back(lines in proptest::collection::vec("[.a-z ]{0,8}", 0..8)) {
            let mail: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
            let wire: String = lines
                .iter()
                .map(|l| format!("{}{l}\r\n", if l.starts_with('.') { "." } else { "" }))
                .collect();
            prop_assert_eq!(clean(&format!("{wire}.\r\nQUIT")), (mail, "QUIT".to_owned()));
        }
    }
}
