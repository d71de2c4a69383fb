//! What a stranger writes into a mail is text on the pages and a plain name in the API.

use isthmus_tests::{Isthmus, send_mail};
use reqwest::header::{COOKIE, SET_COOKIE};

use super::world::{ACME, Mail, SOON, setup};

/// A browser with Alice signed in, as far as a test needs one.
struct Browser {
    http: reqwest::Client,
    base: String,
    cookie: String,
}

impl Browser {
    async fn alice(isthmus: &Isthmus) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = http.no_proxy().build().expect("a client can be made");
        let mut this = Self { http, base: isthmus.url(), cookie: String::new() };
        let sign_in = format!("{}/sign-in", this.base);
        let shown = this.http.get(&sign_in).send().await.expect("the page is there");
        this.cookie = cookies(&shown);
        let page = shown.text().await.expect("the page is text");
        let csrf = page.split("name=\"csrf\" value=\"").nth(1).expect("the form has a token");
        let csrf = csrf.split('"').next().unwrap_or_default();
        let form = [("csrf", csrf), ("email", "alice@acme.test"), ("password", "alice-password")];
        let entered = this.http.post(&sign_in).header(COOKIE, &this.cookie).form(&form);
        let entered = entered.send().await.expect("the form is taken");
        assert_eq!(entered.status().as_u16(), 303, "alice is signed in");
        this.cookie = cookies(&entered);
        this
    }

    /// A page, and the policy under which a browser shows it.
    async fn get(&self, path: &str) -> (String, String) {
        let shown = self.http.get(format!("{}{path}", self.base)).header(COOKIE, &self.cookie);
        let shown = shown.send().await.expect("the page is there");
        assert_eq!(shown.status().as_u16(), 200, "{path}");
        let policy = shown.headers()["content-security-policy"].to_str().expect("text").to_owned();
        (shown.text().await.expect("the page is text"), policy)
    }
}

fn cookies(answer: &reqwest::Response) -> String {
    let all = answer.headers().get_all(SET_COOKIE).iter().filter_map(|c| c.to_str().ok());
    let pairs: Vec<_> = all.filter_map(|c| c.split(';').next()).collect();
    pairs.join("; ")
}

/// A mail with a file for each parameter of Content-Disposition.
fn with_files(text: &str, parameters: &[&str]) -> String {
    let files: String = parameters
        .iter()
        .map(|p| {
            format!(
                "\n--b\nContent-Type: application/octet-stream\n\
                 Content-Disposition: attachment; {p}\n\noctets"
            )
        })
        .collect();
    format!("--b\nContent-Type: text/plain\n\n{text}{files}\n--b--")
}

async fn arrives(isthmus: &Isthmus, mail: Mail) -> (String, Vec<String>) {
    let mail = mail.header("Content-Type", "multipart/mixed; boundary=b");
    let sent = send_mail(isthmus.smtp(), mail.sender(), &["alice@acme.test"], &mail.raw()).await;
    let _ = sent.expect(250);
    let api = isthmus.member("acme", "alice@acme.test").await;
    let talk = api
        .expect_item("/v1/conversations", SOON, |c| {
            c["subject"].as_str().is_some_and(|s| s.contains(&mail.subject))
        })
        .await;
    let id = talk["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/conversations/{id}/messages");
    let message = api.expect_item(&path, SOON, |_| true).await;
    let files = message["attachments"].as_array().expect("a list").iter();
    (id, files.map(|f| f["name"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn abuse_portal_46_and_18_script_and_disguised_names_in_a_mail_are_inert() {
    let isthmus = Isthmus::start(setup()).await;
    isthmus.apply(ACME).await;
    super::world::takes(&isthmus, "alice@acme.test").await;
    let hostile = with_files(
        "<script>alert(3)</script>",
        &[
            "filename=\"../../x.txt\"",
            "filename*=UTF-8''invoice%E2%80%AEfdp.exe",
            "filename=\"<img src=x onerror=alert(4)>.txt\"",
        ],
    );
    let hostile = Mail::new("alice@acme.test", "<script>alert(1)</script>", &hostile)
        .from("\"<script>alert(2)</script>\" <mallory@elsewhere.test>");
    let (hostile, names) = arrives(&isthmus, hostile).await;
    assert_eq!(names[..2], ["x.txt", "invoicefdp.exe"]);
    assert!(!names[2].contains(['/', '\\']) && names[2].ends_with(".txt"), "{names:?}");

    let alice = Browser::alice(&isthmus).await;
    for path in ["/".to_owned(), format!("/conversations/{hostile}")] {
        let (page, policy) = alice.get(&path).await;
        for text in ["script&#62;alert(1)", "script&#62;alert(2)"] {
            assert!(page.contains(text), "{path} shows {text}: {page}");
        }
        for markup in ["<script>alert", "<img src=x", "\u{202e}", "../../x"] {
            assert!(!page.contains(markup), "{path} holds {markup}: {page}");
        }
        assert!(policy.contains("script-src 'self'"), "{policy}");
    }

    // The legitimate twin: signs that are no markup read as written, and a name stays a name.
    let harmless = with_files("Is a < b?", &["filename=\"offer (final).pdf\""]);
    let harmless = Mail::new("alice@acme.test", "Costs < 5 & more", &harmless);
    let (harmless, names) = arrives(&isthmus, harmless.from("Carol <carol@customer.test>")).await;
    assert_eq!(names, ["offer (final).pdf"]);
    let (page, _) = alice.get(&format!("/conversations/{harmless}")).await;
    for text in ["Costs &#60; 5 &#38; more", "Is a &#60; b?", "offer (final).pdf"] {
        assert!(page.contains(text), "{text}: {page}");
    }
}
