//! File names that cannot do harm, and media types that are ones.

use super::values::is_bidi_control;

/// Octets of a neutralised name; leaves room for a prefix on every file system.
const MAX_NAME: usize = 120;
/// Octets of an extension that is kept when a name is shortened.
const MAX_EXTENSION: usize = 16;

/// A name that is one plain file in whatever folder it is put, on any system.
///
/// Folders, control characters, direction overrides and characters with a meaning to a shell or
/// a file system are gone; it has at most 120 octets and keeps its extension.
#[must_use]
pub fn safe_file_name(name: &str) -> String {
    // Only what follows the last separator was ever meant as the name.
    let last = name
        .rsplit(['/', '\\'])
        .find(|p| !p.trim_matches(['.', ' ', '\0']).is_empty())
        .unwrap_or("");
    let mut out = String::with_capacity(last.len());
    for c in last.chars() {
        match c {
            c if c.is_control() || is_bidi_control(c) || is_invisible(c) => {}
            ':' | '*' | '?' | '"' | '<' | '>' | '|' => out.push('_'),
            c if c.is_whitespace() => out.push(' '),
            c => out.push(c),
        }
    }
    let trimmed = out.trim_matches([' ', '.']);
    if trimmed.is_empty() {
        return "attachment".to_owned();
    }
    let mut safe = shorten(trimmed);
    if is_device(&safe) {
        safe.insert(0, '_');
    }
    safe
}

/// Zero-width and tag characters: two names that look the same would differ.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Names that are devices on Windows, whatever their extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or("").trim_end().to_ascii_uppercase();
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.as_bytes()[3].is_ascii_digit())
}

fn shorten(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let extension = name
        .rfind('.')
        .map(|dot| &name[dot..])
        .filter(|e| e.len() <= MAX_EXTENSION && e.len() > 1)
        .unwrap_or("");
    let mut end = MAX_NAME - extension.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", name[..end].trim_end_matches([' ', '.']))
}

/// `main/sub` in lower case if it is made of token characters (RFC 2045 section 5.1).
#[must_use]
pub fn safe_media_type(text: &str) -> Option<String> {
    let (main, sub) = text.split_once('/')?;
    let token = |t: &str| {
        !t.is_empty()
            && t.len() <= 100
            && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    (token(main) && token(sub)).then(|| text.to_ascii_lowercase())
}

/// The extension to give a nameless file of this media type.
pub(crate) fn extension(media_type: &str) -> &'static str {
    match media_type {
        "message/rfc822" => ".eml",
        "text/calendar" => ".ics",
        "text/plain" => ".txt",
        "text/html" => ".html",
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        "image/gif" => ".gif",
        "application/pdf" => ".pdf",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abuse_mime_18_file_names_are_neutral() {
        for (given, want) in [
            ("../../x", "x"),
            ("..\\..\\windows\\x.ini", "x.ini"),
            ("/etc/passwd", "passwd"),
            ("a\0b.txt", "ab.txt"),
            ("a\r\nSet-Cookie: b.txt", "aSet-Cookie_ b.txt"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("..", "attachment"),
            ("", "attachment"),
            ("  .  ", "attachment"),
            ("NUL.txt", "_NUL.txt"),
            ("com1", "_com1"),
            (".htaccess", "htaccess"),
        ] {
            assert_eq!(safe_file_name(given), want, "{given:?}");
        }
        let long = safe_file_name(&format!("{}.pdf", "é".repeat(300)));
        assert!(long.len() <= 120 && long.ends_with(".pdf"), "{long}");
        // The legitimate twin: an ordinary name stays as it is, whatever its language.
        assert_eq!(
            safe_file_name("Jahresabschluß 2026 (final).pdf"),
            "Jahresabschluß 2026 (final).pdf"
        );
        assert_eq!(safe_file_name("報告書.xlsx"), "報告書.xlsx");
    }

    #[test]
    fn media_types_are_tokens() {
        assert_eq!(safe_media_type("Image/PNG").as_deref(), Some("image/png"));
        assert_eq!(safe_media_type("text/html\r\nX: y"), None);
        assert_eq!(safe_media_type("nonsense"), None);
    }
}
