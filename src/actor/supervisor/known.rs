//! The endpoints that the supervisor knows, found by URL or by id.

use std::collections::BTreeMap;
use std::ops::Deref;

use foldhash::{HashMap, HashMapExt as _};

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
    by_id: Option<HashMap<EndpointId, WebhookUrl>>,
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
        let by_url = &self.by_url;
        let ids = self.by_id.get_or_insert_with(|| {
            let mut ids = HashMap::with_capacity(by_url.len());
            ids.extend(by_url.keys().map(|url| (EndpointId::of(url), url.clone())));
            ids
        });
        ids.get(&id)
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
        endpoints.remove(&url(1));
        assert!(!found(&mut endpoints, 1) && found(&mut endpoints, 2));
        assert_eq!(endpoints.len(), 1);
    }
}
