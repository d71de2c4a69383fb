//! What is taken from vCards, and what is said of those that cannot be.

use proptest::prelude::*;

use super::*;

fn cards(text: &str) -> Vec<Result<Card, String>> {
    read(text.as_bytes()).expect("a vCard file").into_iter().map(|e| e.card).collect()
}

fn one(lines: &str) -> Result<Card, String> {
    cards(&format!("BEGIN:VCARD\r\n{lines}\r\nEND:VCARD\r\n")).remove(0)
}

fn card(name: &str, emails: &[&str], ims: &[&str]) -> Result<Card, String> {
    let all = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
    Ok(Card { name: name.into(), emails: all(emails), ims: all(ims) })
}

#[test]
fn both_versions_are_read_with_folds_groups_and_escapes() {
    let four = one("VERSION:4.0\r\nFN:Müller\\, Anna\\nVIP\r\nN:Müller;Anna;;;\r\n\
                    EMAIL;PREF=2:anna@home.test\r\nEMAIL;TYPE=work;PREF=1:anna@wo\r\n rk.test\r\n\
                    IMPP;PREF=1:xmpp:anna%40chat.test?message\r\nIMPP:skype:anna");
    let ims = ["xmpp:anna@chat.test"];
    assert_eq!(four, card("Müller, Anna\nVIP", &["anna@work.test", "anna@home.test"], &ims));
    let three = one(
        "version:3.0\nN:Doe\\;X;Bob;;;\nFN:\nitem1.EMAIL;type=INTERNET;type=pref:bob@a.test\n\
                     item1.X-ABLabel:Work\nIMPP;X-SERVICE-TYPE=\"a:b;c\":XMPP:bob@chat.test\n\
                     PHOTO;ENCODING=b;TYPE=JPEG:AAAA\n BBBB\nNOTE:Cards end with\n END:VCARD\n BEGIN:VCARD",
    );
    assert_eq!(three, card("Bob Doe;X", &["bob@a.test"], &["xmpp:bob@chat.test"]));
}

#[test]
fn what_cannot_be_taken_says_why() {
    let why = |lines: &str| one(lines).expect_err("refused");
    assert!(why("VERSION:2.1\r\nN;ENCODING=QUOTED-PRINTABLE:M=FCller=\r\nX").contains("vCard 2.1"));
    assert!(why("FN:Nobody").contains("version"));
    assert!(why("VERSION:5.0\nEMAIL:a@b.test").contains("3.0 and 4.0"));
    assert!(why("VERSION:4.0\nFN:Nobody").contains("no email address"));
    assert!(why("VERSION:3.0\nFN;ENCODING=b:QQ==\nEMAIL:a@b.test").contains("encoded"));
    assert!(why("VERSION:4.0\nFN\nEMAIL:a@b.test").contains("has no value"));
    let long = format!("VERSION:4.0\nEMAIL:{}@b.test", "a\n ".repeat(VALUE));
    assert!(why(&long).contains("too long"));
    let many: String = (0..21).map(|i| format!("EMAIL:a{i}@b.test\n")).collect();
    assert!(why(&format!("VERSION:4.0\n{many}")).contains("more than 20"));
    let latin = b"BEGIN:VCARD\nVERSION:3.0\nFN:M\xfcller\nEMAIL:a@b.test\nEND:VCARD\n";
    assert_eq!(read(latin).expect("a file")[0].card, Err("it is not UTF-8".to_owned()));
}

#[test]
fn a_card_that_does_not_end_takes_no_other_along() {
    let text = "BEGIN:VCARD\nVERSION:4.0\nEMAIL:a@b.test\nBEGIN:VCARD\nVERSION:4.0\nEMAIL:c@d.test\n\
                END:VCARD\nstray\nBEGIN:VCARD\nVERSION:4.0";
    let all = read(text.as_bytes()).expect("a file");
    assert_eq!(all.iter().map(|e| e.line).collect::<Vec<_>>(), [1, 4, 9]);
    assert_eq!(all[1].card, card("", &["c@d.test"], &[]));
    assert!(all[0].card.is_err() && all[2].card.is_err());
}

#[test]
fn the_file_as_a_whole_is_bounded() {
    for nothing in ["", "email,name\na@b.test,A\n", "\u{0}\u{1}"] {
        assert_eq!(read(nothing.as_bytes()), Err(BadFile::NoCard), "{nothing:?}");
        assert!(!looks_like(nothing.as_bytes()));
    }
    let card = "BEGIN:VCARD\nVERSION:4.0\nEMAIL:a@b.test\nEND:VCARD\n";
    assert_eq!(read(card.repeat(MOST).as_bytes()).expect("a file").len(), MOST);
    assert_eq!(read(card.repeat(MOST + 1).as_bytes()), Err(BadFile::TooMany));
    assert!(looks_like("\u{feff}\r\nbegin:vcard\r\n".as_bytes()));
    // A photo is passed over.
    let photo =
        format!("PHOTO:data:image/jpeg;base64,{}\nEMAIL:a@b.test", "QUFB\n ".repeat(400_000));
    assert!(one(&format!("VERSION:4.0\n{photo}")).is_ok());
}

proptest! {
    #[test]
    fn nothing_makes_it_fail(octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..90) {
        let good = "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:A\\\r\nN:;\\;;\r\nEMAIL;PREF=\":a@b.test\r\nIMPP:xmpp:a\r\nEND:VCARD";
        let mut all = good.as_bytes()[..cut.min(good.len())].to_vec();
        all.extend(octets);
        let _ = read(&all);
    }
}
