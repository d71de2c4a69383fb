//! Content decoded: transfer encodings, charsets, format=flowed.

use std::borrow::Cow;

use mail_parser::decoders::{base64::base64_decode, charsets::map::charset_decoder};

use super::{structure::Part, values};

/// The octets of a leaf part. What breaks the rules of its encoding is read as far as it can be.
pub(crate) fn octets<'x>(part: &Part<'x>) -> Cow<'x, [u8]> {
    let encoding = part.value("Content-Transfer-Encoding").map(values::keyword).unwrap_or_default();
    match encoding.as_str() {
        "base64" => base64(part.body).into(),
        "quoted-printable" => quoted_printable(part.body).into(),
        _ => part.body.into(),
    }
}

/// RFC 2045 section 6.8; characters outside the alphabet are skipped as it says.
fn base64(body: &[u8]) -> Vec<u8> {
    if let Some(out) = base64_decode(body) {
        return out;
    }
    let clean: Vec<u8> = body
        .iter()
        .copied()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        .collect();
    base64_decode(&clean).unwrap_or_default()
}

/// RFC 2045 section 6.7; an `=` that starts no escape stands for itself.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|&b| b == b'\n') {
        let text = line.trim_ascii_end();
        let mut at = 0;
        let mut soft = false;
        while let Some(n) = memchr::memchr(b'=', &text[at..]) {
            out.extend_from_slice(&text[at..at + n]);
            at += n;
            match text.get(at + 1..at + 3) {
                Some(&[hi, lo]) if hi.is_ascii_hexdigit() && lo.is_ascii_hexdigit() => {
                    out.push(hex(hi) << 4 | hex(lo));
                    at += 3;
                }
                _ if at + 1 == text.len() => {
                    soft = true;
                    at += 1;
                }
                _ => {
                    out.push(b'=');
                    at += 1;
                }
            }
        }
        out.extend_from_slice(&text[at..]);
        if line.ends_with(b"\n") && !soft {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// The text of a text part: decoded, LF line ends, without control characters.
pub(crate) fn text(part: &Part<'_>) -> String {
    let octets = octets(part);
    let raw = characters(&octets, part.parameter("charset"));
    let clean = tidy(&raw);
    let flowed = part.is_type("text", "plain")
        && part.parameter("format").is_some_and(|f| f.eq_ignore_ascii_case("flowed"));
    if flowed {
        let delsp = part.parameter("delsp").is_some_and(|d| d.eq_ignore_ascii_case("yes"));
        unflow(&clean, delsp)
    } else {
        clean
    }
}

/// Octets in a charset as text. Without a usable charset: UTF-8 if it is that, else windows-1252.
pub(crate) fn characters<'a>(octets: &'a [u8], charset: Option<&str>) -> Cow<'a, str> {
    let name = charset.unwrap_or("").trim().trim_matches('"').to_ascii_lowercase();
    // Mail marked as ASCII or not at all is UTF-8 in practice whenever it is valid UTF-8.
    if matches!(
        name.as_str(),
        "" | "utf-8" | "utf8" | "us-ascii" | "ascii" | "unknown-8bit" | "default_charset"
    ) && let Ok(text) = std::str::from_utf8(octets)
    {
        return text.into();
    }
    if matches!(name.as_str(), "utf-8" | "utf8") {
        return String::from_utf8_lossy(octets);
    }
    if let Some(decoder) = charset_decoder(name.as_bytes()) {
        return decoder(octets).into();
    }
    match (std::str::from_utf8(octets), charset_decoder(b"windows-1252")) {
        (Ok(text), _) => text.into(),
        (Err(_), Some(decoder)) => decoder(octets).into(),
        (Err(_), None) => String::from_utf8_lossy(octets),
    }
}

/// CRLF and lone CR become LF, control characters that no text needs go, a byte order mark too.
pub(crate) fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(c) = rest.chars().next() {
        // Most of it is printable ASCII, which stays as it is.
        let plain = rest.bytes().take_while(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t')).count();
        if plain > 0 {
            let (stays, later) = rest.split_at(plain);
            out.push_str(stays);
            rest = later;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' => {
                if !rest.starts_with('\n') {
                    out.push('\n');
                }
            }
            '\u{c}' | '\u{b}' => out.push('\n'),
            c if values::is_forbidden(c) => {}
            c => out.push(c),
        }
    }
    out
}

/// Joins the lines of format=flowed text into paragraphs (RFC 3676 section 4).
fn unflow(text: &str, delsp: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // The quote depth of the paragraph that the last line left open.
    let mut open: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let ended = line.ends_with('\n');
        let line = line.strip_suffix('\n').unwrap_or(line);
        let depth = line.bytes().take_while(|&b| b == b'>').count();
        // Section 4.4: one space after the quote marks was stuffed.
        let content = line[depth..].strip_prefix(' ').unwrap_or(&line[depth..]);
        let signature = content == "-- ";
        if open.is_some() && (open != Some(depth) || signature) {
            out.push('\n');
            open = None;
        }
        if open.is_none() && depth > 0 {
            out.extend(std::iter::repeat_n('>', depth));
            out.push(' ');
        }
        if content.ends_with(' ') && !signature && ended {
            out.push_str(if delsp { &content[..content.len() - 1] } else { content });
            open = Some(depth);
        } else {
            out.push_str(content);
            if ended {
                out.push('\n');
            }
            open = None;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_printable_is_read_with_its_mistakes() {
        assert_eq!(
            quoted_printable(b"a=3Db =E2=82=AC=\r\n c  \r\n100% = x=ZZ"),
            "a=b € c\r\n100% = x=ZZ".as_bytes()
        );
        assert_eq!(quoted_printable(b"a=3d="), b"a=");
    }

    #[test]
    fn base64_skips_foreign_characters() {
        assert_eq!(base64(b"aGVs\r\nbG8="), b"hello");
        assert_eq!(base64(b"aG*Vs\r\nbG8=\r\n-- footer"), base64(b"aGVsbG8=footer"));
    }

    #[test]
    fn flowed_lines_join_within_one_quote_depth() {
        let text =
            "First line \nand its end.\n> quoted \n> goes on\n>> deeper \nown again\n-- \nAlice\n";
        assert_eq!(
            unflow(text, false),
            "First line and its end.\n> quoted goes on\n>> deeper \nown again\n-- \nAlice\n"
        );
        assert_eq!(unflow("Donau \ndampf\n", true), "Donaudampf\n");
        assert_eq!(unflow(" >not a quote\n", false), ">not a quote\n");
    }

    #[test]
    fn charsets_are_guessed_only_where_none_is_usable() {
        assert_eq!(characters(b"caf\xe9", Some("iso-8859-1")), "café");
        assert_eq!(characters("café".as_bytes(), None), "café");
        assert_eq!(characters(b"caf\xe9", Some("us-ascii")), "café");
        assert_eq!(characters(b"\x1b$B%F%9%H\x1b(B", Some("iso-2022-jp")), "テスト");
        assert_eq!(characters(b"caf\xe9", Some("no-such-charset")), "café");
    }
}
