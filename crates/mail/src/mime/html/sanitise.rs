//! HTML that can be shown in a sandboxed page: no scripts, no forms, nothing fetched from afar.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::{Flavour, render, tame::tame};

/// Octets of which a tree is built. Larger documents are shown as their text: nothing is cut,
/// and time and memory for the tree stay bounded.
const MAX_TREE: usize = 768 * 1024;

/// Style properties that can neither fetch nor cover anything.
const STYLES: [&str; 22] = [
    "background-color",
    "border",
    "border-bottom",
    "border-color",
    "border-left",
    "border-right",
    "border-top",
    "color",
    "display",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "line-height",
    "margin",
    "margin-left",
    "padding",
    "text-align",
    "text-decoration",
    "vertical-align",
    "white-space",
    "width",
];

/// HTML made harmless.
#[derive(Clone, Debug)]
pub struct Sanitised {
    /// A fragment, without `html` and `body`.
    pub html: String,
    /// How many remote images were taken out.
    pub remote_images: usize,
}

/// Makes a mail's HTML harmless. Images within the mail (`cid:`) stay, remote ones go: they
/// would tell the sender when and where the mail was read.
#[must_use]
pub fn sanitise(html: &str) -> Sanitised {
    let tame = tame(html);
    if tame.html.len() > MAX_TREE {
        return plain(html);
    }
    Sanitised { html: CLEANER.clean(&tame.html).to_string(), remote_images: tame.remote_images }
}

/// Whether an image is part of the mail (RFC 2392).
pub(super) fn is_within_the_mail(src: &str) -> bool {
    src.trim_start().get(..4).is_some_and(|s| s.eq_ignore_ascii_case("cid:"))
}

fn plain(html: &str) -> Sanitised {
    let mut out = String::from("<pre>");
    for c in render(html, Flavour::Plain).text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            c => out.push(c),
        }
    }
    out.push_str("</pre>");
    Sanitised { html: out, remote_images: 0 }
}

static CLEANER: LazyLock<ammonia::Builder<'static>> = LazyLock::new(cleaner);

fn cleaner() -> ammonia::Builder<'static> {
    let mut builder = ammonia::Builder::default();
    builder
        .add_tags(["font", "center", "big", "u"])
        .url_schemes(HashSet::from(["http", "https", "mailto", "tel", "cid", "xmpp"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .filter_style_properties(HashSet::from(STYLES))
        .generic_attributes(HashSet::from(["dir", "style", "title", "align", "lang"]))
        .add_tag_attributes("font", ["color"])
        .add_tag_attributes("table", ["border", "cellpadding", "cellspacing", "width", "bgcolor"])
        .add_tag_attributes("td", ["width", "bgcolor", "colspan", "rowspan"])
        .set_tag_attribute_values(HashMap::from([("a", HashMap::from([("target", "_blank")]))]))
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("img", "src") if !is_within_the_mail(value) => None,
            _ => Some(value.into()),
        });
    builder
}
