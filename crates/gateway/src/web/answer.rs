//! Answers: pages with the headers that protect them, redirects, files, and what went wrong.

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use bytes::Bytes;
use isthmus_domain::clock::Millis;
use isthmus_store::StoreError;

use crate::pages::{
    Frame, MAIL_CSP, PAGE_CSP, Part, Who, Zone,
    error::{ErrorView, WayOut},
    mail_html::MailHtmlView,
    render,
};

/// `Content-Security-Policy` of files: nothing in them acts, wherever they are opened.
const FILE_CSP: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";
/// The same for PDF: browsers do not show one in a sandbox, and its viewer is one itself.
const PDF_CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// The headers that everything has.
fn guard(builder: &mut HttpResponseBuilder, policy: &'static str) {
    builder
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
        .insert_header((header::REFERRER_POLICY, "same-origin"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"))
        .insert_header((header::PERMISSIONS_POLICY, "camera=(), microphone=(), geolocation=()"))
        .insert_header((header::CACHE_CONTROL, "no-store"));
}

/// A page.
pub(crate) fn page<V: askama::Template>(view: &V) -> HttpResponse {
    page_as(StatusCode::OK, view)
}

/// A page with another status than 200.
pub(crate) fn page_as<V: askama::Template>(status: StatusCode, view: &V) -> HttpResponse {
    let mut builder = HttpResponse::build(status);
    guard(&mut builder, PAGE_CSP);
    // For browsers that do not know frame-ancestors.
    builder.insert_header((header::X_FRAME_OPTIONS, "DENY"));
    builder.insert_header((header::VARY, "Cookie, X-Fragment"));
    builder.content_type("text/html; charset=utf-8").body(render(view))
}

/// To another page, by GET (RFC 9110 section 15.4.4).
pub(crate) fn see(path: &str) -> HttpResponse {
    let mut builder = HttpResponse::SeeOther();
    guard(&mut builder, PAGE_CSP);
    builder.insert_header((header::LOCATION, path)).finish()
}

/// A mail's own HTML, for the frame on its page.
pub(crate) fn mail_html(sanitised: String) -> HttpResponse {
    let mut builder = HttpResponse::Ok();
    guard(&mut builder, MAIL_CSP);
    builder.insert_header((header::X_FRAME_OPTIONS, "SAMEORIGIN"));
    builder.content_type("text/html; charset=utf-8").body(render(&MailHtmlView { sanitised }))
}

/// A file to be saved.
pub(crate) fn download(name: &str, media_type: &str, data: Bytes) -> HttpResponse {
    file("attachment", name, media_type, data, FILE_CSP)
}

/// A picture or a PDF to be looked at; anything else is for saving.
pub(crate) fn preview(name: &str, media_type: &str, data: Bytes) -> HttpResponse {
    match media_type {
        "application/pdf" => file("inline", name, media_type, data, PDF_CSP),
        // Not SVG: it is a document that may hold script.
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => {
            file("inline", name, media_type, data, FILE_CSP)
        }
        _ => download(name, media_type, data),
    }
}

/// The beginning of an answer that is a file to be saved, for what is written while it is sent.
pub(crate) fn download_of(name: &str) -> HttpResponseBuilder {
    let mut builder = HttpResponse::Ok();
    guard(&mut builder, FILE_CSP);
    builder.insert_header((header::CONTENT_DISPOSITION, disposition("attachment", name)));
    builder
}

fn file(
    how: &str,
    name: &str,
    media_type: &str,
    data: Bytes,
    policy: &'static str,
) -> HttpResponse {
    let mut builder = HttpResponse::Ok();
    guard(&mut builder, policy);
    // Text and markup under their own type would be shown, or guessed at, by older browsers.
    let media_type = match media_type.split('/').next() {
        Some("image" | "audio" | "video") if media_type != "image/svg+xml" => media_type,
        _ if matches!(media_type, "application/pdf" | "application/zip" | "message/rfc822") => {
            media_type
        }
        _ => "application/octet-stream",
    };
    builder.insert_header((header::CONTENT_DISPOSITION, disposition(how, name)));
    builder.content_type(media_type).body(data)
}

/// `attachment; filename="a.pdf"; filename*=UTF-8''a.pdf` (RFC 6266 section 4).
fn disposition(how: &str, name: &str) -> String {
    let name = isthmus_mail::mime::safe_file_name(name);
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\%;".contains(c) || c == ' ' { c } else { '_' })
        .collect();
    let mut full = String::new();
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            full.push(char::from(b));
        } else {
            full.push_str(&format!("%{b:02X}"));
        }
    }
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody is signed in; afterwards they go on to this path.
    #[error("nobody is signed in")]
    SignIn(String),
    /// Missing, or somebody else's: both look the same.
    #[error("there is nothing at this address")]
    NotFound,
    /// A link that was good until lately.
    #[error("this link has expired")]
    Gone,
    /// A form that did not come from one of our pages.
    #[error("the form did not come from one of our pages: {0}")]
    Forged(&'static str),
    /// The form makes no sense.
    #[error("{0}")]
    Bad(&'static str),
    /// The form is too long.
    #[error("the form is too long")]
    TooLarge,
    /// Too often.
    #[error("too many attempts")]
    TooMuch,
    /// Too many files are coming in at the moment.
    #[error("too many files are coming in at the moment")]
    Busy,
    /// It did not come to an end.
    #[error("the form took too long to come in")]
    TooSlow,
    /// Our own fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::SignIn(_) => StatusCode::SEE_OTHER,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Gone => StatusCode::GONE,
            Self::Forged(_) => StatusCode::FORBIDDEN,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMuch => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::SignIn(next) = self {
            return see(&sign_in_path(next));
        }
        if let Self::Store(error) = self {
            tracing::error!(%error, "A page could not be made");
        }
        let (title, detail, way_out) = self.words();
        let frame = Frame {
            part: Part::Whole,
            csrf: String::new(),
            zone: Zone::named("UTC"),
            now: Millis(0),
            who: Who::Visitor,
            notice: None,
        };
        let status = self.status_code();
        let (title, detail) = (title.to_owned(), detail.to_owned());
        let mut response =
            page_as(status, &ErrorView { frame, status: status.as_u16(), title, detail, way_out });
        if matches!(self, Self::TooMuch) {
            let minute = header::HeaderValue::from_static("60");
            response.headers_mut().insert(header::RETRY_AFTER, minute);
        }
        response
    }
}

/// The sign-in page that leads to `next` afterwards.
fn sign_in_path(next: &str) -> String {
    if next.is_empty() || next == "/" {
        return "/sign-in".to_owned();
    }
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("/sign-in?next={next}")
}

impl Failure {
    fn words(&self) -> (&'static str, &'static str, WayOut) {
        match self {
            Self::NotFound | Self::SignIn(_) => (
                "There is nothing at this address",
                "It may have been deleted, the link may have been cut short, or it is not yours to see. \
                 Nothing was changed.",
                WayOut::Inbox,
            ),
            Self::Gone => (
                "This link does not work any more",
                "Links work for a limited time. Ask for a new one in the conversation that it came from.",
                WayOut::Inbox,
            ),
            Self::Forged(_) => (
                "This form was not accepted",
                "It did not come from a page that is still yours: you may have signed in or out in another \
                 tab. Nothing was sent. Go back, load the page again, and send it once more.",
                WayOut::Inbox,
            ),
            Self::Bad(why) => ("That did not work", why, WayOut::Inbox),
            Self::TooLarge => (
                "This is too large",
                "All files of one message may have 25 MB together. Nothing was sent. Go back: your text is \
                 still in the form.",
                WayOut::Inbox,
            ),
            Self::TooMuch => (
                "Too many attempts",
                "Please wait a minute and try again. Nothing was changed.",
                WayOut::SignIn,
            ),
            Self::Busy => (
                "Too many files are coming in at the moment",
                "Nothing was sent. Go back, wait a few seconds, and send it once more.",
                WayOut::Inbox,
            ),
            Self::TooSlow => (
                "This took too long",
                "The form did not come in within two minutes. Nothing was sent. Go back and send it again.",
                WayOut::Inbox,
            ),
            Self::Store(_) => (
                "Something went wrong here",
                "It is our fault, not yours, and it was logged. What was accepted before is kept. Please try \
                 again in a moment.",
                WayOut::Inbox,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_stays_inside_its_header() {
        let name = "a\"; x=\"\r\nSet-Cookie: x=1\u{202e}é.pdf";
        let header = disposition("attachment", name);
        assert!(header.is_ascii() && !header.contains(['\r', '\n']), "{header}");
        assert_eq!(header.matches('"').count(), 2, "{header}");
        assert_eq!(
            disposition("inline", "offer 1.pdf"),
            "inline; filename=\"offer 1.pdf\"; filename*=UTF-8''offer%201.pdf"
        );
    }

    #[test]
    fn markup_is_never_served_as_markup() {
        for media_type in ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"] {
            let response =
                preview("x", media_type, Bytes::from_static(b"<script>alert(1)</script>"));
            let header = |name| {
                response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
            };
            assert_eq!(header("content-type"), "application/octet-stream", "{media_type}");
            assert!(header("content-disposition").starts_with("attachment;"), "{media_type}");
        }
        let picture = preview("x.png", "image/png", Bytes::new());
        assert_eq!(picture.headers().get("content-type").expect("a type"), "image/png");
    }
}
