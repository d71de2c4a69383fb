//! The block of header lines that mail programs write above a quoted or forwarded mail.

use isthmus_domain::{address::Email, clock::Millis};

use super::{
    model::Mailbox,
    phrases::{self, Label, Mark},
    quote::Lines,
    values,
};

/// Lines that a block has at most, wrapped lines included.
const MAX_LINES: usize = 40;

/// What such a block says.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// A line above it says that the mail was forwarded.
    pub(crate) forward_mark: bool,
    pub(crate) from: Option<Mailbox>,
    pub(crate) subject: Option<String>,
    pub(crate) date: Option<Millis>,
    pub(crate) date_text: Option<String>,
    pub(crate) to: Vec<Mailbox>,
    pub(crate) cc: Vec<Mailbox>,
    /// The first line of the quoted mail's text.
    pub(crate) body: usize,
}

/// Reads the block that starts at line `i`, with or without a mark above it.
pub(crate) fn at(lines: &Lines<'_>, i: usize) -> Option<Block> {
    read(lines, i, phrases::mark(lines.get(i)))
}

/// The same below a forwarding mark that is itself quoted.
pub(crate) fn at_quoted_mark(lines: &Lines<'_>, i: usize) -> Option<Block> {
    let mark = lines.get(i).strip_prefix('>').and_then(|l| phrases::mark(l.trim_start()));
    if mark == Some(Mark::Forward) { read(lines, i, mark) } else { None }
}

fn read(lines: &Lines<'_>, i: usize, mark: Option<Mark>) -> Option<Block> {
    let mut line = i;
    if mark.is_some() {
        line += 1;
        while line < lines.len() && line <= i + 3 && unquoted(lines.get(line)).trim().is_empty() {
            line += 1;
        }
    }
    let (first, _) = phrases::labelled(unquoted(lines.get(line)))?;
    // Without a mark only what mail programs write counts: they start with the sender.
    if mark.is_none() && (first != Label::From || lines.get(line).starts_with('>')) {
        return None;
    }
    let mut block = Block { forward_mark: mark == Some(Mark::Forward), ..Block::default() };
    let mut seen: Vec<Label> = Vec::new();
    let mut value: Option<(Label, String)> = None;
    let last = lines.len().min(line + MAX_LINES);
    while line < last {
        let text = unquoted(lines.get(line));
        if text.trim().is_empty() {
            break;
        }
        match phrases::labelled(text) {
            Some((label, _)) if label != Label::Other && seen.contains(&label) => break,
            Some((label, rest)) => {
                block.take(value.take());
                seen.push(label);
                value = Some((label, rest.to_owned()));
            }
            // A long recipient list goes on in the next line.
            None => match &mut value {
                Some((_, open)) => {
                    open.push(' ');
                    open.push_str(text.trim());
                }
                None => break,
            },
        }
        line += 1;
    }
    block.take(value);
    block.body = line;
    let others =
        [Label::Date, Label::To, Label::Subject].iter().filter(|l| seen.contains(l)).count();
    let enough = if mark.is_some() { 1 } else { 2 };
    (seen.contains(&Label::From) && others >= enough).then_some(block)
}

impl Block {
    fn take(&mut self, line: Option<(Label, String)>) {
        let Some((label, value)) = line else { return };
        match label {
            Label::From => self.from = mailboxes(&value).into_iter().next(),
            Label::To => self.to = mailboxes(&value),
            Label::Cc => self.cc = mailboxes(&value),
            Label::Subject => self.subject = Some(values::one_line(&value)),
            Label::Date => {
                self.date = values::date_in_text(&value);
                self.date_text = Some(values::one_line(&value));
            }
            Label::Other => {}
        }
    }
}

/// A line without its outermost quote mark.
pub(crate) fn unquoted(line: &str) -> &str {
    let line = line.strip_prefix('>').unwrap_or(line);
    line.strip_prefix(' ').unwrap_or(line)
}

/// Mailboxes in the many ways in which mail programs write them into text:
/// `Bob <bob@x>`, `Bob [mailto:bob@x]`, `'Bob' <bob@x<mailto:bob@x>>`, `bob@x`.
pub(crate) fn mailboxes(text: &str) -> Vec<Mailbox> {
    let mut out: Vec<Mailbox> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let start = rest[..at]
            .rfind(|c: char| !is_part(c))
            .map_or(0, |i| i + rest[i..].chars().next().map_or(1, char::len_utf8));
        let end = rest[at + 1..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
            .map_or(rest.len(), |i| at + 1 + i);
        let address = rest[start..end].trim_matches(['.', '\'', '*', '_']);
        let name = &rest[..start];
        rest = &rest[end..];
        let Ok(email) = Email::parse(address) else { continue };
        let name = name.trim_start_matches(['>', ']', ')', ';', ',', ' ', '<']);
        let name = name.trim_end_matches("mailto:").trim_end_matches(['<', '[', '(', ' ']);
        let name = name.trim_matches(['"', '\'', '*', ' ', '\t', '\u{2018}', '\u{2019}']);
        let name = values::one_line(name);
        // The same address again is the target of the link that the first one was.
        if out.last().is_some_and(|m| m.email == email) {
            continue;
        }
        if out.len() == 200 {
            break;
        }
        out.push(Mailbox {
            name: (!name.is_empty() && !name.contains('@')).then_some(name),
            email,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_read_as_programs_write_them() {
        let bob = Email::parse("bob@acme.test").expect("valid");
        for text in [
            "Bob Miller <bob@acme.test>",
            "Bob Miller [mailto:bob@acme.test]",
            "'Bob Miller' <bob@acme.test<mailto:bob@acme.test>>",
            "\"Bob Miller\" <bob@acme.test> <mailto:bob@acme.test>",
            "**Bob Miller** <bob@acme.test>",
        ] {
            assert_eq!(mailboxes(text), vec![Mailbox::named("Bob Miller", bob.clone())], "{text}");
        }
        assert_eq!(mailboxes("bob@acme.test"), vec![Mailbox::bare(bob.clone())]);
        let two = mailboxes("Bob <bob@acme.test>; Zoë Ünal <zoe@acme.test>,");
        assert_eq!(two.len(), 2);
        assert_eq!(two[1].name.as_deref(), Some("Zoë Ünal"));
        assert!(mailboxes("nobody here @ all").is_empty());
    }
}
