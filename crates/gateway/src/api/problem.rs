//! Everything that can go wrong, in one table, and how it is told (RFC 9457).

use actix_web::{
    HttpRequest, HttpResponse, Responder, ResponseError, body::BoxBody, http::StatusCode,
    http::header, web,
};
use isthmus_store::StoreError;
use serde_json::{Map, Value, json};

/// The media type of a problem (RFC 9457 section 3).
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($name:ident = $slug:literal $status:ident, $title:literal, $next:literal;)*) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $($name),* }

        impl Code {
            /// All of them, in the order of the table.
            const ALL: &[Self] = &[$(Self::$name),*];

            /// Name, status, title, and what the caller should do.
            fn entry(self) -> (&'static str, StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$name => ($slug, StatusCode::$status, $title, $next)),*
                }
            }
        }
    };
}

codes! {
    BadJson = "malformed-json" BAD_REQUEST, "The body is not JSON that can be read",
        "Send one JSON object in UTF-8 that is nested at most 32 levels deep.";
    BadBody = "broken-body" BAD_REQUEST, "The body ended too early or could not be read",
        "Send the request again.";
    BadParameter = "bad-parameter" BAD_REQUEST, "A parameter in the address cannot be right",
        "Correct the parameter that the detail names.";
    BadCursor = "bad-cursor" BAD_REQUEST, "The cursor is not one that this list gave out",
        "Use the value of `next` as it is, with the same key and list, or start again without a cursor.";
    BadIdempotencyKey = "bad-idempotency-key" BAD_REQUEST, "The Idempotency-Key cannot be used",
        "Send one key of 1 to 255 visible ASCII characters.";
    BadRequest = "bad-request" BAD_REQUEST, "The request could not be understood",
        "Compare it with /openapi.json.";
    NoKey = "no-key" UNAUTHORIZED, "No API key was given",
        "Send the header `Authorization: Bearer KEY`; `isthmus keys create` makes keys.";
    BadKey = "bad-key" UNAUTHORIZED, "The API key is not known",
        "Check the key; it may have been revoked. `isthmus keys create` makes a new one.";
    BadLink = "bad-link" UNAUTHORIZED, "The link is not one of ours, or it was changed",
        "Copy the whole link from the message, or ask the sender for the file.";
    OperatorKey = "operator-key" FORBIDDEN, "An operator's key opens no tenant's data",
        "Use a key of the tenant or of one of its members.";
    AdminsOnly = "admins-only" FORBIDDEN, "Only administrators may do this",
        "Ask an owner or administrator of your organisation.";
    ContentIsPrivate = "content-is-private" FORBIDDEN, "Administrators do not see what people wrote",
        "Use the key of a member who takes part in the conversation.";
    NotYours = "not-yours" FORBIDDEN, "A member's key acts as that member only",
        "Leave `as` out, or use the tenant's key.";
    NotFound = "not-found" NOT_FOUND, "There is nothing under this id for you",
        "Check the id, and that the key belongs to somebody who may see it.";
    NoRoute = "no-route" NOT_FOUND, "There is no such address in this API",
        "Compare it with /openapi.json.";
    WrongMethod = "wrong-method" METHOD_NOT_ALLOWED, "This address does not know the method",
        "Use one of the methods in the Allow header.";
    TooSlow = "too-slow" REQUEST_TIMEOUT, "The body took too long",
        "Send the request again over a faster connection, or send less.";
    Settled = "already-settled" CONFLICT, "The delivery is settled already",
        "Nothing is left to decide; read the delivery to see what became of it.";
    NotAsked = "not-asked" CONFLICT, "Nothing was asked about this delivery",
        "Wait until its state is `awaiting_decision`.";
    NotHeld = "not-held" CONFLICT, "The mail is not held back",
        "Nothing is left to do; it lies in its conversation like any other.";
    Exists = "already-exists" CONFLICT, "It is there already",
        "Use the one that is there; its id is in this answer where it is known.";
    AddressTaken = "address-taken" CONFLICT, "The IM address is verified for somebody else",
        "Revoke it there first.";
    AlreadyVerified = "already-verified" CONFLICT, "The address is verified already",
        "Nothing is left to do.";
    InProgress = "request-in-progress" CONFLICT, "A request with this Idempotency-Key is being worked on",
        "Wait for its answer, or ask again in a moment.";
    Expired = "link-expired" GONE, "The link has expired",
        "Ask the sender for the file, or open the conversation.";
    TooLarge = "too-large" PAYLOAD_TOO_LARGE, "The body is too large",
        "Stay below 30,000,000 octets; attachments count as base64. CSV files: 2,000,000 octets, vCards: 20,000,000.";
    WrongMediaType = "wrong-media-type" UNSUPPORTED_MEDIA_TYPE, "The body has another media type",
        "Send the Content-Type that /openapi.json names.";
    Invalid = "invalid-request" UNPROCESSABLE_ENTITY, "The request is well-formed but cannot be right",
        "Correct what the detail names.";
    KeyReused = "idempotency-key-reused" UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for another request",
        "Use a fresh key for each request.";
    MemberNeeded = "member-needed" UNPROCESSABLE_ENTITY, "A message needs somebody who writes it",
        "Name a member with `as`, for example \"as\": \"alice@acme.test\", or use that member's key.";
    NoIm = "no-im-address" UNPROCESSABLE_ENTITY, "No verified IM address is known for this person",
        "Add one with POST /v1/contacts/{id}/addresses and verify it, or send with \"via\": \"email\".";
    NoEmail = "no-email-address" UNPROCESSABLE_ENTITY, "No email address is known for this person",
        "Send with \"via\": \"im\", or add the IM address to a contact.";
    BadMail = "unreadable-email" UNPROCESSABLE_ENTITY, "The mail to answer cannot be read",
        "Send the whole mail as its source shows it (RFC 5322), or use `to_message`.";
    ExportTooLong = "export-too-long" UNPROCESSABLE_ENTITY, "The conversation is too long for one export",
        "Read it page by page from /v1/conversations/{id}/messages.";
    TooMany = "rate-limited" TOO_MANY_REQUESTS, "Too many requests with this key",
        "Wait as long as the Retry-After header says, in seconds.";
    TooManyChallenges = "too-many-challenges" TOO_MANY_REQUESTS, "This address was asked often enough for today",
        "Ask the person to answer the question they have, or try again tomorrow.";
    Internal = "internal" INTERNAL_SERVER_ERROR, "Something went wrong here",
        "Try again; with the same Idempotency-Key nothing happens twice.";
    NotReady = "not-ready" SERVICE_UNAVAILABLE, "The service is not ready",
        "Try again in a few seconds.";
    Full = "storage-full" INSUFFICIENT_STORAGE, "There is no room left to store this",
        "Try again later; nothing was accepted.";
}

/// Something that went wrong, with what is known about it.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: Option<String>,
    more: Map<String, Value>,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// The problem with its title alone.
    pub(crate) fn new(code: Code) -> Self {
        Self { code, detail: None, more: Map::new(), retry_after_s: None }
    }

    /// With a sentence about this one case.
    pub(crate) fn with(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }

    /// With a further member (RFC 9457 section 3.2).
    pub(crate) fn and(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// With a Retry-After, in seconds.
    pub(crate) fn after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The problem that stands for an error of the framework.
    pub(super) fn of_status(status: StatusCode) -> Self {
        Self::new(match status {
            StatusCode::NOT_FOUND => Code::NoRoute,
            StatusCode::METHOD_NOT_ALLOWED => Code::WrongMethod,
            StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
            StatusCode::REQUEST_TIMEOUT => Code::TooSlow,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::WrongMediaType,
            s if s.is_client_error() => Code::BadRequest,
            _ => Code::Internal,
        })
    }

    /// Which one it is.
    #[cfg(test)]
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// The status and the sentence for a person.
    pub(super) fn words(&self) -> (StatusCode, &'static str, &'static str) {
        let (_, status, title, next) = self.code.entry();
        (status, title, next)
    }

    /// The HTTP response.
    pub(super) fn response(&self) -> HttpResponse {
        let (slug, status, title, next) = self.code.entry();
        let mut body = json!({
            "type": format!("/problems/{slug}"),
            "title": title,
            "status": status.as_u16(),
            "code": slug,
            "next_step": next,
        });
        if let Some(detail) = &self.detail {
            body["detail"] = detail.as_str().into();
        }
        for (name, value) in &self.more {
            body[name] = value.clone();
        }
        let mut response = HttpResponse::build(status);
        response.content_type(MEDIA_TYPE);
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750 section 3.
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"isthmus\""));
        }
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.body(body.to_string())
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, _, title, _) = self.code.entry();
        f.write_str(self.detail.as_deref().unwrap_or(title))
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.entry().1
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

impl Responder for Problem {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.response()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_full() {
            return Self::new(Code::Full);
        }
        match error {
            StoreError::Rule(why) => Self::with(Code::Invalid, why),
            error => {
                tracing::error!(%error, "A request could not be answered");
                Self::new(Code::Internal)
            }
        }
    }
}

/// `GET /problems/{code}`: what a problem's type means, for people.
pub(super) async fn explain(slug: web::Path<String>) -> Result<HttpResponse, Problem> {
    let found = Code::ALL.iter().map(|c| c.entry()).find(|(name, ..)| *name == slug.as_str());
    let (name, status, title, next) = found.ok_or_else(|| Problem::new(Code::NotFound))?;
    let text = format!("{name} ({})\n\n{title}.\n\n{next}\n", status.as_u16());
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_name_of_its_own_and_tells_what_to_do() {
        let mut names: Vec<_> = Code::ALL.iter().map(|c| c.entry().0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(
            Code::ALL.iter().all(|c| c.entry().1.as_u16() >= 400 && c.entry().3.ends_with('.'))
        );
    }

    #[test]
    fn the_details_of_our_own_failures_stay_inside() {
        let problem = Problem::from(StoreError::Closed);
        assert_eq!(problem.code(), Code::Internal);
        assert!(problem.detail.is_none());
    }
}
