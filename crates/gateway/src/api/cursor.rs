//! Pages of lists: how many items, and where the page before ended.

use std::collections::HashMap;

use actix_web::{HttpRequest, web};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use isthmus_store::blob_hash;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    enter::Ctx,
    problem::{Code, Problem},
};

/// Items of a page unless `limit` says otherwise.
const DEFAULT: u64 = 50;
/// Items of a page at most.
const MOST: u64 = 200;
/// Longest cursor that is looked at.
const MAX_CURSOR: usize = 512;

/// The installation's key for cursors, read once.
#[derive(Default)]
pub(super) struct Cursors(OnceCell<String>);

impl Cursors {
    async fn key(&self, ctx: &Ctx) -> Result<&str, Problem> {
        let make = || ctx.gateway.store.setting_or("cursor_key", || ctx.gateway.chance.token());
        Ok(self.0.get_or_try_init(make).await?)
    }
}

/// One page that was asked for.
pub(super) struct Page {
    list: String,
    /// Items at most.
    pub(super) limit: u64,
    /// What [`Page::answer`] was given as the place of the last item.
    pub(super) after: Option<Vec<String>>,
    /// Further parameters.
    pub(super) query: HashMap<String, String>,
}

impl Page {
    /// Reads `limit` and `cursor`. `list` names the list: cursors of one do not fit another.
    ///
    /// # Errors
    /// 400 for a limit out of bounds or a cursor that this list did not give out to this caller.
    pub(super) async fn read(ctx: &Ctx, req: &HttpRequest, list: &str) -> Result<Self, Problem> {
        let query = web::Query::<HashMap<String, String>>::from_query(req.query_string())
            .map_err(|e| Problem::with(Code::BadParameter, e.to_string()))?
            .into_inner();
        let limit = match query.get("limit").map(|l| l.parse::<u64>()) {
            None => DEFAULT,
            Some(Ok(n)) if (1..=MOST).contains(&n) => n,
            Some(_) => {
                return Err(Problem::with(
                    Code::BadParameter,
                    "limit must be a number from 1 to 200.",
                ));
            }
        };
        let after = match query.get("cursor") {
            None => None,
            Some(cursor) => {
                let key = ctx.api.0.cursors.key(ctx).await?;
                Some(
                    open(key, &context(ctx, list), cursor)
                        .ok_or_else(|| Problem::new(Code::BadCursor))?,
                )
            }
        };
        Ok(Self { list: list.to_owned(), limit, after, query })
    }

    /// The list's answer from rows of which one more than `limit` was asked for.
    ///
    /// # Errors
    /// When the key for cursors cannot be read.
    pub(super) async fn answer<R>(
        &self,
        ctx: &Ctx,
        rows: &[R],
        place: impl Fn(&R) -> Vec<String>,
        show: impl Fn(&R) -> Value,
    ) -> Result<Value, Problem> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let shown = &rows[..rows.len().min(limit)];
        let next = match shown.last() {
            Some(last) if rows.len() > limit => {
                let key = ctx.api.0.cursors.key(ctx).await?;
                Value::String(seal(key, &context(ctx, &self.list), &place(last)))
            }
            _ => Value::Null,
        };
        Ok(json!({"items": shown.iter().map(show).collect::<Vec<_>>(), "next": next}))
    }

    /// The first part of the cursor.
    pub(super) fn after_id(&self) -> Option<String> {
        self.after.as_ref().and_then(|parts| parts.first().cloned())
    }
}

fn context(ctx: &Ctx, list: &str) -> String {
    format!("{list}\n{}\n{}", ctx.tenant_id(), ctx.caller_id())
}

/// Hashed twice with the key in front, so that nothing can be appended to what was signed.
fn tag(key: &str, context: &str, text: &str) -> String {
    let inner = blob_hash(format!("{key}\n{context}\n{text}").as_bytes());
    blob_hash(format!("{key}\n{inner}").as_bytes())[..32].to_owned()
}

fn seal(key: &str, context: &str, parts: &[String]) -> String {
    let text = json!(parts).to_string();
    format!("{}.{}", B64.encode(&text), tag(key, context, &text))
}

fn open(key: &str, context: &str, cursor: &str) -> Option<Vec<String>> {
    if cursor.len() > MAX_CURSOR {
        return None;
    }
    let (text, given) = cursor.split_once('.')?;
    let text = String::from_utf8(B64.decode(text).ok()?).ok()?;
    (tag(key, context, &text) == given).then(|| serde_json::from_str(&text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_fits_its_own_list_only() {
        let cursor = seal("key", "contacts\nten_1\nmem_1", &["con_1".into()]);
        assert_eq!(open("key", "contacts\nten_1\nmem_1", &cursor), Some(vec!["con_1".to_owned()]));
        assert_eq!(open("key", "contacts\nten_2\nmem_1", &cursor), None);
        assert_eq!(open("other", "contacts\nten_1\nmem_1", &cursor), None);
        let forged = format!(
            "{}.{}",
            B64.encode("[\"con_9\"]"),
            cursor.split_once('.').expect("two parts").1
        );
        assert_eq!(open("key", "contacts\nten_1\nmem_1", &forged), None);
    }
}
