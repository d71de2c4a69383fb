//! Contacts from a CSV file (RFC 4180), with a report for each line, or from vCards, with a report for
//! each card.

use std::collections::HashSet;

use actix_web::HttpResponse;
use isthmus_domain::{address::ImAddress, ids::TransactionId};
use isthmus_store::{ChangeSet, rows};
use serde_json::json;

use super::{
    Failure, addresses, answer,
    contacts::{self, Asked, audit},
    form::MemberForm,
    who::Me,
    work::sentence,
};
use crate::api::addresses::have_room;
use crate::pages::contacts::{ContactForm, ImportLine, ImportOutcome, ImportReport};
use crate::vcard;

/// Lines of one file.
const LINES: usize = 10_000;
/// Octets of one CSV file.
const SIZE: usize = 2_000_000;
/// Octets of one file of vCards, which may hold photos.
const CARDS_SIZE: usize = 20_000_000;

/// `POST /contacts/import`.
pub(super) async fn import(form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let Some(file) = fields.files.iter().find(|f| f.field == "file") else {
        me.failed("Choose a file first.");
        return Ok(answer::see("/contacts"));
    };
    let name = file.name.to_ascii_lowercase();
    let cards = vcard::looks_like(&file.data) || name.ends_with(".vcf");
    let (limit, words) = if cards { (CARDS_SIZE, "20 MB") } else { (SIZE, "2 MB") };
    if file.data.len() > limit {
        me.failed(&format!("This file is too large: {words} are the limit. Send it in parts."));
        return Ok(answer::see("/contacts"));
    }
    let mut set = ChangeSet::default();
    let read = if cards { read_cards } else { read_lines };
    let lines = match read(&me, &file.data, &mut set) {
        Ok(lines) => lines,
        Err(why) => {
            me.failed(&why);
            return Ok(answer::see("/contacts"));
        }
    };
    record(&me, &mut set, lines.len(), file.data.len());
    me.portal.gateway.store.commit(set).await?;
    let report = ImportReport { file: file.name.clone(), lines };
    let me = me.with_newest_directory();
    let view = contacts::view(&me, &Asked::default(), ContactForm::default(), Some(report)).await?;
    Ok(answer::page(&view))
}

/// Every request is a transaction; this one is over when its answer begins.
fn record(me: &Me, set: &mut ChangeSet, lines: usize, size: usize) {
    let gateway = &me.portal.gateway;
    let now = gateway.now();
    let id: String = TransactionId::new(now, &gateway.chance).into();
    audit(me, set, "contact.import", &id, &json!({"lines": lines}));
    set.new_transactions.push(rows::Transaction {
        id,
        tenant_id: me.tenant_id().to_owned(),
        member_id: Some(me.member.id.clone()),
        service: "import".into(),
        source: "portal".into(),
        params: json!({"lines": lines, "size": size}).to_string(),
        state: "done".into(),
        reason: None,
        admission: None,
        dedupe: None,
        attempts: 0,
        at: now.0,
        ended_at: Some(now.0),
    });
}

/// Every email address of a card is a contact; the chat addresses are the preferred one's.
fn read_cards(me: &Me, octets: &[u8], set: &mut ChangeSet) -> Result<Vec<ImportLine>, String> {
    let entries = vcard::read(octets).map_err(|e| format!("{e}. Nothing was added."))?;
    let (mut lines, mut seen) = (Vec::new(), HashSet::new());
    for entry in entries {
        let number = u32::try_from(entry.line).unwrap_or(u32::MAX);
        let card = match entry.card {
            Ok(card) => card,
            Err(why) => {
                let outcome = ImportOutcome::Refused(sentence(&why));
                lines.push(ImportLine { number, what: String::new(), outcome });
                continue;
            }
        };
        for (i, email) in card.emails.iter().enumerate() {
            let ims = if i == 0 { card.ims.as_slice() } else { &[] };
            let ims: Vec<&str> = ims.iter().map(String::as_str).collect();
            let outcome = take(me, email, &card.name, &ims, &mut seen, set);
            let outcome = outcome.unwrap_or_else(ImportOutcome::Refused);
            lines.push(ImportLine { number, what: email.chars().take(320).collect(), outcome });
        }
    }
    Ok(lines)
}

fn read_lines(me: &Me, octets: &[u8], set: &mut ChangeSet) -> Result<Vec<ImportLine>, String> {
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets);
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(octets);
    let head =
        reader.headers().map_err(|_| "The first line cannot be read: is it a CSV file?")?.clone();
    let column = |name: &str| head.iter().position(|h| h.eq_ignore_ascii_case(name));
    let email = column("email").ok_or("The first line must name the columns; email is missing.")?;
    let (name, im) = (column("name"), column("im"));
    let (mut lines, mut seen) = (Vec::new(), HashSet::new());
    for record in reader.records() {
        if lines.len() >= LINES {
            return Err(format!(
                "The file has more than {LINES} lines. Send it in parts; nothing was added."
            ));
        }
        let number = |p: Option<&csv::Position>| {
            u32::try_from(p.map_or(0, csv::Position::line)).unwrap_or(0)
        };
        lines.push(match &record {
            Ok(record) => {
                let field = |i: Option<usize>| i.and_then(|i| record.get(i)).unwrap_or_default();
                let im = Some(field(im)).filter(|im| !im.is_empty());
                let (email, name) = (field(Some(email)), field(name));
                let outcome = take(me, email, name, im.as_slice(), &mut seen, set);
                ImportLine {
                    number: number(record.position()),
                    what: email.chars().take(320).collect(),
                    outcome: outcome.unwrap_or_else(ImportOutcome::Refused),
                }
            }
            Err(error) => ImportLine {
                number: number(error.position()),
                what: String::new(),
                outcome: ImportOutcome::Refused("It is not UTF-8 or not CSV.".to_owned()),
            },
        });
    }
    Ok(lines)
}

fn take(
    me: &Me,
    email: &str,
    name: &str,
    ims: &[&str],
    seen: &mut HashSet<String>,
    set: &mut ChangeSet,
) -> Result<ImportOutcome, String> {
    let email = contacts::email(me, email)?;
    let name = contacts::name(name)?;
    let known = |im: &ImAddress| me.tenant.mappings(&email).iter().any(|m| m.im == im.as_str());
    let mut mappings: Vec<rows::Mapping> = Vec::new();
    for im in ims {
        let im = ImAddress::parse(im).map_err(|e| sentence(&e.to_string()))?;
        if !known(&im) && !mappings.iter().any(|m| m.im == im.as_str()) {
            mappings.push(addresses::claim(me, &email, &im)?);
        }
    }
    if !mappings.is_empty() && !have_room(&me.tenant, &email, mappings.len()) {
        return Err("It would have too many chat addresses.".to_owned());
    }
    if !seen.insert(email.clone()) {
        return Err("This address is in the file already.".to_owned());
    }
    let changed = match me.tenant.contact(&email) {
        None => Some(contacts::fresh(me, email, name)),
        Some(there) if !name.is_empty() && there.name != name => {
            Some(rows::Contact { name, ..there.clone() })
        }
        Some(_) => None,
    };
    let outcome = if changed.is_none() && mappings.is_empty() {
        ImportOutcome::Unchanged
    } else {
        ImportOutcome::Added
    };
    set.put_contacts.extend(changed);
    set.put_mappings.extend(mappings);
    Ok(outcome)
}
