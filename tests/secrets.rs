//! No secret and no query of a URL is shown: not by `Debug`, not by an error, not in a log, and not
//! in JSON. The one exception: JSON fields that name an endpoint hold its whole URL.

mod secrets {
    mod logged;
    mod shown;
}

/// Used as every secret in these tests.
pub(crate) const SECRET: &str = "hush-4711";

/// Used as the value of every query in these tests.
pub(crate) const QUERY: &str = "sesame-4712";

/// An endpoint whose URL has a query.
pub(crate) const HOOK: &str = "http://receiver.test/hook?token=sesame-4712";

#[track_caller]
pub(crate) fn hides(what: &str, shown: &str) {
    for marker in [SECRET, QUERY] {
        assert!(!shown.contains(marker), "{what} shows {marker}: {shown}");
    }
}
