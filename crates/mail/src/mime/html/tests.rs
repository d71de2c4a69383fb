//! What HTML mails become.

use std::time::Duration;

use tokio::time::Instant;

use super::*;

#[test]
fn links_lists_and_emphasis_become_markdown() {
    let html = "<p>Hello <b>Bob</b>,</p><ul><li>see <a href='https://x.test/a?b=1&amp;c=2'>the offer</a></li>\
                <li><i>now</i></li></ul><ol><li>one<li>two</ol><p>1 &lt; 2&nbsp;&euro;</p>";
    assert_eq!(
        html_to_markdown(html),
        "Hello **Bob**,\n\n- see [the offer](https://x.test/a?b=1&c=2)\n- _now_\n\n1. one\n2. two\n\n1 < 2 €"
    );
    assert_eq!(
        html_to_text(html),
        "Hello Bob,\n\n- see the offer <https://x.test/a?b=1&c=2>\n- now\n\n1. one\n2. two\n\n1 < 2 €"
    );
}

#[test]
fn a_link_that_shows_its_target_is_written_once() {
    let html =
        "<a href=\"https://x.test/\">x.test</a> <a href=mailto:bob@acme.test>bob@acme.test</a>";
    assert_eq!(html_to_text(html), "x.test bob@acme.test");
    assert_eq!(html_to_text("<a href='javascript:alert(1)'>click</a>"), "click");
}

#[test]
fn quotes_breaks_and_cells_keep_their_lines() {
    let html = "Yes.<br><br>Bye<blockquote><div>Can you?</div><div>Bob</div></blockquote>";
    assert_eq!(html_to_text(html), "Yes.\n\nBye\n\n> Can you?\n> Bob");
    let table = "<table><tr><th>From: </th><td>Bob</td></tr><tr><td>1</td><td>2</td></tr></table>";
    assert_eq!(html_to_text(table), "From: Bob\n1 | 2");
    assert_eq!(html_to_text("<pre>a\n  b</pre>"), "a\n  b");
    assert_eq!(html_to_text("<div>a</div><div><br></div><div>b</div>"), "a\n\nb");
}

#[test]
fn what_nobody_sees_is_not_text() {
    let html = "<head><title>t</title><style>p{}</style></head><div style='display: none'>preview</div>\
                <!-- c --><script>x</script><p>Seen</p><img src=http://t.test/p.gif><img alt='a logo'>";
    assert_eq!(html_to_text(html), "Seen\n\n[a logo]");
}

#[test]
fn broken_html_loses_no_text() {
    for (html, want) in [
        ("a < b and c > d", "a < b and c > d"),
        ("<p>a<p>b</div>c", "a\n\nbc"),
        ("<b>x", "x"),
        ("text <a href=\"unclosed>more</a> end", "text more end"),
        ("a<br", "a<br"),
        ("&unknown; &#x41; &amp", "&unknown; A &amp"),
    ] {
        assert_eq!(
            html_to_text(html).replace("\n\n", "\n"),
            want.replace("\n\n", "\n"),
            "{html:?}"
        );
    }
}

#[test]
fn sanitised_html_is_inert() {
    let html = "<p onclick=x() style='color:red;position:fixed;background:url(http://t.test)'>Hi\
        <script>alert(1)</script><img src=http://t.test/p.gif><img src='cid:logo@x'>\
        <a href='javascript:x'>a</a><a href='https://x.test'>b</a><form><input></form>\
        <iframe src=//x></iframe><svg onload=x><p>in</p></svg></p>";
    let safe = sanitise(html);
    for bad in [
        "onclick",
        "script",
        "position",
        "url(",
        "t.test",
        "javascript",
        "form",
        "iframe",
        "svg",
        "onload",
    ] {
        assert!(!safe.html.contains(bad), "{bad} in {}", safe.html);
    }
    assert_eq!(safe.remote_images, 1);
    assert!(safe.html.contains("cid:logo@x") && safe.html.contains("color:red"), "{}", safe.html);
    assert!(
        safe.html.contains("href=\"https://x.test\"") && safe.html.contains("noopener"),
        "{}",
        safe.html
    );
}

/// Shapes that are quadratic or worse for a tree builder, each about half a megabyte.
fn bombs() -> Vec<(&'static str, String)> {
    let many = |unit: &str, n: usize| unit.repeat(n / SHRINK);
    vec![
        ("nested divs", many("<div>", 100_000)),
        ("nested divs with text", format!("{}x", many("<div>x", 80_000))),
        ("nested tables", many("<table><tr><td>", 30_000)),
        (
            "formatting over blocks",
            format!("{}{}", "<b class=a><i>".repeat(200), many("<p>x", 150_000)),
        ),
        (
            "distinct formatting",
            (0..25_000 / SHRINK).map(|i| format!("<font color=c{i}><p>x")).collect(),
        ),
        (
            "formatting closed over blocks",
            (0..25_000 / SHRINK).map(|i| format!("<p><b title={i}>x</p>")).collect(),
        ),
        ("formatting behind a cell", many("<b><table><tr><td></b></table>x", 30_000)),
        ("inline closed over blocks", many("<span><div></span>x", 50_000)),
        (
            "attributes",
            format!("<div {}>x", (0..150_000).map(|i| format!("a{i} ")).collect::<String>()),
        ),
        (
            "stray end tags",
            format!("<p><table><td>{}{}", many("<span>", 110), many("</p>", 200_000)),
        ),
        ("unclosed quotes", many("<a =\">", 150_000)),
        ("unclosed comments", many("<!--", 200_000)),
        ("bare angle brackets", many("<", 800_000)),
        (
            "links over blocks",
            format!("<a href=https://{}>{}", "x".repeat(2_000), many("<p>x", 100_000)),
        ),
        ("lists", many("<ul><li>", 100_000)),
        ("quotes", many("<blockquote>x", 60_000)),
        ("entities", many("&amp", 200_000)),
    ]
}

/// Unoptimised, a tree builder is some fifty times slower than what is shipped, and not alone on its machine.
const SLOW: u32 = if cfg!(debug_assertions) { 100 } else { 1 };
const SHRINK: usize = if cfg!(debug_assertions) { 20 } else { 1 };

#[test]
fn abuse_mime_16_nested_html_is_cut_in_depth() {
    let html = "<div>".repeat(200_000) + "deep";
    let start = Instant::now();
    assert_eq!(html_to_text(&html), "deep");
    let tame = tame::tame(&html).html;
    let linear = start.elapsed();
    assert!(linear < Duration::from_millis(100) * SLOW, "{linear:?}");
    assert!(tame.matches("<div>").count() <= 120, "the depth is bounded");
    assert!(sanitise(&html).html.contains("deep"));

    for (name, html) in bombs() {
        let start = Instant::now();
        let text = html_to_text(&html);
        let safe = sanitise(&html);
        let took = start.elapsed();
        assert!(took < Duration::from_millis(200) * SLOW, "{name}: {took:?}");
        assert!(safe.html.len() < 20 * html.len() + 1_000, "{name}: {} octets", safe.html.len());
        assert_eq!(text.contains('x'), html.contains('x'), "{name}");
    }

    // The legitimate twin: a newsletter's layout tables, 30 deep, keep their structure.
    let newsletter =
        format!("{}Offer{}", "<table><tr><td>".repeat(30), "</td></tr></table>".repeat(30));
    let safe = sanitise(&newsletter).html;
    assert_eq!(safe.matches("<table>").count(), 30);
    assert_eq!(html_to_text(&newsletter), "Offer");
}
