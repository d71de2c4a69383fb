//! What must hold for every page: hostile text is inert, forms are protected, names are given.

use isthmus_im::Presence;

use super::{
    Notice, Part, Zone, assets::ASSETS, mail_html::MailHtmlView, render, samples as s,
    samples::all, words::Action,
};

fn plain(text: &str) -> String {
    text.to_owned()
}

/// The tags of a document as written, between `<` and the `>` that ends them.
fn tags(html: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let tail = &rest[start + 1..];
        let mut quoted = false;
        let end = tail
            .find(|c| {
                quoted ^= c == '"';
                c == '>' && !quoted
            })
            .unwrap_or(tail.len());
        out.push(&tail[..end]);
        rest = &tail[end..];
    }
    out
}

/// Attribute names and values of one tag.
fn attributes(tag: &str) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let mut rest = tag.split_once(char::is_whitespace).map_or("", |(_, rest)| rest).trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        if let Some(value) = rest.strip_prefix("=\"") {
            let close = value.find('"').expect("every attribute value is quoted");
            out.push((name, &value[..close]));
            rest = &value[close + 1..];
        } else {
            assert!(!rest.starts_with('='), "unquoted attribute in <{tag}>");
            out.push((name, ""));
        }
        rest = rest.trim_start();
    }
    out
}

const HOSTILE: [&str; 6] = [
    "\"><script>alert(1)</script>",
    "' onmouseover='alert(1)",
    "\" autofocus onfocus=\"alert(1)",
    "javascript:alert(1)",
    "</textarea></title></option></iframe><img src=x onerror=alert(1)>",
    "\u{202e}]]><!--<svg onload=alert(1)>&lt;b&gt;{{ 7*7 }}",
];

#[test]
fn abuse_portal_46_hostile_text_in_every_field_is_inert() {
    let harmless = all(&plain);
    for hostile in HOSTILE {
        for (index, (name, html)) in all(&|text| format!("{text}{hostile}")).iter().enumerate() {
            assert_eq!(
                html.contains("alert(1)"),
                !WORDLESS.contains(&name.as_str()),
                "{name} shows what it was given"
            );
            // Nothing that was typed opens a tag: the document has the tags that it always has,
            // but for those of fields that are left out when empty.
            let known: Vec<&str> = tags(&harmless[index].1).iter().map(|t| tag_name(t)).collect();
            for tag in tags(html) {
                let element = tag_name(tag);
                assert!(
                    known.contains(&element) || FRAMEWORK.contains(&element),
                    "{name}: <{element}> came from typed text {hostile:?}"
                );
                for (attribute, value) in attributes(tag) {
                    assert!(!attribute.starts_with("on"), "{name}: handler in <{tag}>");
                    assert_ne!(attribute, "style", "{name}: inline style in <{tag}>");
                    if matches!(attribute, "href" | "src" | "action" | "formaction") {
                        assert!(is_ours_or_web(value), "{name}: {attribute} leads to {value:?}");
                    }
                }
            }
        }
    }
    // The legitimate twin: the same characters where they belong to what somebody wrote.
    let view = s::conversation(&|text| {
        text.replace("Approved, go ahead.", "if a < b && c > \"d\": https://a.test/?x=1&y=2")
    });
    assert!(render(&view).contains(
        "if a &#60; b &#38;&#38; c &#62; &#34;d&#34;: <a href=\"https://a.test/?x=1&#38;y=2\""
    ));
}

/// Pages that show nothing that somebody typed.
const WORDLESS: [&str; 6] = ["open-2", "open-3", "decide-3", "decide-4", "confirm-1", "confirm-2"];

/// Elements that may appear beside those of the harmless page: shown only where a text is given.
const FRAMEWORK: [&str; 12] =
    ["p", "/p", "a", "/a", "bdi", "/bdi", "div", "/div", "span", "/span", "option", "/option"];

fn tag_name(tag: &str) -> &str {
    tag.split(|c: char| c.is_whitespace()).next().unwrap_or(tag)
}

fn is_ours_or_web(value: &str) -> bool {
    let path = value.starts_with('/') && !value.starts_with("//");
    path || value.starts_with('#') || value.starts_with("https://") || value.starts_with("http://")
}

#[test]
fn abuse_portal_46_a_mail_s_own_html_stays_in_a_sandboxed_frame() {
    let page = render(&s::conversation(&plain));
    let frames: Vec<&str> = tags(&page).into_iter().filter(|t| tag_name(t) == "iframe").collect();
    assert_eq!(frames.len(), 1);
    let sandbox = attributes(frames[0])
        .into_iter()
        .find(|(name, _)| *name == "sandbox")
        .expect("is sandboxed")
        .1;
    assert!(
        !sandbox.contains("scripts")
            && !sandbox.contains("same-origin")
            && !sandbox.contains("forms")
    );
    assert!(
        super::MAIL_CSP.contains("sandbox allow-popups")
            && super::MAIL_CSP.contains("default-src 'none'")
    );
    // The legitimate twin: formatting arrives as it was sanitised.
    let mail = render(&MailHtmlView { sanitised: "<p>Hello <b>Alice</b></p>".to_owned() });
    assert!(mail.contains("<p>Hello <b>Alice</b></p>"));
}

#[test]
fn pages_need_no_inline_script_or_style() {
    assert!(!super::PAGE_CSP.contains("unsafe"));
    for (name, html) in all(&plain) {
        for tag in tags(&html) {
            assert_ne!(tag_name(tag), "style", "{name}");
            if tag_name(tag) == "script" {
                assert!(tag.starts_with("script src=\"/assets/app.js?v="), "{name}: {tag}");
                assert!(tag.ends_with("\" defer"), "{name}: {tag}");
            }
        }
    }
    assert!(ASSETS.iter().all(|a| !a.body.is_empty() && a.path.starts_with("/assets/")));
}

#[test]
fn every_form_that_acts_carries_the_csrf_token() {
    for (name, html) in all(&plain) {
        for form in html.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap_or(form);
            let token = form.contains("name=\"csrf\" value=\"csrf-token\"");
            assert_eq!(token, form.contains("method=\"post\""), "{name}: {form}");
        }
    }
}

#[test]
fn every_field_has_a_label_and_every_id_is_unique() {
    for (name, html) in all(&plain) {
        let tags = tags(&html);
        let values = |wanted: &str| -> Vec<&str> {
            tags.iter()
                .flat_map(|t| attributes(t))
                .filter(|(a, _)| *a == wanted)
                .map(|(_, v)| v)
                .collect()
        };
        let mut ids = values("id");
        let labels = values("for");
        ids.sort_unstable();
        let before = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), before, "{name}: an id appears twice");
        assert!(labels.iter().all(|l| ids.contains(l)), "{name}: a label points nowhere");
        for tag in &tags {
            let attributes = attributes(tag);
            let get = |wanted: &str| attributes.iter().find(|(a, _)| *a == wanted).map(|(_, v)| *v);
            let field = matches!(tag_name(tag), "input" | "textarea" | "select");
            let unlabelled = !matches!(get("type"), Some("hidden" | "radio"));
            if field && unlabelled {
                assert!(
                    get("id").is_some_and(|id| labels.contains(&id)),
                    "{name}: <{tag}> has no label"
                );
            }
        }
        let headings = tags.iter().filter(|t| tag_name(t) == "h1").count();
        assert_eq!(headings, 1, "{name}: one main heading");
        // Past the list, where there is one beside a conversation.
        let content = if html.contains("id=\"detail\"") { "detail" } else { "main" };
        let skip = format!("class=\"skip\" href=\"#{content}\"");
        assert!(html.contains(&skip), "{name}: skip link");
    }
}

#[test]
fn times_are_shown_in_the_tenants_zone() {
    let mut view = s::conversation(&plain);
    assert!(render(&view).contains(">14:17</time>"), "the next attempt, in Berlin");
    view.frame.zone = Zone::named("America/New_York");
    let html = render(&view);
    assert!(html.contains(">08:17</time>"), "the next attempt, in New York");
    assert!(html.contains("Tuesday 3 March 2026, 08:17 EST"));
    assert!(!html.contains(">14:17</time>"));
}

#[test]
fn empty_pages_say_what_to_do_next() {
    let cases = [
        (render(&s::inbox_empty(&plain)), "Forward an email to"),
        (render(&s::conversation_empty(&plain)), "What you write below is the first one"),
        (render(&s::contacts_empty(&plain)), "Add the people"),
        (render(&s::chat_empty(&plain)), "When somebody answers your email by chat"),
    ];
    for (html, words) in cases {
        assert!(html.contains(words), "{words}");
    }
    let mut searched = s::inbox_empty(&plain);
    searched.list.query = "pump".to_owned();
    let html = render(&searched);
    assert!(
        html.contains("Nothing found for “<bdi>pump</bdi>”") && !html.contains("Nothing here yet")
    );
}

#[test]
fn the_question_offers_its_answers_and_says_when_it_ends() {
    let html = render(&s::conversation(&plain));
    for action in Action::ALL {
        assert!(html.contains(&format!("name=\"action\" value=\"{}\"", action.value())));
    }
    assert!(html.contains("If you do nothing, we send it as an email at <time"));
    assert!(html.contains(">18:00</time>"), "the deadline");
    assert!(
        html.contains("You chose to send it as an email, by mail"),
        "what was decided, by whom"
    );
}

#[test]
fn a_link_from_a_mail_shows_the_question_and_leaves_acting_to_the_button() {
    let pages: Vec<String> = s::decides(&plain).iter().map(render).collect();
    assert!(pages[0].contains("method=\"post\" action=\"/d/0tok\""));
    let (settled, trying) =
        pages[1..].iter().partition::<Vec<_>, _>(|p| !p.contains("We keep trying to reach"));
    assert!(settled.iter().all(|page| !page.contains("<form")), "nothing is left to decide");
    assert_eq!(trying.len(), 1);
    assert!(trying[0].contains("value=\"email\"") && !trying[0].contains("value=\"retry\""));
    assert!(pages[2].contains("<bdi>Ben Berg</bdi> chose not to send it, in chat"));
}

#[test]
fn each_state_of_a_delivery_has_words_of_its_own() {
    let mut view = s::conversation(&plain);
    view.items = s::all_states(&plain);
    let html = render(&view);
    for words in [
        "Accepted, on its way",
        "Checking whether",
        "Sending by XMPP",
        "their server has it",
        "waiting for your decision",
        "trying again at",
        "Not sent: stopped",
        "Sent as an email instead",
        "Not delivered.</strong> customer.test does not know",
    ] {
        assert!(html.contains(words), "{words}");
    }
    assert_eq!(html.matches("value=\"abort\">Stop").count(), 1);
}

#[test]
fn nobody_sees_how_long_somebody_has_been_away() {
    // Presence comes without a time, so the words for it cannot hold one; what surrounds it must
    // not add one either.
    for presence in [Presence::Available, Presence::Unavailable, Presence::Unknown] {
        let mut contact = s::contact(&plain);
        contact.presence = Some(presence);
        let html = render(&contact);
        let shown = html
            .split("id=\"presence\"")
            .nth(1)
            .and_then(|t| t.split("</p>").next())
            .expect("presence is shown");
        assert!(
            !shown.contains("<time") && !shown.contains(|c: char| c.is_ascii_digit()),
            "{shown}"
        );
    }
    let list = render(&s::contacts(&plain));
    let rows =
        list.split("id=\"contacts\"").nth(1).and_then(|t| t.split("</ul>").next()).expect("a list");
    assert!(rows.contains("last seen by XMPP") && !rows.contains("<time"));
}

#[test]
fn the_switch_never_rests_on_a_medium_that_cannot_be_used() {
    let mut view = s::conversation_by_email(&plain);
    view.composer.via = super::conversation::Via::Chat;
    let html = render(&view);
    assert!(html.contains("id=\"via-chat\" disabled"));
    assert!(html.contains("id=\"via-email\" checked"));
}

#[test]
fn a_fragment_leaves_out_the_frame_and_keeps_what_is_live() {
    let mut view = s::conversation(&plain);
    view.frame.notice = Some(Notice::Done("Sent.".to_owned()));
    view.frame.part = Part::Fragment;
    let html = render(&view);
    assert!(!html.contains("<html") && !html.contains("<script"));
    for region in ["unread", "conversations", "timeline", "hints", "presence"] {
        assert!(html.contains(&format!("id=\"{region}\"")), "{region}");
    }
}
