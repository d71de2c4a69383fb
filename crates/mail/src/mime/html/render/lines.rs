//! The writing side: words, blanks, line starts, emphasis marks.

use super::{Flavour, MAX_QUOTES, Writer};
use crate::mime::{
    html::{cut::Cut, tokens::push_decoded},
    values::is_forbidden,
};

impl Writer {
    pub(super) fn text(&mut self, text: &str) {
        if self.hidden > 0 {
            return;
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        push_decoded(&mut decoded, text);
        if self.preformatted > 0 {
            self.preformatted_text(&decoded);
        } else {
            self.flowing_text(&decoded);
        }
        self.decoded = decoded;
    }

    pub(super) fn flowing_text(&mut self, text: &str) {
        let is_space = |c: char| matches!(c, ' ' | '\n' | '\t' | '\r' | '\u{c}');
        self.space |= text.starts_with(is_space) && !self.line_is_empty;
        let mut first = true;
        for word in text.split(is_space).filter(|w| !w.is_empty()) {
            if !first {
                self.space = true;
            }
            self.word(word);
            first = false;
        }
        if !first && text.ends_with(is_space) {
            self.space = true;
        }
    }

    pub(super) fn preformatted_text(&mut self, text: &str) {
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                self.break_line();
            }
            let line = line.trim_end_matches('\r');
            if !line.is_empty() {
                self.word(line);
            }
        }
    }

    /// Writes what is due, then `word`.
    pub(super) fn word(&mut self, word: &str) {
        if word.chars().all(|c| c == '\u{a0}') {
            // Mail programs write an empty line as a paragraph with a no-break space in it.
            if self.line_is_empty || self.newlines > 0 {
                self.block(2);
            } else {
                self.space = true;
            }
            return;
        }
        self.start_line();
        // Markdown wants closing marks right after the text and opening ones right before it.
        self.close_stale_marks();
        if self.space && !self.line_is_empty {
            self.out.push(' ');
        }
        self.sync_marks();
        self.space = false;
        if let Some(link) = &mut self.link
            && link.start.is_none()
        {
            link.start = Some(self.out.len());
        }
        for c in word.chars() {
            match c {
                '\u{a0}' | '\u{2028}' | '\u{2029}' | '\n' => self.out.push(' '),
                // Soft hyphens and zero-width spaces pad the preview texts of newsletters.
                '\u{ad}' | '\u{200b}' | '\u{200c}' | '\u{feff}' | '\u{34f}' => {}
                c if is_forbidden(c) => {}
                c => self.out.push(c),
            }
        }
        self.line_is_empty = false;
    }

    /// Ends the line that is being written as far as it is due, and starts the next one.
    pub(super) fn start_line(&mut self) {
        if self.cell && !self.line_is_empty && self.newlines == 0 {
            self.close_marks();
            let after_label = self.out.ends_with(':');
            self.out.push_str(if after_label { " " } else { " | " });
            self.space = false;
        }
        self.cell = false;
        if self.newlines > 0 && !self.out.is_empty() {
            self.close_marks();
            for i in 0..self.newlines {
                self.out.push('\n');
                if i + 1 < self.newlines {
                    // An empty line within a quote belongs to it.
                    let depth = self.quotes.min(self.line_quotes).min(MAX_QUOTES);
                    self.out.extend(std::iter::repeat_n('>', depth));
                }
            }
        }
        let fresh = self.newlines > 0 || self.out.is_empty();
        self.newlines = 0;
        if !fresh {
            return;
        }
        if let Some(kind) = self.cut_due.take() {
            self.cut.get_or_insert(Cut { at: self.out.len(), kind });
        }
        self.line_quotes = self.quotes;
        let quotes = self.quotes.min(MAX_QUOTES);
        self.out.extend(std::iter::repeat_n('>', quotes));
        if quotes > 0 {
            self.out.push(' ');
        }
        if !self.lists.is_empty() {
            let levels = (self.lists.len() - 1).min(8);
            self.out.extend(std::iter::repeat_n("  ", levels));
            match self.item.take() {
                Some(item) => self.out.push_str(&item),
                None => self.out.push_str("  "),
            }
        }
        self.line_is_empty = true;
        self.space = false;
    }

    pub(super) fn block(&mut self, newlines: usize) {
        if !self.out.is_empty() {
            self.newlines = self.newlines.max(newlines);
        }
        self.space = false;
    }

    /// A line end that the author wrote: several leave lines empty, up to two.
    pub(super) fn break_line(&mut self) {
        if !self.out.is_empty() {
            self.newlines = (self.newlines + 1).min(3);
        }
        self.space = false;
    }

    pub(super) fn sync_marks(&mut self) {
        if self.flavour == Flavour::Plain || self.preformatted > 0 {
            return;
        }
        for i in self.written_marks.len()..self.marks.len() {
            self.out.push_str(self.marks[i]);
            self.written_marks.push(self.marks[i]);
        }
    }

    pub(super) fn close_stale_marks(&mut self) {
        let same = self.written_marks.iter().zip(&self.marks).take_while(|(a, b)| a == b).count();
        while self.written_marks.len() > same {
            if let Some(mark) = self.written_marks.pop() {
                self.out.push_str(mark);
            }
        }
    }

    pub(super) fn close_marks(&mut self) {
        while let Some(mark) = self.written_marks.pop() {
            self.out.push_str(mark);
        }
    }
}
