//! The document inside the frame that shows a mail's own HTML.

use askama::Template;

/// A mail's HTML, already sanitised.
///
/// Served with [`super::MAIL_CSP`], so that what the sanitiser might miss is inert all the same.
#[derive(Clone, Debug, Template)]
#[template(path = "mail_html.html")]
pub struct MailHtmlView {
    /// Output of the sanitiser. The only text of all views that is not escaped.
    pub sanitised: String,
}
