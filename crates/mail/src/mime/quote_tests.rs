//! Answers as mail programs write them: what is new, what is quoted, what is signature.

use proptest::prelude::*;

use super::{
    Parsed, parse,
    quote::{self, Piece},
};

fn plain(body: &str) -> Parsed {
    let raw = format!(
        "From: alice@acme.test\nSubject: Re: Pump\nContent-Type: text/plain; charset=utf-8\n\n{body}"
    );
    parse(raw.replace('\n', "\r\n").as_bytes()).expect("well-formed")
}

fn html(body: &str) -> Parsed {
    let raw = format!(
        "From: alice@acme.test\nSubject: Re: Pump\nContent-Type: text/html; charset=utf-8\n\n{body}"
    );
    parse(raw.replace('\n', "\r\n").as_bytes()).expect("well-formed")
}

/// Answers written above the quote; each must give "Approved.\n\nGo ahead." as new text.
const TOP_POSTED: [(&str, &str); 16] = [
    (
        "Gmail",
        "Approved.\n\nGo ahead.\n\nOn Mon, 5 Jan 2026 at 10:00, Bob Miller <bob@acme.test> wrote:\n\n> Can you approve?\n>\n> Bob\n",
    ),
    (
        "Gmail, wrapped",
        "Approved.\n\nGo ahead.\n\nOn Mon, 5 Jan 2026 at 10:00, Bob Maximilian Miller\n<bob.maximilian.miller@acme.test> wrote:\n\n> Can you approve?\n",
    ),
    (
        "Gmail, German",
        "Approved.\n\nGo ahead.\n\nAm Mo., 5. Jan. 2026 um 10:00 Uhr schrieb Bob Miller <bob@acme.test>:\n\n> Can you approve?\n",
    ),
    (
        "Gmail, French",
        "Approved.\n\nGo ahead.\n\nLe lun. 5 janv. 2026 à 10:00, Bob Miller <bob@acme.test> a écrit :\n\n> Can you approve?\n",
    ),
    (
        "Gmail, Spanish",
        "Approved.\n\nGo ahead.\n\nEl lun, 5 ene 2026 a las 10:00, Bob (<bob@acme.test>) escribió:\n\n> Can you approve?\n",
    ),
    (
        "Thunderbird",
        "Approved.\n\nGo ahead.\n\nOn 1/5/26 10:00, Bob Miller wrote:\n> Can you approve?\n",
    ),
    (
        "Thunderbird, German",
        "Approved.\n\nGo ahead.\n\nAm 05.01.26 um 10:00 schrieb Bob Miller:\n> Can you approve?\n",
    ),
    (
        "Apple Mail",
        "Approved.\n\nGo ahead.\n\n> On 5. Jan 2026, at 10:00, Bob Miller <bob@acme.test> wrote:\n> \n> Can you approve?\n",
    ),
    (
        "Outlook",
        "Approved.\n\nGo ahead.\n\n________________________________\nFrom: Bob Miller <bob@acme.test>\nSent: Monday, January 5, 2026 10:00\nTo: Alice <alice@acme.test>\nSubject: Pump\n\nCan you approve?\n",
    ),
    (
        "Outlook, older",
        "Approved.\n\nGo ahead.\n\n-----Original Message-----\nFrom: Bob Miller [mailto:bob@acme.test]\nSent: Monday, January 5, 2026 10:00 AM\nTo: Alice\nSubject: Pump\n\nCan you approve?\n",
    ),
    (
        "Outlook, German",
        "Approved.\n\nGo ahead.\n\nVon: Bob Miller <bob@acme.test>\nGesendet: Montag, 5. Januar 2026 10:00\nAn: Alice <alice@acme.test>\nCc: Carol\nBetreff: Pumpe\n\nGenehmigt?\n",
    ),
    (
        "Outlook, French",
        "Approved.\n\nGo ahead.\n\nDe : Bob Miller <bob@acme.test>\nEnvoyé : lundi 5 janvier 2026 10:00\nÀ : Alice <alice@acme.test>\nObjet : Pompe\n\nD'accord ?\n",
    ),
    (
        "Outlook, Spanish",
        "Approved.\n\nGo ahead.\n\nDe: Bob Miller <bob@acme.test>\nEnviado: lunes, 5 de enero de 2026 10:00\nPara: Alice <alice@acme.test>\nAsunto: Bomba\n\n¿De acuerdo?\n",
    ),
    (
        "Outlook mobile",
        "Approved.\n\nGo ahead.\n\nGet Outlook for iOS\n________________________________\nFrom: Bob Miller <bob@acme.test>\nSent: Monday, January 5, 2026 10:00:00 AM\nTo: Alice <alice@acme.test>\nSubject: Pump\n\nCan you approve?\n",
    ),
    (
        "phone",
        "Approved.\n\nGo ahead.\n\nSent from my iPhone\n\n> On Jan 5, 2026, at 10:00, Bob <bob@acme.test> wrote:\n> \n> Can you approve?\n",
    ),
    (
        "signature between",
        "Approved.\n\nGo ahead.\n\n-- \nAlice\nAcme GmbH\n\nOn Mon, 5 Jan 2026 at 10:00, Bob <bob@acme.test> wrote:\n> Can you approve?\n",
    ),
];

#[test]
fn answers_above_the_quote_are_found_in_every_make() {
    for (make, body) in TOP_POSTED {
        let mail = plain(body);
        assert_eq!(mail.text, "Approved.\n\nGo ahead.", "{make}");
        assert!(mail.quoted.is_some_and(|q| !q.contains("Approved")), "{make}");
        assert_eq!(mail.full_text, body, "{make}");
    }
}

#[test]
fn answers_in_html_are_found_by_markup_too() {
    let makes = [
        (
            "Gmail",
            "<div dir=\"ltr\">Approved.<br><br>Go ahead.</div><br><div class=\"gmail_quote\"><div dir=\"ltr\" class=\"gmail_attr\">Pada Sen, 5 Jan 2026 pukul 10.00 Bob &lt;<a href=\"mailto:bob@acme.test\">bob@acme.test</a>&gt; menulis:<br></div><blockquote class=\"gmail_quote\">Can you approve?</blockquote></div>",
        ),
        (
            "Thunderbird",
            "<p>Approved.</p><p>Go ahead.</p><div class=\"moz-cite-prefix\">5.1.2026 10:00 keltezéssel Bob írta:<br></div><blockquote type=\"cite\" cite=\"mid:1@acme.test\"><p>Can you approve?</p></blockquote>",
        ),
        (
            "Outlook web",
            "<div>Approved.</div><div><br></div><div>Go ahead.</div><div id=\"appendonsend\"></div><hr style=\"display:inline-block;width:98%\"><div id=\"divRplyFwdMsg\"><font><b>Avsändare:</b> Bob &lt;bob@acme.test&gt;<br><b>Tid:</b> 5 januari<br></font></div><div>Can you approve?</div>",
        ),
        (
            "Outlook",
            "<p class=MsoNormal>Approved.</p><p class=MsoNormal>&nbsp;</p><p class=MsoNormal>Go ahead.</p><div><div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm'><p class=MsoNormal><b>From:</b> Bob &lt;bob@acme.test&gt; <br><b>Sent:</b> Monday<br><b>To:</b> Alice<br><b>Subject:</b> Pump</p></div></div><p class=MsoNormal>Can you approve?</p>",
        ),
        (
            "Apple Mail",
            "Approved.<div><br></div><div>Go ahead.<br><div><br><blockquote type=\"cite\"><div>On 5. Jan 2026, at 10:00, Bob &lt;bob@acme.test&gt; wrote:</div><br><div>Can you approve?</div></blockquote></div></div>",
        ),
        (
            "Yahoo",
            "<div>Approved.</div><div><br></div><div>Go ahead.</div><div id=\"yahoo_quoted_1\" class=\"yahoo_quoted\"><div>On Monday, January 5, 2026, Bob wrote:</div><div>Can you approve?</div></div>",
        ),
    ];
    for (make, body) in makes {
        let mail = html(body);
        assert_eq!(mail.text, "Approved.\n\nGo ahead.", "{make}: {}", mail.full_text);
        assert!(mail.quoted.is_some_and(|q| q.contains("Can you approve?")), "{make}");
        assert_eq!(mail.markdown.as_deref(), Some("Approved.\n\nGo ahead."), "{make}");
    }
}

#[test]
fn answers_point_by_point_stay_whole() {
    let body = "Hi Bob,\n\nOn Mon, 5 Jan 2026 at 10:00, Bob <bob@acme.test> wrote:\n> Which pump?\n\nThe red one.\n\n> And when?\n\nMonday.\n";
    let mail = plain(body);
    assert_eq!(mail.text, body.trim_end());
    assert_eq!(mail.quoted, None);
    // What is quoted below the last answer is no part of them.
    let mail = plain(&format!("{body}\n> Thanks, Bob\n> Acme GmbH\n"));
    assert_eq!(mail.text, body.trim_end());
    assert_eq!(mail.quoted.as_deref(), Some("> Thanks, Bob\n> Acme GmbH"));
}

#[test]
fn an_answer_below_the_quote_is_the_text() {
    let mail = plain(
        "On 1/5/26 10:00, Bob wrote:\n> Can you approve?\n> Bob\n\nApproved.\n\n-- \nAlice\n",
    );
    assert_eq!(mail.text, "Approved.");
    assert_eq!(mail.signature.as_deref(), Some("-- \nAlice"));
    assert!(mail.quoted.is_some_and(|q| q.starts_with("On 1/5/26")));
}

#[test]
fn text_that_only_looks_quoted_stays() {
    for body in [
        "On Monday Bob wrote:\n\nwe need a pump. I agree.",
        "From: where we stand now, this looks good.\nTo: be honest, I am not sure.",
        "From: Berlin\nWe go by train.",
        "--\nis a dash and this text goes on.\n> and this is quoted\nand answered",
        "Use ---- as a rule\n-----\nbelow.",
        "The original message was lost.",
        "2 > 1\n> is a sign\nwe all know",
    ] {
        let mail = plain(body);
        assert_eq!(mail.text, body, "{:?} / {:?}", mail.quoted, mail.signature);
    }
}

#[test]
fn a_mail_that_is_all_quote_says_the_quote() {
    let body = "> Can you approve?\n> Bob";
    let mail = plain(body);
    assert_eq!((mail.text.as_str(), mail.quoted), (body, None));
    let mail =
        plain("-----Original Message-----\nFrom: Bob <b@x.test>\nSent: today\nTo: me\n\nhello");
    assert!(mail.text.contains("hello") && mail.quoted.is_none());
}

#[test]
fn signatures_are_told_apart() {
    let mail = plain("Fine.\n\n-- \nAlice\nAcme GmbH\n");
    assert_eq!(
        (mail.text.as_str(), mail.signature.as_deref()),
        ("Fine.", Some("-- \nAlice\nAcme GmbH"))
    );
    let mail = plain("Fine.\n\nVon meinem iPhone gesendet\n");
    assert_eq!(
        (mail.text.as_str(), mail.signature.as_deref()),
        ("Fine.", Some("Von meinem iPhone gesendet"))
    );
    let long = format!("Fine.\n-- \n{}", "a line of the contract\n".repeat(40));
    assert!(plain(&long).signature.is_none(), "what is that long was meant to be read");
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,20}",
        "> [a-z]{0,10}",
        Just("-- ".to_owned()),
        Just("On Mon, 5 Jan 2026, Bob <bob@acme.test> wrote:".to_owned()),
        Just("-----Original Message-----".to_owned()),
        Just("From: Bob <bob@acme.test>".to_owned()),
        Just("Sent: Monday".to_owned()),
        Just("To: Alice".to_owned()),
        Just("________________".to_owned()),
        Just("Sent from my iPhone".to_owned()),
        Just(String::new()),
    ]
}

proptest! {
    #[test]
    fn no_text_is_ever_lost(lines in prop::collection::vec(line(), 0..25), end in prop::bool::ANY) {
        let mut text = lines.join("\n");
        if end { text.push('\n'); }
        let pieces = quote::split(&text, None);
        let mut whole = String::new();
        for (_, range) in &pieces {
            whole.push_str(&text[range.clone()]);
        }
        prop_assert_eq!(&whole, &text, "the pieces in order are the whole");
        let said: Vec<&str> = pieces.iter().filter(|(k, _)| *k == Piece::Text).map(|(_, r)| text[r.clone()].trim()).collect();
        prop_assert!(text.trim().is_empty() || said.iter().any(|s| !s.is_empty()), "something is always said");
    }
}
