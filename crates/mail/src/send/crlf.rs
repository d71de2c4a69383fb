//! Line ends as mail wants them (RFC 5321 section 2.3.8).

use std::borrow::Cow;

use memchr::memchr2;

/// Makes every line end CRLF: an LF without CR and a CR without LF become one each.
///
/// What is right already is not copied.
#[must_use]
pub fn to_crlf(raw: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    // `start..` has not been copied yet, `pos..` has not been looked at yet.
    let (mut start, mut pos) = (0, 0);
    while let Some(skip) = memchr2(b'\r', b'\n', &raw[pos..]) {
        let at = pos + skip;
        if raw[at..].starts_with(b"\r\n") {
            pos = at + 2;
            continue;
        }
        let copy = out.get_or_insert_with(|| Vec::with_capacity(raw.len() + raw.len() / 32 + 64));
        copy.extend_from_slice(&raw[start..at]);
        copy.extend_from_slice(b"\r\n");
        pos = at + 1;
        start = pos;
    }
    match out {
        None => Cow::Borrowed(raw),
        Some(mut copy) => {
            copy.extend_from_slice(&raw[start..]);
            Cow::Owned(copy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strays_become_line_ends() {
        assert_eq!(to_crlf(b"a\nb\rc\r\nd\r\r\n").as_ref(), b"a\r\nb\r\nc\r\nd\r\n\r\n");
        assert!(matches!(to_crlf(b"a\r\nb"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn nothing_stray_is_left_and_nothing_else_changes(
            raw in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..40)
        ) {
            let out = to_crlf(&raw).into_owned();
            let without = String::from_utf8(out.clone()).unwrap().replace("\r\n", "");
            prop_assert!(!without.contains(['\r', '\n']));
            let count = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'x').count();
            prop_assert_eq!(count(&out), count(&raw));
            prop_assert_eq!(to_crlf(&out).into_owned(), out);
        }
    }
}
