//! `POST /v1/contacts/import`: contacts from a CSV file (RFC 4180), with a report for each line, or
//! from vCards, with a report for each card.

use std::collections::HashSet;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use isthmus_domain::{address::ImAddress, ids::TransactionId};
use isthmus_store::{ChangeSet, rows};
use serde_json::{Value, json};

use super::{
    addresses, body, contacts,
    enter::Ctx,
    once::{self, Answer, Begin},
    problem::{Code, Problem},
};
use crate::vcard;

/// Largest CSV file, in octets.
const MAX_FILE: usize = 2_000_000;
/// Largest file of vCards, which may hold photos.
const MAX_CARDS: usize = 20_000_000;
/// What vCards are sent as: as RFC 6350 section 10.1 says, or as it was before.
const CARD_TYPES: [&str; 2] = ["text/vcard", "text/x-vcard"];
/// Lines of one file.
const MAX_LINES: usize = 10_000;
/// Columns that are understood; the first is needed.
const COLUMNS: [&str; 3] = ["email", "name", "im"];

/// What became of one line.
enum Done {
    Created,
    Updated,
    Unchanged,
}

impl Done {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// `POST /v1/contacts/import`.
pub(super) async fn import(
    ctx: Ctx,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let cards = is_cards(&req);
    let body = if cards {
        body::of_type(&req, &ctx.api, payload, &CARD_TYPES, MAX_CARDS).await?
    } else {
        body::of_type(&req, &ctx.api, payload, &["text/csv"], MAX_FILE).await?
    };
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return Ok(answer.response()),
        Begin::Fresh(once) => once,
    };
    let mut set = ChangeSet::default();
    let report = if cards {
        read_cards(&ctx, &body.octets, &mut set)?
    } else {
        read(&ctx, &body.octets, &mut set)?
    };
    let count = |what: &str| report.iter().filter(|l| l["result"] == what).count();
    let counts = json!({
        "created": count("created"), "updated": count("updated"),
        "unchanged": count("unchanged"), "refused": count("refused"),
    });
    let now = ctx.gateway.now();
    let id: String = TransactionId::new(now, &ctx.gateway.chance).into();
    ctx.audit(&mut set, "contact.import", &id, &counts);
    set.new_transactions.push(rows::Transaction {
        id: id.clone(),
        tenant_id: ctx.tenant_id().to_owned(),
        member_id: ctx.member().map(|m| m.id.clone()),
        service: "import".into(),
        source: "api".into(),
        params: json!({"lines": report.len(), "size": body.octets.len()}).to_string(),
        state: "done".into(),
        reason: None,
        admission: None,
        dedupe: None,
        attempts: 0,
        at: now.0,
        ended_at: Some(now.0),
    });
    let answer = Answer::new(
        StatusCode::OK,
        &json!({"transaction_id": id, "counts": counts, "lines": report}),
    );
    let clash = || {
        Problem::with(
            Code::Exists,
            "Somebody added one of these contacts meanwhile; send it again.",
        )
    };
    Ok(once.finish(&ctx, set, answer, clash).await?.response())
}

fn is_cards(req: &HttpRequest) -> bool {
    let named = req.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let named = named.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    CARD_TYPES.iter().any(|t| t.eq_ignore_ascii_case(named))
}

/// Every email address of a card is a contact; the chat addresses are the preferred one's.
fn read_cards(ctx: &Ctx, octets: &[u8], set: &mut ChangeSet) -> Result<Vec<Value>, Problem> {
    let entries = vcard::read(octets).map_err(|e| Problem::with(Code::Invalid, format!("{e}.")))?;
    let (mut report, mut seen) = (Vec::new(), HashSet::new());
    for entry in entries {
        let card = match entry.card {
            Ok(card) => card,
            Err(why) => {
                report.push(told(json!({"line": entry.line, "email": null}), Err(why)));
                continue;
            }
        };
        for (i, email) in card.emails.iter().enumerate() {
            let ims = if i == 0 { card.ims.as_slice() } else { &[] };
            let ims: Vec<&str> = ims.iter().map(String::as_str).collect();
            let result = take(ctx, email, &card.name, &ims, &mut seen, set);
            let email: String = email.chars().take(320).collect();
            report.push(told(json!({"line": entry.line, "email": email}), result));
        }
    }
    Ok(report)
}

fn read(ctx: &Ctx, octets: &[u8], set: &mut ChangeSet) -> Result<Vec<Value>, Problem> {
    let wrong = |why: String| Problem::with(Code::Invalid, why);
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets);
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(octets);
    let head = reader
        .headers()
        .map_err(|e| wrong(format!("The first line cannot be read: {e}.")))?
        .clone();
    let head: Vec<String> = head.iter().map(str::to_ascii_lowercase).collect();
    let column = |name: &str| head.iter().position(|h| h == name);
    if let Some(other) = head.iter().find(|h| !COLUMNS.contains(&h.as_str())) {
        let other: String = other.chars().take(40).collect();
        return Err(wrong(format!(
            "There is no column {other:?}; the first line names email, name and im."
        )));
    }
    let email = column("email")
        .ok_or_else(|| wrong("The first line must name a column email.".to_owned()))?;
    let (name, im) = (column("name"), column("im"));
    let (mut report, mut seen) = (Vec::new(), HashSet::new());
    for record in reader.records() {
        if report.len() >= MAX_LINES {
            return Err(wrong(format!(
                "The file has more than {MAX_LINES} lines; send it in parts."
            )));
        }
        let (line, result) = match &record {
            Ok(record) => {
                let field = |i: Option<usize>| i.and_then(|i| record.get(i)).unwrap_or_default();
                let number = record.position().map_or(0, csv::Position::line);
                let result = if record.len() > head.len() {
                    Err("it has more columns than the first line".to_owned())
                } else {
                    let im = Some(field(im)).filter(|im| !im.is_empty());
                    take(ctx, field(Some(email)), field(name), im.as_slice(), &mut seen, set)
                };
                (
                    json!({"line": number, "email": field(Some(email)).chars().take(320).collect::<String>()}),
                    result,
                )
            }
            Err(error) => {
                let number = error.position().map_or(0, csv::Position::line);
                (
                    json!({"line": number, "email": null}),
                    Err("it is not UTF-8 or not CSV".to_owned()),
                )
            }
        };
        report.push(told(line, result));
    }
    Ok(report)
}

fn told(mut line: Value, result: Result<Done, String>) -> Value {
    match result {
        Ok(done) => line["result"] = done.as_str().into(),
        Err(why) => {
            line["result"] = "refused".into();
            line["reason"] = why.into();
        }
    }
    line
}

/// Takes one contact; IM addresses are claimed, and verified later by asking them.
fn take(
    ctx: &Ctx,
    email: &str,
    name: &str,
    ims: &[&str],
    seen: &mut HashSet<String>,
    set: &mut ChangeSet,
) -> Result<Done, String> {
    let email = contacts::read_email(email).map_err(|e| e.to_string())?;
    let name = contacts::read_name(name).map_err(|e| e.to_string())?;
    if ctx.tenant.member(&email).is_some() {
        return Err("this is a member, who needs no contact".to_owned());
    }
    let known_im = |im: &ImAddress| ctx.tenant.mappings(&email).iter().any(|m| m.im == im.as_str());
    let mut new_ims: Vec<ImAddress> = Vec::new();
    for im in ims {
        let im = ImAddress::parse(im).map_err(|e| format!("im: {e}"))?;
        if !known_im(&im) && !new_ims.contains(&im) {
            addresses::may_claim(ctx, &email, &im).map_err(|e| e.to_string())?;
            new_ims.push(im);
        }
    }
    if !new_ims.is_empty() && !addresses::have_room(&ctx.tenant, &email, new_ims.len()) {
        return Err(format!("{email} would have too many IM addresses"));
    }
    if !seen.insert(email.clone()) {
        return Err("the address is in the file already".to_owned());
    }
    let done = match ctx.tenant.contact(&email) {
        None => {
            set.put_contacts.push(contacts::fresh(ctx, email.clone(), name));
            Done::Created
        }
        Some(there) if !name.is_empty() && there.name != name => {
            set.put_contacts.push(rows::Contact { name, ..there.clone() });
            Done::Updated
        }
        Some(_) if !new_ims.is_empty() => Done::Updated,
        Some(_) => Done::Unchanged,
    };
    set.put_mappings.extend(new_ims.iter().map(|im| addresses::claimed(ctx, &email, im)));
    Ok(done)
}
