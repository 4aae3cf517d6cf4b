//! Opaque cursors: the place at which the next page of a list begins.
//!
//! A cursor carries a digest of the filter, so that a page of one filter is never continued with
//! another. It is no secret, and nothing depends on where it comes from: the place in it is checked
//! like any other input.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::problems::{Code, Problem};

/// Returns the cursor of the page that begins after `place`.
pub(super) fn after(filter: &impl Serialize, place: &str) -> String {
    let mut whole = mark(filter).to_vec();
    whole.extend_from_slice(place.as_bytes());
    URL_SAFE_NO_PAD.encode(whole)
}

/// Returns the place in a cursor.
pub(super) fn place(filter: &impl Serialize, cursor: &str) -> Result<String, Problem> {
    let whole = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| malformed())?;
    let (of, place) = whole.split_at_checked(MARK_BYTES).ok_or_else(malformed)?;
    if of != mark(filter) {
        return Err(Problem::new(
            Code::CursorOfAnotherQuery,
            "cursor was given for another filter; ask for the first page again",
        ));
    }
    String::from_utf8(place.to_vec()).map_err(|_| malformed())
}

/// Returns the problem of a cursor that no page gave, or whose place is gone.
pub(super) fn malformed() -> Problem {
    Problem::parameter(
        "cursor",
        "not a cursor of this list; ask for the first page again",
    )
}

/// Returns the beginning of the digest of a filter.
fn mark(filter: &impl Serialize) -> [u8; MARK_BYTES] {
    // A filter is a flat structure, which can always be written.
    let text = serde_json::to_vec(filter).unwrap_or_default();
    let whole = digest(&SHA256, &text);
    let mut mark = [0; MARK_BYTES];
    mark.iter_mut()
        .zip(whole.as_ref())
        .for_each(|(to, from)| *to = *from);
    mark
}

const MARK_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place_under_its_own_filter_only() {
        let cursor = after(&("client", 1), "rule-7");
        assert_eq!(place(&("client", 1), &cursor).unwrap(), "rule-7");
        let other = place(&("client", 2), &cursor).unwrap_err();
        assert_eq!(other.code(), Code::CursorOfAnotherQuery);
        for wrong in ["", "a", "*", "AAAA", "AAAAAAAAAAA"] {
            assert!(place(&(), wrong).is_err(), "{wrong}");
        }
    }
}
