//! A delivery's body mostly consists of its message's text, which may be long. It is written once,
//! with the message; the delivery keeps what is around it and where it belongs, and whoever reads
//! deliveries gets them whole.
//!
//! A body is a JSON object. One that was cut begins with the place of the gap, in octets of the
//! object, and a colon: `12:{"text":"",…}`.

use std::{borrow::Cow, collections::HashMap};

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect,
};

use crate::{StoreError, entities::messages, rows};

/// Below this many octets there is little to save.
const WORTH_IT: usize = 200;
/// Messages looked up at once.
const CHUNK: usize = 200;

/// The row as it is written, when its message with this text is written along with it.
pub(crate) fn cut(row: &rows::Delivery, text: Option<&&str>) -> rows::Delivery {
    let short = text.filter(|t| t.len() >= WORTH_IT).and_then(|text| without(&row.body, text));
    match short {
        Some(body) => rows::Delivery { body, ..head(row) },
        None => row.clone(),
    }
}

/// A copy of everything but the body.
fn head(row: &rows::Delivery) -> rows::Delivery {
    rows::Delivery {
        id: row.id.clone(),
        tenant_id: row.tenant_id.clone(),
        transaction_id: row.transaction_id.clone(),
        conversation_id: row.conversation_id.clone(),
        message_id: row.message_id.clone(),
        seq: row.seq,
        medium: row.medium.clone(),
        person: row.person.clone(),
        address: row.address.clone(),
        member_id: row.member_id.clone(),
        source: row.source.clone(),
        wire_id: row.wire_id.clone(),
        body: String::new(),
        state: row.state.clone(),
        data: row.data.clone(),
        history: row.history.clone(),
        question: row.question.clone(),
        due_at: row.due_at,
        version: row.version,
        created_at: row.created_at,
    }
}

fn without(body: &str, text: &str) -> Option<String> {
    let text = escaped(text);
    // A long needle costs more to prepare than to find.
    let begin = &text.as_bytes()[..text.len().min(32)];
    let at = memchr::memmem::find_iter(body.as_bytes(), begin)
        .find(|&at| body.as_bytes()[at..].starts_with(text.as_bytes()))?;
    let after = body.get(at + text.len()..)?;
    Some(format!("{at}:{}{after}", body.get(..at)?))
}

fn with(body: &str, text: &str) -> Option<String> {
    let (at, short) = body.split_once(':')?;
    let at: usize = at.parse().ok()?;
    Some(format!("{}{}{}", short.get(..at)?, escaped(text), short.get(at..)?))
}

/// A text as it stands in JSON, without the quotation marks.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        return text.into();
    }
    let mut quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.pop();
    quoted.remove(0);
    quoted.into()
}

fn is_cut(row: &rows::Delivery) -> bool {
    row.body.starts_with(|c: char| c.is_ascii_digit())
}

#[derive(FromQueryResult)]
struct Text {
    id: String,
    text: String,
}

/// Puts the texts back into rows that were read. Where the message is gone its text is too.
pub(crate) async fn whole(
    db: &impl ConnectionTrait,
    mut found: Vec<rows::Delivery>,
) -> Result<Vec<rows::Delivery>, StoreError> {
    use messages::Column as C;
    let mut ids: Vec<String> =
        found.iter().filter(|row| is_cut(row)).map(|row| row.message_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut texts: HashMap<String, String> = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let select = messages::Entity::find().select_only().columns([C::Id, C::Text]);
        let select = select.filter(C::Id.is_in(chunk.iter().cloned()));
        let read = select.into_model::<Text>().all(db).await?;
        texts.extend(read.into_iter().map(|t| (t.id, t.text)));
    }
    for row in found.iter_mut().filter(|row| is_cut(row)) {
        let text = texts.get(&row.message_id).map_or("", String::as_str);
        row.body = with(&row.body, text).ok_or_else(|| StoreError::Corrupt {
            table: "deliveries",
            column: "body",
            id: row.id.clone(),
            why: "the place of its message's text is wrong".into(),
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{with, without};

    #[test]
    fn what_is_cut_out_is_put_back_octet_by_octet() {
        for text in ["a plain line", "two\nlines, \"quoted\" \\ and\ttabbed", "Grüße 👋\r\n\u{1}"]
        {
            let json = |t: &str| serde_json::json!({"text": t, "from": "a@b.test"}).to_string();
            for whole in [json(text), json(&format!("*Pump: é*\n\n{text}\n\nBefore: {text}"))] {
                let short = without(&whole, text).expect("the text is in it");
                assert!(short.len() < whole.len());
                assert_eq!(with(&short, text).as_deref(), Some(whole.as_str()));
            }
            assert_eq!(without(&json("another"), text), None);
        }
        assert_eq!(with("9999:{}", "x"), None);
        assert_eq!(with("{}", "x"), None);
    }
}
