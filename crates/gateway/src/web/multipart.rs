//! Forms with files (RFC 7578), read from one buffer without copying what they hold.

use bytes::Bytes;
use memchr::memmem;

/// Parts of one form.
const PARTS: usize = 64;
/// Octets of the header of one part.
const HEAD: usize = 8 * 1024;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    /// Set for files, also for an empty file field, whose name is empty.
    pub(super) file_name: Option<String>,
    pub(super) media_type: Option<String>,
    pub(super) data: Bytes,
}

/// The boundary that a content type names (RFC 2046 section 5.1.1).
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameters.split(';').find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    ((1..=70).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic() || b == b' '))
        .then_some(value)
}

/// All parts in order; `None` if it is no such form, is cut off or has too many parts.
pub(super) fn parse(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let mark = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(mark.as_bytes());
    // The first mark has no line before it, unless there is a preamble, which nobody sends.
    let mut at = body.starts_with(&mark.as_bytes()[2..]).then(|| mark.len() - 2)?;
    let mut parts = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        if !rest.starts_with(b"\r\n") || parts.len() >= PARTS {
            return None;
        }
        let start = at + 2;
        let length = finder.find(&body[start..])?;
        parts.push(part(body.slice(start..start + length))?);
        at = start + length + mark.len();
    }
}

fn part(octets: Bytes) -> Option<Part> {
    let window = &octets[..octets.len().min(HEAD)];
    let head_end = memmem::find(window, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&octets[..head_end]).into_owned();
    let field = |wanted: &str| {
        head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let disposition = field("content-disposition")?;
    Some(Part {
        name: parameter(&disposition, "name")?,
        file_name: parameter(&disposition, "filename"),
        media_type: field("content-type"),
        data: octets.slice(head_end + 4..),
    })
}

/// A quoted parameter. Browsers write `"` as `%22` and line ends as `%0D` and `%0A`, and escape
/// nothing else (WHATWG HTML, multipart/form-data encoding algorithm).
fn parameter(disposition: &str, wanted: &str) -> Option<String> {
    let mut rest = disposition;
    while let Some(semicolon) = rest.find(';') {
        rest = rest[semicolon + 1..].trim_start();
        let (name, value) = rest.split_once('=')?;
        let Some(quoted) = value.strip_prefix('"') else {
            rest = value;
            continue;
        };
        let end = quoted.find('"')?;
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(quoted[..end].replace("%22", "\"").replace("%0D", "").replace("%0A", ""));
        }
        rest = &quoted[end + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Option<Vec<Part>> {
        parse(&Bytes::from(text.replace('\n', "\r\n")), "xyz")
    }

    #[test]
    fn fields_and_files_come_out_as_they_went_in() {
        let parts = form(
            "--xyz\nContent-Disposition: form-data; name=\"text\"\n\nHello\n--xy\n--xyz\n\
             Content-Disposition: form-data; name=\"files\"; filename=\"a;%22b.pdf\"\n\
             Content-Type: application/pdf\n\n%PDF\n\n--xyz--\n",
        )
        .expect("a form");
        assert_eq!(parts[0].data, Bytes::from("Hello\r\n--xy"));
        assert_eq!((parts[0].name.as_str(), &parts[0].file_name), ("text", &None));
        assert_eq!(parts[1].file_name.as_deref(), Some("a;\"b.pdf"));
        assert_eq!(parts[1].media_type.as_deref(), Some("application/pdf"));
        assert_eq!(parts[1].data, Bytes::from("%PDF\r\n"));
    }

    #[test]
    fn what_is_cut_off_or_no_form_is_nothing() {
        for bad in [
            "",
            "--xyz",
            "--xyz\nContent-Disposition: form-data; name=\"a\"\n\nHello",
            "--xyz\nno header\n--xyz--",
            "preamble\n--xyz--",
            "--xyz\nContent-Disposition: form-data\n\nHello\n--xyz--",
        ] {
            assert_eq!(form(bad), None, "{bad:?}");
        }
        assert_eq!(form("--xyz--\n"), Some(vec![]));
        let many = "--xyz\nContent-Disposition: form-data; name=\"a\"\n\nx\n".repeat(65);
        assert_eq!(form(&format!("{many}--xyz--")), None);
    }

    #[test]
    fn the_boundary_is_read_from_the_type() {
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\""), Some("a b"));
        assert_eq!(boundary("multipart/form-data; charset=utf-8; boundary=----x"), Some("----x"));
        assert_eq!(boundary("multipart/form-data; boundary="), None);
        assert_eq!(boundary("text/plain; boundary=a"), None);
    }
}
