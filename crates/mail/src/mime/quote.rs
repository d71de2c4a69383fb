//! Tells new text from quoted text and signature. Nothing is lost: the pieces are ranges that
//! cover the whole text, and in doubt a line belongs to the new text.

use std::ops::Range;

use super::{
    block,
    html::{Cut, CutKind},
    phrases::{self, Attribution, Mark},
};

/// Lines that a signature has at most; what is longer was meant to be read.
const MAX_SIGNATURE: usize = 25;
/// Octets of text that is taken apart; what is larger is no letter, and stays whole.
pub(crate) const MAX_TEXT: usize = 512 * 1024;
/// Lines over which an attribution is wrapped at most.
const MAX_ATTRIBUTION: usize = 4;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text,
    Quoted,
    Signature,
}

/// A text cut into lines; each range holds its line end.
pub(crate) struct Lines<'x> {
    pub(crate) text: &'x str,
    pub(crate) ranges: Vec<Range<usize>>,
}

impl<'x> Lines<'x> {
    pub(crate) fn new(text: &'x str) -> Self {
        let mut ranges = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            ranges.push(at..at + line.len());
            at += line.len();
        }
        Self { text, ranges }
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The line without its end; empty beyond the last.
    pub(crate) fn get(&self, i: usize) -> &'x str {
        self.ranges.get(i).map_or("", |r| self.text[r.clone()].trim_end_matches('\n'))
    }

    pub(crate) fn is_blank(&self, i: usize) -> bool {
        self.get(i).trim().is_empty()
    }

    fn is_quote(&self, i: usize) -> bool {
        let line = self.get(i);
        line.starts_with('>') || line.starts_with(" >")
    }

    /// Where the line starts; the end of the text beyond the last.
    pub(crate) fn start(&self, i: usize) -> usize {
        self.ranges.get(i).map_or(self.text.len(), |r| r.start)
    }
}

/// Cuts a text into pieces, in order and without gaps.
pub(crate) fn split(text: &str, hint: Option<Cut>) -> Vec<(Piece, Range<usize>)> {
    if text.len() > MAX_TEXT {
        return vec![(Piece::Text, 0..text.len())];
    }
    let lines = Lines::new(text);
    let mut kinds = vec![Piece::Text; lines.len()];
    mark_lines(&lines, hint, &mut kinds);
    let has_text = (0..lines.len()).any(|i| kinds[i] == Piece::Text && !lines.is_blank(i));
    if !has_text {
        // Everything would be quoted: then the quote is what the mail says.
        return vec![(Piece::Text, 0..text.len())];
    }
    let mut pieces: Vec<(Piece, Range<usize>)> = Vec::new();
    for (i, kind) in kinds.into_iter().enumerate() {
        let range = lines.ranges[i].clone();
        match pieces.last_mut() {
            Some((last, open)) if *last == kind => open.end = range.end,
            _ => pieces.push((kind, range)),
        }
    }
    pieces
}

/// The pieces of one kind, joined and trimmed; `None` if there is nothing.
pub(crate) fn joined(text: &str, pieces: &[(Piece, Range<usize>)], kind: Piece) -> Option<String> {
    let parts: Vec<&str> = pieces
        .iter()
        .filter(|(k, _)| *k == kind)
        .map(|(_, r)| text[r.clone()].trim_matches('\n').trim_end())
        .filter(|p| !p.trim().is_empty())
        .collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

fn mark_lines(lines: &Lines<'_>, hint: Option<Cut>, kinds: &mut [Piece]) {
    let hint_line = hint.map(|h| (lines.ranges.partition_point(|r| r.start < h.at), h.kind));
    let end = full_quote(lines, hint_line);
    kinds[end..].fill(Piece::Quoted);
    let attributions = attribution_lines(lines, end, hint_line);
    let quoted = |i: usize| lines.is_quote(i) || attributions.contains(&i);

    // The quote at the end, if the own text stops before it.
    let mut own = end;
    let tail = quote_tail(lines, own, &quoted);
    if tail < own {
        kinds[tail..own].fill(Piece::Quoted);
        own = tail;
    }
    if let Some(at) = signature(lines, own, &quoted) {
        kinds[at..own].fill(Piece::Signature);
        own = at;
        let tail = quote_tail(lines, own, &quoted);
        kinds[tail..own].fill(Piece::Quoted);
        own = tail;
    }
    // One quote at the top and the answer below it. More than one quote with text between them
    // are answers point by point, which only make sense together.
    let first = (0..own).find(|&i| !lines.is_blank(i)).unwrap_or(own);
    if first < own && quoted(first) {
        let run_end = (first..own).find(|&i| !quoted(i) && !lines.is_blank(i)).unwrap_or(own);
        let more = (run_end..own).any(quoted);
        if !more && run_end < own {
            kinds[first..run_end].fill(Piece::Quoted);
        }
    }
}

/// The first line from which on everything is another mail; the number of lines if there is none.
fn full_quote(lines: &Lines<'_>, hint: Option<(usize, CutKind)>) -> usize {
    let hinted = match hint {
        Some((line, CutKind::Everything)) => line,
        // A quote whose markup shows it without marks (Yahoo).
        Some((line, CutKind::Attribution))
            if !(line..lines.len().min(line + 8)).any(|j| lines.is_quote(j)) =>
        {
            line
        }
        _ => lines.len(),
    };
    let mut i = 0;
    while i < hinted {
        let line = lines.get(i);
        if !line.is_empty() && !lines.is_quote(i) && starts_full_quote(lines, i) {
            return with_rule_above(lines, i);
        }
        i += 1;
    }
    with_rule_above(lines, hinted)
}

fn starts_full_quote(lines: &Lines<'_>, i: usize) -> bool {
    let line = lines.get(i);
    if matches!(phrases::mark(line), Some(Mark::Forward | Mark::Original)) {
        return true;
    }
    if block::at(lines, i).is_some() {
        return true;
    }
    // An attribution that names a date, where the quote below it carries no marks. Text that
    // only sounds like one ("On Monday Bob wrote:") has no such line after it.
    phrases::opens_attribution(line)
        && matches!(attribution_at(lines, i), Some((Attribution::Full, n))
        if !next_is_quote(lines, i + n) && names_an_address(lines, i, n))
}

fn names_an_address(lines: &Lines<'_>, i: usize, n: usize) -> bool {
    (i..i + n).any(|j| lines.get(j).contains('@'))
}

fn next_is_quote(lines: &Lines<'_>, from: usize) -> bool {
    (from..lines.len().min(from + 3))
        .find(|&j| !lines.is_blank(j))
        .is_some_and(|j| lines.is_quote(j))
}

/// Outlook draws a rule above the block.
fn with_rule_above(lines: &Lines<'_>, i: usize) -> usize {
    let above = (0..i).rev().take(3).find(|&j| !lines.is_blank(j));
    match above {
        Some(j)
            if lines.get(j).trim().len() >= 5 && lines.get(j).trim().bytes().all(|b| b == b'_') =>
        {
            j
        }
        _ => i,
    }
}

/// An attribution that starts at line `i`, and over how many lines it runs.
fn attribution_at(lines: &Lines<'_>, i: usize) -> Option<(Attribution, usize)> {
    let mut joined = String::new();
    for n in 0..MAX_ATTRIBUTION {
        let line = lines.get(i + n).trim();
        if line.is_empty() || line.starts_with('>') || line.len() > 300 {
            return None;
        }
        joined.push_str(line);
        if line.ends_with(':')
            && let Some(found) = phrases::attribution(&joined)
        {
            return Some((found, n + 1));
        }
        joined.push(' ');
    }
    None
}

/// All lines before `end` that introduce a quote.
fn attribution_lines(
    lines: &Lines<'_>,
    end: usize,
    hint: Option<(usize, CutKind)>,
) -> std::collections::HashSet<usize> {
    let mut found = std::collections::HashSet::new();
    for quote in (0..end).filter(|&i| lines.is_quote(i) && (i == 0 || !lines.is_quote(i - 1))) {
        let Some(last) = (quote.saturating_sub(3)..quote).rev().find(|&j| !lines.is_blank(j))
        else {
            continue;
        };
        if lines.is_quote(last) {
            continue;
        }
        let first = last.saturating_sub(MAX_ATTRIBUTION - 1);
        let by_words = (first..=last).find(|&j| {
            attribution_at(lines, j)
                .is_some_and(|(kind, n)| j + n == last + 1 && (kind == Attribution::Full || n == 1))
        });
        let by_markup = match hint {
            Some((line, CutKind::Attribution)) if line <= last && last - line < MAX_ATTRIBUTION => {
                Some(line)
            }
            _ => None,
        };
        if let Some(start) = by_words.or(by_markup) {
            found.extend(start..=last);
        }
    }
    found
}

/// Where the run of quoted and blank lines at the end starts; `end` if it holds no quote.
fn quote_tail(lines: &Lines<'_>, end: usize, quoted: &dyn Fn(usize) -> bool) -> usize {
    let mut at = end;
    let mut first_quote = end;
    while at > 0 && (quoted(at - 1) || lines.is_blank(at - 1)) {
        at -= 1;
        if quoted(at) {
            first_quote = at;
        }
    }
    first_quote
}

/// Where the signature of the text before `end` starts (RFC 3676 section 4.3, and phones).
fn signature(lines: &Lines<'_>, end: usize, quoted: &dyn Fn(usize) -> bool) -> Option<usize> {
    let from = end.saturating_sub(MAX_SIGNATURE + 1);
    let mark = (from..end).rev().find(|&i| matches!(lines.get(i), "-- " | "--"));
    if let Some(mark) = mark
        && !(mark..end).any(quoted)
    {
        return Some(mark);
    }
    let last = (0..end).rev().find(|&i| !lines.is_blank(i))?;
    phrases::is_mobile_line(lines.get(last)).then_some(last)
}
