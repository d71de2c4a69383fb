//! The static files, compiled into the binary.

use actix_web::{HttpRequest, HttpResponse, http::header, web};

use super::Failure;
use crate::pages::assets::{ASSETS, version};

/// `GET /assets/NAME`. Under the version that pages name it never changes.
pub(super) async fn serve(
    req: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let path = format!("/assets/{name}");
    let asset = ASSETS.iter().find(|a| a.path == path).ok_or(Failure::NotFound)?;
    let tag = format!("\"{}\"", version());
    let known =
        req.headers().get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let named = req.query_string() == format!("v={}", version());
    let keep = if named { "public, max-age=31536000, immutable" } else { "public, max-age=3600" };
    let mut builder = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    builder
        .insert_header((header::CACHE_CONTROL, keep))
        .insert_header((header::ETAG, tag))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(asset.media_type);
    Ok(if known { builder.finish() } else { builder.body(asset.body) })
}
