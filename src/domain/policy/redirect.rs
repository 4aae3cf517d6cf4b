//! Where a redirect may lead.
//!
//! Every 3xx sends the same POST with the same body to the new URL. A GET, as browsers send, would
//! lose the alert and mistake a login page for a receipt. Some receivers, such as Google Apps
//! Script, have done their work before they redirect. For those, the status itself can count as
//! delivered: [`ResponsePolicy::with`](crate::ResponsePolicy::with).
//!
//! Credentials stay within the origin, with one exception: a redirect from http to https of the
//! same host keeps them. It reaches the same party over a connection that nobody else can read.

use serde::{Deserialize, Serialize};

use ::url::Url;

use crate::domain::value::url::WebhookUrl;

/// Why a redirect was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedirectRefusal {
    /// The answer has no `Location`, or more than one.
    #[error("redirect has no usable Location")]
    NoLocation,
    /// The `Location` is not a URL that a webhook can be sent to.
    #[error("redirect Location is not a usable URL")]
    InvalidLocation,
    /// The `Location` is neither http nor https.
    #[error("redirect leads to a scheme other than http and https")]
    Scheme,
    /// The redirect leads from https to http, where anyone could read the alert.
    #[error("redirect leads from https to http")]
    Downgrade,
    /// The redirect leads to a URL that this attempt has already visited.
    #[error("redirects form a loop")]
    Loop,
    /// The redirect would exceed [`MAX_REDIRECTS`](crate::limits::MAX_REDIRECTS).
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooMany,
}

/// The most redirects that one attempt follows, each with the same POST.
///
/// Some receivers redirect to a page meant for browsers, such as Google Apps Script after it has
/// executed the POST. For those, use [`ResponsePolicy::with`](crate::ResponsePolicy::with).
pub const MAX_REDIRECTS: usize = 5;

/// The URLs of one attempt: its first URL, then each redirect.
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

    /// Returns the URL that the attempt has reached.
    pub(crate) fn current(&self) -> &WebhookUrl {
        self.visited.last().expect("a route holds its first URL")
    }

    /// Returns `true` if a redirect has led to another origin. From then on no secret may be sent,
    /// even if a later redirect leads back. A redirect from http to https of the same host does not
    /// count.
    pub(crate) fn left_origin(&self) -> bool {
        self.left_origin
    }

    /// Returns the number of redirects followed.
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

/// Returns `true` for a redirect from http to https of the same host, each on its default port: the
/// receiver merely asks for TLS. Another port could be another party's service.
fn is_upgrade(from: &Url, to: &Url) -> bool {
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

    /// httpx#2074, deno#29878: a receiver that had moved to https answered 401 to every redirected
    /// call.
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
