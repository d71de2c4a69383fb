//! Files that come with instant messages: fetched from the sender's own server and kept, so that
//! they go on as files; what cannot be fetched goes on as the link it is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use isthmus_domain::service::OutFileRef;
use isthmus_im::InMessage;
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    Gateway,
    webchat::{KEPT, NETWORK},
};

/// Octets of one file.
const MAX: usize = 25 * 1024 * 1024;
/// Files of one message.
const FILES: usize = 10;
/// For one file.
const TIME: Duration = Duration::from_secs(20);

/// The files that were fetched, the addresses of those that were not, and the rows to commit.
pub(crate) async fn fetch(
    gateway: &Gateway,
    tenant: &TenantView,
    message: &InMessage,
) -> Result<(Vec<OutFileRef>, Vec<String>, Vec<rows::Blob>), StoreError> {
    let (mut files, mut links, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    for (i, file) in message.files.iter().enumerate() {
        // Our own chat keeps a file before it hands the message on; no other network can say so.
        let kept = file.url.strip_prefix(KEPT).filter(|_| message.from.network() == NETWORK);
        if let Some(Ok(kept)) = kept.map(serde_json::from_str::<OutFileRef>) {
            files.push(kept);
            continue;
        }
        let fetched = if i < FILES && may_fetch(gateway, message, &file.url) {
            get(&file.url).await
        } else {
            Err("it lies on a server that is not the sender's".to_owned())
        };
        match fetched {
            Ok((media_type, data)) => {
                let size = i64::try_from(data.len()).unwrap_or(i64::MAX);
                let blob = gateway.store.keep_blob(&tenant.tenant.id, data).await?;
                files.push(OutFileRef {
                    name: name(&file.url),
                    media_type,
                    size,
                    hash: blob.hash.clone(),
                });
                blobs.push(blob);
            }
            Err(why) => {
                tracing::info!(%why, "A file of an instant message goes on as a link");
                links.push(file.url.clone());
            }
        }
    }
    Ok((files, links, blobs))
}

/// Only from the sender's own server or one that the operator named: an address in a message
/// must not make us call anybody else.
fn may_fetch(gateway: &Gateway, message: &InMessage, url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let Some(host) = url.host_str() else { return false };
    let domain = message.from.address().split('@').nth(1).unwrap_or_default();
    let own = host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    matches!(url.scheme(), "http" | "https")
        && !domain.is_empty()
        && (own || gateway.config.file_hosts.iter().any(|h| h == host))
}

async fn get(url: &str) -> Result<(String, Bytes), String> {
    let words = |e: reqwest::Error| e.without_url().to_string();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIME)
        .build()
        .map_err(words)?;
    let mut response = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(words)?;
    if response.content_length().is_some_and(|n| n > MAX as u64) {
        return Err("it is too large".into());
    }
    let media_type = response
        .headers()
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .and_then(isthmus_mail::mime::safe_media_type)
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    let mut data = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(words)? {
        if data.len() + chunk.len() > MAX {
            return Err("it is too large".into());
        }
        data.extend_from_slice(&chunk);
    }
    Ok((media_type, data.freeze()))
}

/// The last part of the path, neutralised.
fn name(url: &str) -> String {
    let last = url::Url::parse(url)
        .ok()
        .and_then(|u| u.path_segments().and_then(|mut s| s.next_back().map(ToOwned::to_owned)))
        .unwrap_or_default();
    isthmus_mail::mime::safe_file_name(&percent(&last))
}

/// Undoes percent-encoding.
fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).filter(|_| bytes[i] == b'%');
        match hex
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok())
        {
            Some(b) => {
                out.push(b);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
