//! The endpoints that the supervisor knows, found by URL or by id.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::EndpointEntry;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::value::url::WebhookUrl;

/// Every known endpoint, ordered by URL.
///
/// The ids are computed when one is looked up for the first time, and kept up to date from then on.
/// An engine that nobody asks by id never computes one.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    by_url: BTreeMap<WebhookUrl, EndpointEntry>,
    by_id: Option<BTreeMap<EndpointId, WebhookUrl>>,
}

impl Endpoints {
    /// Returns the entry of a URL, which is known from now on.
    pub(super) fn know(&mut self, url: WebhookUrl) -> &mut EndpointEntry {
        if let Some(ids) = &mut self.by_id
            && !self.by_url.contains_key(&url)
        {
            ids.insert(EndpointId::of(&url), url.clone());
        }
        self.by_url.entry(url).or_default()
    }

    pub(super) fn get_mut(&mut self, url: &WebhookUrl) -> Option<&mut EndpointEntry> {
        self.by_url.get_mut(url)
    }

    pub(super) fn remove(&mut self, url: &WebhookUrl) {
        self.by_url.remove(url);
        if let Some(ids) = &mut self.by_id {
            ids.remove(&EndpointId::of(url));
        }
    }

    /// Returns the URL of the endpoint with this id.
    pub(super) fn find(&mut self, id: EndpointId) -> Option<&WebhookUrl> {
        self.ids().get(&id)
    }

    /// Returns the URLs of the endpoints whose ids begin with a text, ordered by id.
    pub(super) fn with_id_like(&mut self, text: &str) -> impl Iterator<Item = &WebhookUrl> {
        let range = EndpointId::beginning_with(text);
        let found = range.map(|range| self.ids().range(range));
        found.into_iter().flatten().map(|(_, url)| url)
    }

    fn ids(&mut self) -> &BTreeMap<EndpointId, WebhookUrl> {
        let by_url = &self.by_url;
        self.by_id.get_or_insert_with(|| {
            let ids = by_url.keys();
            ids.map(|url| (EndpointId::of(url), url.clone())).collect()
        })
    }
}

impl Deref for Endpoints {
    type Target = BTreeMap<WebhookUrl, EndpointEntry>;

    fn deref(&self) -> &Self::Target {
        &self.by_url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(number: u32) -> WebhookUrl {
        WebhookUrl::parse(&format!("https://a.test/{number}")).unwrap()
    }

    #[test]
    fn an_endpoint_is_found_by_its_id_from_when_it_is_known_until_it_is_removed() {
        let mut endpoints = Endpoints::default();
        endpoints.know(url(1));
        assert!(endpoints.by_id.is_none(), "nobody asked");
        let found = |endpoints: &mut Endpoints, number| {
            let found = endpoints.find(EndpointId::of(&url(number))).cloned();
            found.is_some_and(|found| found == url(number))
        };
        assert!(found(&mut endpoints, 1) && !found(&mut endpoints, 2));
        endpoints.know(url(2)).restarts = 7;
        endpoints.know(url(2));
        assert!(found(&mut endpoints, 2), "known after the first question");
        assert_eq!(endpoints.get(&url(2)).unwrap().restarts, 7);
        let one = EndpointId::of(&url(1)).to_string();
        let like = |endpoints: &mut Endpoints, text: &str| {
            endpoints.with_id_like(text).cloned().collect::<Vec<_>>()
        };
        assert_eq!(like(&mut endpoints, &one[..20]), [url(1)]);
        assert!(like(&mut endpoints, "a.test").is_empty());
        endpoints.remove(&url(1));
        assert!(like(&mut endpoints, &one).is_empty());
        assert!(!found(&mut endpoints, 1) && found(&mut endpoints, 2));
        assert_eq!(endpoints.len(), 1);
    }
}
