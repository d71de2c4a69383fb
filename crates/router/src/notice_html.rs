//! The HTML of a mail from the bridge itself. It says what the plain text says, but a choice is a
//! link with its own words: the address behind it is signed, and too long for anybody to read.

use std::fmt::Write as _;

use isthmus_mail::mime;

/// What begins the line of a choice; the line below it is its link.
const CHOICE: &str = "→ ";
/// What stands before the address that chooses the same.
pub(crate) const BY_MAIL: &str = "or by an empty mail to ";

/// Writes the text of a notice as an HTML fragment.
pub(crate) fn notice_html(text: &str) -> String {
    let (mut out, mut plain) = (String::new(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let words = line.strip_prefix(CHOICE);
        let link = lines.peek().filter(|l| l.starts_with("https://") || l.starts_with("http://"));
        let (Some(words), Some(link)) = (words, link) else {
            plain.push_str(line);
            plain.push('\n');
            continue;
        };
        out.push_str(&mime::text_to_html(&std::mem::take(&mut plain)));
        let _ = write!(out, "<p>{CHOICE}{}", mime::link_to_html(words, link));
        lines.next();
        if let Some(address) = lines.peek().and_then(|l| l.strip_prefix(BY_MAIL)) {
            let link = mime::link_to_html("an empty mail", &format!("mailto:{address}"));
            let _ = write!(out, "<br>\nor by {link}");
            lines.next();
        }
        out.push_str("</p>\n");
    }
    out.push_str(&mime::text_to_html(&plain));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_link_with_its_words() {
        let html = notice_html(
            "Bob & Co is away.\n\n→ Keep <trying>\nhttps://x.test/d/a?b&c\n\
             or by an empty mail to d-1+retry@x.test\n\nBye: https://x.test/settings\n",
        );
        insta::assert_snapshot!(html, @r#"
        <p>Bob &amp; Co is away.</p>
        <p>→ <a href="https://x.test/d/a?b&amp;c">Keep &lt;trying&gt;</a><br>
        or by <a href="mailto:d-1+retry@x.test">an empty mail</a></p>
        <p>Bye: <a href="https://x.test/settings">https://x.test/settings</a></p>
        "#);
    }

    #[test]
    fn what_somebody_wrote_hides_no_link() {
        let html = notice_html("Your message:\n> → Click\n> https://evil.test/\n→ Alone\n");
        assert!(html.contains(">https://evil.test/</a>"), "{html}");
        assert!(html.contains("→ Alone"), "{html}");
    }
}
