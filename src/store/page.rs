//! The pages and counts that searches of a store return.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};

/// A page of the results of a search, newest first. It dereferences to the list of results.
///
/// A search looks at a bounded number of deliveries, so a page may be short or even empty although
/// more follows: [`next`](Self::next) says so, and [`searched_to`](Self::searched_to) how far it
/// looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Page<T> {
    /// The results, newest first.
    pub items: Vec<T>,
    /// The `before` of the query that continues this one; `None` if nothing follows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<DeliveryId>,
    /// Set if the search stopped at its bound: it looked at everything accepted after this time,
    /// and found no more than [`items`](Self::items).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub searched_to: Option<Timestamp>,
}

impl<T> Page<T> {
    /// Returns a page after which nothing follows.
    pub fn last(items: Vec<T>) -> Self {
        Self {
            items,
            next: None,
            searched_to: None,
        }
    }

    /// Returns the first `limit` of `found`. If there are more, the next page begins after the last
    /// one taken, whose id `id` returns.
    pub fn cut(mut found: Vec<T>, limit: usize, id: impl Fn(&T) -> DeliveryId) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(id);
        Self {
            items: found,
            next,
            searched_to: None,
        }
    }
}

impl<T> Deref for Page<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> IntoIterator for Page<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Page<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T: OnWall> OnWall for Page<T> {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            items: self.items.on_wall(offset),
            next: self.next,
            searched_to: self.searched_to.on_wall(offset),
        }
    }
}

/// A count that stops at a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Count {
    /// The number counted.
    pub count: u64,
    /// Whether there may be more than were counted.
    pub at_least: bool,
}

impl Count {
    /// Returns a count; `at_least` if there may be more.
    pub fn new(count: u64, at_least: bool) -> Self {
        Self { count, at_least }
    }
}

/// A text that is not a cursor: an [`EndpointCursor`](crate::EndpointCursor) or an
/// [`AttemptCursor`](super::AttemptCursor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cursor is not one of this list; begin without one")]
#[non_exhaustive]
pub struct InvalidCursor;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_at_its_limit_and_says_where_the_next_one_begins() {
        let id = |number: &u64| DeliveryId::new(*number);
        let page = Page::cut(vec![9, 7, 5], 2, id);
        assert_eq!(
            (&page[..], page.next),
            (&[9, 7][..], Some(DeliveryId::new(7)))
        );
        let last = Page::cut(vec![9, 7], 2, id);
        assert_eq!((last.len(), last.next), (2, None));
    }
}
