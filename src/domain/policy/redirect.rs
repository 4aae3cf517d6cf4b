//! Where a redirect may lead.
//!
//! The same POST with the same body goes to the new URL, whatever the 3xx: turning it into a GET,
//! as browsers do, would lose the alert and take a login page for a receipt. For a receiver that
//! has done its work when it redirects, such as Google Apps Script, the status itself can count as
//! delivered: [`ResponsePolicy::with`](crate::ResponsePolicy::with).
//!
//! What shows who calls stays within the origin, and goes along from http to https of the same
//! host: it reaches the same party, on a way where nobody else can read it.

use serde::{Deserialize, Serialize};

use ::url::Url;

use crate::domain::value::url::WebhookUrl;

/// Why a redirect was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedirectRefusal {
    /// The answer had no `Location`, or several.
    #[error("redirect has no usable Location")]
    NoLocation,
    /// The `Location` is not a URL that a webhook can be sent to.
    #[error("redirect Location is not a usable URL")]
    InvalidLocation,
    /// The `Location` is neither http nor https.
    #[error("redirect leads to a scheme other than http and https")]
    Scheme,
    /// It leads from https to http, where anyone could read the alert.
    #[error("redirect leads from https to http")]
    Downgrade,
    /// It leads to a URL that this attempt was already at.
    #[error("redirects go round in a circle")]
    Loop,
    /// It would be one hop more than [`MAX_REDIRECTS`](crate::limits::MAX_REDIRECTS).
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooMany,
}

/// The most redirects that one attempt follows, each with the same POST. A receiver that means a
/// page for browsers by it, such as Google Apps Script after it has executed the POST, is helped by
/// [`ResponsePolicy::with`](crate::ResponsePolicy::with).
pub const MAX_REDIRECTS: usize = 5;

/// The URLs of one attempt: where it began, and where redirects led it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    visited: Vec<WebhookUrl>,
    left_origin: bool,
}

impl Route {
    pub(crate) fn starting_at(url: WebhookUrl) -> Self {
        Self {
            visited: vec![url],
            left_origin: false,
        }
    }

    /// Returns where the attempt is now.
    pub(crate) fn current(&self) -> &WebhookUrl {
        self.visited.last().expect("a route holds its first URL")
    }

    /// Returns `true` if a redirect has led to another origin, other than from http to https of the
    /// same host: from then on no secret may be sent, even if a later one leads back.
    pub(crate) fn left_origin(&self) -> bool {
        self.left_origin
    }

    /// Returns how many redirects were followed.
    pub(crate) fn hops(&self) -> usize {
        self.visited.len() - 1
    }

    /// Moves on to `location`, resolved against the current URL.
    pub(crate) fn follow(&mut self, location: Option<&str>) -> Result<(), RedirectRefusal> {
        let location = location
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .ok_or(RedirectRefusal::NoLocation)?;
        let from = self.current().to_url();
        let to = from
            .join(location)
            .map_err(|_| RedirectRefusal::InvalidLocation)?;
        match (from.scheme(), to.scheme()) {
            ("https", "http") => return Err(RedirectRefusal::Downgrade),
            (_, "http" | "https") => {}
            _ => return Err(RedirectRefusal::Scheme),
        }
        let crosses = from.origin() != to.origin() && !is_upgrade(&from, &to);
        let url = WebhookUrl::from_url(to).map_err(|_| RedirectRefusal::InvalidLocation)?;
        if self.visited.contains(&url) {
            return Err(RedirectRefusal::Loop);
        }
        if self.hops() == MAX_REDIRECTS {
            return Err(RedirectRefusal::TooMany);
        }
        self.visited.push(url);
        self.left_origin |= crosses;
        Ok(())
    }
}

/// Returns `true` if this is http and then https of the same host, each on its own port: who
/// redirects so merely asks for TLS. Any other port could be another service, which somebody else
/// runs.
fn is_upgrade(from: &Url, to: &Url) -> bool {
    // An omitted port is the default one.
    let defaults = from.port().is_none() && to.port().is_none();
    (from.scheme(), to.scheme()) == ("http", "https") && defaults && from.host() == to.host()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(url: &str) -> Route {
        Route::starting_at(WebhookUrl::parse(url).unwrap())
    }

    #[track_caller]
    fn check(from: &str, location: &str, expected: Result<&str, RedirectRefusal>) {
        let mut route = route(from);
        let result = route
            .follow(Some(location))
            .map(|()| route.current().as_str().to_owned());
        assert_eq!(
            result.as_deref().map_err(|refusal| *refusal),
            expected,
            "{from} -> {location}"
        );
    }

    #[test]
    fn absolute_and_relative_locations_are_followed() {
        check(
            "http://a.test/x/y?q=1",
            "http://b.test/z",
            Ok("http://b.test/z"),
        );
        check("http://a.test/x/y?q=1", "/z", Ok("http://a.test/z"));
        check("http://a.test/x/y", "z?k=v", Ok("http://a.test/x/z?k=v"));
        check("https://a.test/x", "//b.test/", Ok("https://b.test/"));
        check("http://a.test/", "https://a.test/", Ok("https://a.test/"));
    }

    #[test]
    fn unsafe_or_useless_locations_are_refused() {
        check(
            "https://a.test/",
            "http://a.test/",
            Err(RedirectRefusal::Downgrade),
        );
        check(
            "http://a.test/",
            "ftp://a.test/",
            Err(RedirectRefusal::Scheme),
        );
        check(
            "http://a.test/",
            "javascript:alert(1)",
            Err(RedirectRefusal::Scheme),
        );
        check(
            "http://a.test/",
            "http://",
            Err(RedirectRefusal::InvalidLocation),
        );
        check(
            "http://a.test/",
            "http://user:pw@b.test/",
            Err(RedirectRefusal::InvalidLocation),
        );
        check("http://a.test/", "  ", Err(RedirectRefusal::NoLocation));
        check("http://a.test/", "#part", Err(RedirectRefusal::Loop));
        assert_eq!(
            route("http://a.test/").follow(None),
            Err(RedirectRefusal::NoLocation)
        );
    }

    #[test]
    fn the_sixth_hop_is_one_too_many() {
        let mut route = route("http://a.test/0");
        for hop in 1..=5 {
            assert_eq!(route.follow(Some(&format!("/{hop}"))), Ok(()));
        }
        assert_eq!(route.follow(Some("/6")), Err(RedirectRefusal::TooMany));
        assert_eq!(route.hops(), 5);
    }

    #[track_caller]
    fn check_left(urls: &[&str], expected: bool) {
        let mut route = route(urls[0]);
        for location in &urls[1..] {
            route.follow(Some(location)).unwrap();
        }
        assert_eq!(route.left_origin(), expected, "{urls:?}");
    }

    /// httpx#2074, deno#29878: a receiver that moved to https answered 401 to all that was sent on.
    #[test]
    fn from_http_to_https_of_the_same_host_is_no_other_origin() {
        for urls in [
            &["http://a.test/", "https://a.test/"][..],
            &["http://a.test:80/x", "https://a.test:443/y?z=1"],
            &["http://A.TEST/", "https://a.test/"],
            &["http://10.0.0.1/", "https://10.0.0.1/"],
            &["http://[::1]/", "https://[0:0::1]/"],
            &["http://a.test/", "/x", "https://a.test/y", "/z"],
        ] {
            check_left(urls, false);
        }
    }

    #[test]
    fn any_other_change_of_host_port_or_scheme_is() {
        for urls in [
            &["http://a.test/", "https://www.a.test/"][..],
            &["http://www.a.test/", "https://a.test/"],
            &["http://a.test/", "https://a.test./"],
            &["http://a.test/", "https://a.test:8443/"],
            &["http://a.test/", "https://a.test:80/"],
            &["http://a.test:8080/", "https://a.test/"],
            &["http://a.test:8080/", "https://a.test:8080/"],
            &["http://a.test:443/", "https://a.test/"],
            &["http://a.test/", "http://a.test:443/"],
            &["https://a.test/", "https://a.test:80/"],
            &["http://a.test/", "http://b.test/", "https://b.test/"],
            &["http://a.test/", "http://b.test/", "https://a.test/"],
            &["http://a.test/", "https://a.test/", "https://b.test/"],
            &["http://a.test/", "https://b.test/", "https://a.test/"],
            &["http://10.0.0.1/", "https://10.0.0.2/"],
        ] {
            check_left(urls, true);
        }
    }

    #[test]
    fn a_loop_is_refused_and_secrets_stay_dropped_on_the_way_back() {
        let mut route = route("http://a.test/");
        route.follow(Some("/same")).unwrap();
        assert!(!route.left_origin());
        route.follow(Some("http://a.test:8080/")).unwrap();
        assert!(route.left_origin(), "another port is another origin");
        route.follow(Some("http://a.test/back")).unwrap();
        assert!(route.left_origin());
        assert_eq!(
            route.follow(Some("http://a.test/")),
            Err(RedirectRefusal::Loop)
        );
    }
}
