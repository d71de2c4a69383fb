//! Plain text as HTML that says the same: paragraphs, links, quotes.

/// Octets of a link that is made clickable; longer ones stay text.
const MAX_LINK: usize = 2_000;
/// Quotes within quotes that are shown as such.
const MAX_QUOTES: usize = 10;

const QUOTE: &str = "<blockquote style=\"margin:0 0 0 8px;padding:0 0 0 10px;border-left:2px solid #ccc;color:#666\">";

/// Writes text as an HTML fragment.
#[must_use]
pub fn text_to_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4 + 32);
    let mut depth = 0;
    // Whether a paragraph is open.
    let mut open = false;
    for line in text.lines() {
        let (quotes, content) = quote_depth(line);
        if quotes != depth || content.trim().is_empty() {
            if open {
                out.push_str("</p>\n");
                open = false;
            }
            while depth < quotes {
                out.push_str(QUOTE);
                depth += 1;
            }
            while depth > quotes {
                out.push_str("</blockquote>\n");
                depth -= 1;
            }
        }
        if content.trim().is_empty() {
            continue;
        }
        out.push_str(if open { "<br>\n" } else { "<p>" });
        open = true;
        push_line(&mut out, content);
    }
    if open {
        out.push_str("</p>\n");
    }
    out.push_str(&"</blockquote>\n".repeat(depth));
    out
}

/// Writes a link with its words.
#[must_use]
pub fn link_to_html(words: &str, target: &str) -> String {
    let mut out = String::from("<a href=\"");
    escape(&mut out, target);
    out.push_str("\">");
    escape(&mut out, words);
    out.push_str("</a>");
    out
}

/// How many `>` a line starts with, and what follows them.
fn quote_depth(line: &str) -> (usize, &str) {
    let (mut depth, mut rest) = (0, line);
    while depth < MAX_QUOTES
        && let Some(after) = rest.strip_prefix('>')
    {
        depth += 1;
        // `> >` and `>>` mean the same.
        rest = match after.strip_prefix(' ') {
            Some(next) if next.starts_with('>') => next,
            _ => after,
        };
    }
    (depth, if depth > 0 { rest.strip_prefix(' ').unwrap_or(rest) } else { rest })
}

/// One line, escaped, with its links.
fn push_line(out: &mut String, line: &str) {
    let indent = line.len() - line.trim_start_matches(' ').len();
    for _ in 0..indent.min(40) {
        out.push_str("&nbsp;");
    }
    let mut rest = line.trim_start_matches(' ');
    while let Some(at) = find_link(rest) {
        escape(out, &rest[..at]);
        rest = &rest[at..];
        let end = link_end(rest);
        let link = &rest[..end];
        if link.len() <= MAX_LINK {
            out.push_str(&link_to_html(link, link));
        } else {
            escape(out, link);
        }
        rest = &rest[end..];
    }
    escape(out, rest);
}

fn find_link(text: &str) -> Option<usize> {
    match (text.find("https://"), text.find("http://")) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A link ends before blanks, brackets, and punctuation that belongs to the sentence.
fn link_end(text: &str) -> usize {
    let end = text
        .find(|c: char| {
            c.is_whitespace()
                || c.is_control()
                || matches!(c, '<' | '>' | '"' | '`' | '|' | '{' | '}')
        })
        .unwrap_or(text.len());
    let mut link = &text[..end];
    loop {
        let shorter = link.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', ']']);
        let shorter = match shorter.strip_suffix(')') {
            Some(inner) if !inner.contains('(') => inner,
            _ => shorter,
        };
        if shorter.len() == link.len() {
            return link.len().max("http://".len());
        }
        link = shorter;
    }
}

/// Adds text as it may stand in content and in a quoted attribute.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_says_the_same() {
        let html = text_to_html(
            "Hi & bye\nsecond\n\n> quoted\n>> deeper\n\nsee https://x.test/a?b=1&c=(2). <b>",
        );
        assert!(html.starts_with("<p>Hi &amp; bye<br>\nsecond</p>\n"), "{html}");
        assert!(html.contains("<a href=\"https://x.test/a?b=1&amp;c=(2)\">"), "{html}");
        assert_eq!(html.matches("<blockquote").count(), 2);
        assert_eq!(html.matches("<blockquote").count(), html.matches("</blockquote>").count());
        assert!(html.contains("&lt;b&gt;") && !html.contains("<b>"));
        let back = super::super::html::html_to_text(&html);
        assert!(back.contains("> quoted\n") && back.contains(">> deeper"), "{back}");
    }

    #[test]
    fn a_link_is_no_place_for_markup() {
        let html = text_to_html("https://x.test/\"onclick=alert(1) http://");
        assert!(!html.contains("\"onclick"), "{html}");
    }
}
