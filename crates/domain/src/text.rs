//! Text that people type where only one line can stand: subjects and names.

/// A control character that no subject or name can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it contains the control character U+{:04X}", *.0 as u32)]
pub struct ControlCharacter(pub char);

/// `text` on one line: white space of any kind, line ends and the separators U+2028 and U+2029
/// included, becomes one space, and none is left at the ends. For doors that can answer.
///
/// # Errors
/// Names the first other control character. A mail header could not carry it (RFC 5322 section
/// 2.2), and leaving it out would change what was written.
pub fn one_line(text: &str) -> Result<String, ControlCharacter> {
    match text.chars().find(|c| c.is_control() && !c.is_whitespace()) {
        Some(other) => Err(ControlCharacter(other)),
        None => Ok(joined(text.split_whitespace())),
    }
}

/// The same for doors that cannot answer, or whose page shows what became of it: other control
/// characters are left out.
#[must_use]
pub fn one_line_without_controls(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !c.is_control() || c.is_whitespace()).collect();
    joined(visible.split_whitespace())
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_separators_become_one_space() {
        for text in ["a b", " a\tb ", "a\r\n b", "a\u{2028}b", "a\u{2029}\u{85}b", "a\u{b}b"] {
            assert_eq!(one_line(text).as_deref(), Ok("a b"), "{text:?}");
            assert_eq!(one_line_without_controls(text), "a b", "{text:?}");
        }
    }

    #[test]
    fn other_controls_are_refused_or_left_out() {
        for c in ['\0', '\u{1b}', '\u{7f}', '\u{9b}'] {
            assert_eq!(one_line(&format!("a{c}b")), Err(ControlCharacter(c)));
            assert_eq!(one_line_without_controls(&format!("a{c}b")), "ab");
        }
        assert_eq!(one_line("Grüße 👋🏽").as_deref(), Ok("Grüße 👋🏽"));
    }
}
