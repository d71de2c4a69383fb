//! Writes XML: names are literals of this program, everything else is escaped, so that no
//! text can become markup.

/// A text under construction.
#[derive(Default)]
pub(crate) struct Xml(String);

/// Attributes of one element; one whose value is empty is left out.
type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Xml {
    /// Runs `build` on an empty text and returns what it wrote.
    pub(crate) fn build(build: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self::default();
        build(&mut xml);
        xml.0
    }

    /// An element with what `inside` writes between its tags.
    pub(crate) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.start(name, attributes);
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element without content.
    pub(crate) fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.start(name, attributes);
        self.0.push_str("/>");
    }

    /// An element that holds only text.
    pub(crate) fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(name, attributes, |xml| xml.text(text));
    }

    /// Character data.
    pub(crate) fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                // A bare CR would be read back as LF (XML 1.0 section 2.11).
                '\r' => self.0.push_str("&#xd;"),
                c if allowed(c) => self.0.push(c),
                _ => {}
            }
        }
    }

    /// What another [`Xml::build`] wrote.
    pub(crate) fn raw(&mut self, xml: &str) {
        self.0.push_str(xml);
    }

    fn start(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (name, value) in attributes.iter().filter(|(_, value)| !value.is_empty()) {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("='");
            for c in value.chars() {
                match c {
                    '&' => self.0.push_str("&amp;"),
                    '<' => self.0.push_str("&lt;"),
                    '\'' => self.0.push_str("&apos;"),
                    '\t' => self.0.push_str("&#x9;"),
                    '\n' => self.0.push_str("&#xa;"),
                    '\r' => self.0.push_str("&#xd;"),
                    c if allowed(c) => self.0.push(c),
                    _ => {}
                }
            }
            self.0.push('\'');
        }
    }
}

/// Whether XML 1.0 section 2.2 lets a document contain this character at all.
pub(crate) fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup_and_lost_characters_are_only_those_xml_forbids() {
        let xml = Xml::build(|x| {
            x.leaf("a", &[("b", "'\"<\n"), ("none", "")], "1 < 2 && \u{0}\u{1b}]]>\u{fffe}é🙂\r\n");
        });
        assert_eq!(xml, "<a b='&apos;\"&lt;&#xa;'>1 &lt; 2 &amp;&amp; ]]&gt;é🙂&#xd;\n</a>");
    }
}
