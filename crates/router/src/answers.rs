//! The mails with which the bridge answers a member who asked for something it cannot do.

/// The recipient has no verified IM address.
pub(crate) fn no_im(name: &str, address: &str, public_url: &str) -> (String, String) {
    (
        format!("No chat address is known for {name}"),
        format!(
            "Your message to {name} <{address}> was not sent: no verified chat address is known for them.\n\n\
             You can\n\
             → Add one\n{public_url}/contacts?add={address}\n\
             → Answer by email instead: just write to {address}\n\n\
             Your text is in your mail program's sent folder. Once the address is verified, send it again.\n"
        ),
    )
}

/// A mail to `im@` without a mail in it.
pub(crate) fn nothing_forwarded(bridge: &str) -> (String, String) {
    (
        "Nothing was sent: there was no mail to answer".to_owned(),
        format!(
            "You wrote to im@{bridge}, which answers a mail by chat. It needs the mail itself: forward it \
             (inline or as attachment) with your answer on top.\n\n\
             To write to somebody without a mail to answer, use NAME=DOMAIN@{bridge}.\n"
        ),
    )
}

/// Only quoted text names the person who would get the message.
pub(crate) fn confirm(name: &str, address: &str, link: &str, text: &str) -> (String, String) {
    let quoted: String = text.lines().map(|l| format!("> {l}\n")).collect();
    (
        format!("Shall this go to {name} by chat?"),
        format!(
            "The mail you forwarded says that it came from {name} <{address}>, but that is only quoted text. \
             Please confirm once:\n\n→ Yes, send it\n{link}\n\nYour answer:\n{quoted}"
        ),
    )
}

/// Somebody wrote in a member's name and could not prove it.
pub(crate) fn forged(name: &str, subject: &str, verdict: &str) -> (String, String) {
    (
        "A mail in your name was held back".to_owned(),
        format!(
            "A mail with the subject \"{subject}\" says that it is from {name}, but nothing proves it \
             ({verdict}). It was not acted upon. If it was you: write from your usual mail server, or sign in \
             to send.\n"
        ),
    )
}

/// Something that only members may do.
pub(crate) fn held(name: &str, address: &str, subject: &str, link: &str) -> (String, String) {
    (
        format!("A mail from {address} waits for you"),
        format!(
            "A mail from <{address}> came to the address at which {name} answers you. It is not from \
             {name}'s own address, or nothing proves that it is, so it was held back.\n\n\
             Subject: {subject}\n\n\
             → Look at it and let it through\n{link}\n\nIf you do nothing, it stays held back.\n"
        ),
    )
}
