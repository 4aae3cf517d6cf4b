use actix_webhooks::WebhookUrl;
use actix_webhooks::fuzzing::Route;
use actix_webhooks::limits::{MAX_REDIRECTS, MAX_URL_BYTES};
use url::Url;

/// Follows redirects: the first line is the start URL, each further line a `Location`.
///
/// # Panics
/// If a property does not hold:
/// - only http and https, and never from https to http;
/// - no name or password;
/// - no URL twice, and at most five hops;
/// - secrets are dropped as soon as the origin changes, unless it changes from http to https of the
///   same host;
/// - a refused redirect changes nothing.
pub fn redirect(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let Ok(start) = WebhookUrl::parse(lines.next().unwrap_or_default()) else {
        return;
    };
    let begin = check_url(&start);
    let mut visited = vec![start.clone()];
    let mut left = false;
    let mut route = Route::starting_at(start);
    for location in lines.take(MOST_LOCATIONS) {
        let from = check_url(route.current());
        let followed = route.follow(Some(location));
        let to = check_url(route.current());
        if followed.is_err() {
            assert_eq!(from, to, "a refused redirect leads nowhere");
        } else {
            assert!(
                from.scheme() == "http" || to.scheme() == "https",
                "never from https to http"
            );
            assert!(!visited.contains(route.current()), "no URL twice");
            visited.push(route.current().clone());
            left |= !same_party(&begin, &to);
        }
        assert_eq!(route.left_origin(), left, "from {from} to {to}");
        assert_eq!(route.hops() + 1, visited.len());
        assert!(route.hops() <= MAX_REDIRECTS);
    }
    assert!(route.follow(None).is_err());
}

/// Returns `true` if secrets for `begin` may be sent to `to`, given that no redirect leads from
/// https to http.
fn same_party(begin: &Url, to: &Url) -> bool {
    let usual =
        |url: &Url| matches!(url.port_or_known_default(), Some(80 | 443)) && url.port().is_none();
    begin.origin() == to.origin() || (begin.host() == to.host() && usual(begin) && usual(to))
}

/// Checks the invariants of every URL that a webhook is sent to.
fn check_url(url: &WebhookUrl) -> Url {
    let text = url.as_str();
    assert!(text.len() <= MAX_URL_BYTES);
    assert!(
        text.bytes().all(|byte| (0x21..0x7f).contains(&byte)),
        "nothing that could break a request line: {text:?}"
    );
    let parsed = Url::parse(text).expect("it is a URL");
    assert_eq!(parsed.as_str(), text, "normalised");
    assert_eq!(WebhookUrl::parse(text).as_ref(), Ok(url));
    assert!(matches!(parsed.scheme(), "http" | "https"));
    assert!(parsed.has_host());
    assert!(parsed.username().is_empty() && parsed.password().is_none());
    assert_eq!(parsed.fragment(), None);
    parsed
}

/// More than may be followed, so that refusals are tested too.
const MOST_LOCATIONS: usize = 16;
