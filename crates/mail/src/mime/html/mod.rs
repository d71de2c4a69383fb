//! HTML mail: sanitised for a page, and as text for a chat. Linear in size, bounded in depth.

mod cut;
mod render;
mod sanitise;
mod tame;
mod tokens;

pub(crate) use cut::{Cut, CutKind};
pub(crate) use render::{Flavour, render};
pub use sanitise::{Sanitised, sanitise};

/// HTML as plain text; links keep their targets, quotes get `>`.
#[must_use]
pub fn html_to_text(html: &str) -> String {
    render(html, Flavour::Plain).text.trim().to_owned()
}

/// HTML as Markdown: emphasis, links, lists, quotes and code.
#[must_use]
pub fn html_to_markdown(html: &str) -> String {
    render(html, Flavour::Markdown).text.trim().to_owned()
}

#[cfg(test)]
mod tests;
