//! No secret and no query of a URL is shown: not by `Debug`, not by an error, not in a log, and not in JSON, in which only the fields that name an endpoint
//! hold its whole URL.

mod secrets {
    mod logged;
    mod shown;
}

/// What stands where a secret is.
pub(crate) const SECRET: &str = "hush-4711";

/// What stands where the value of a query is.
pub(crate) const QUERY: &str = "sesame-4712";

/// An endpoint whose URL has a query.
pub(crate) const HOOK: &str = "http://receiver.test/hook?token=sesame-4712";

#[track_caller]
pub(crate) fn hides(what: &str, shown: &str) {
    for marker in [SECRET, QUERY] {
        assert!(!shown.contains(marker), "{what} shows {marker}: {shown}");
    }
}
