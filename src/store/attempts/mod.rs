//! The attempts of all deliveries of an endpoint, in pages.
//!
//! A store knows its deliveries in the order of acceptance, and an old delivery may be attempted
//! after a new one. So the attempts of up to 1,000 deliveries, the latest accepted ones, are put in
//! order together; then those of the next deliveries. A cursor names the group it is in by its
//! first and last delivery, so that no attempt is shown twice although deliveries come and end.

use std::cmp::Reverse;
use std::fmt;
use std::iter::Peekable;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::page::InvalidCursor;
use super::queries::page_limit;
use crate::domain::deliveries::attempt::{Attempt, EndpointAttempt};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};

/// A filter on the attempts of an endpoint. Defaults to the latest 100 of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct AttemptQuery {
    /// `true` for attempts that failed only, `false` for those that delivered only.
    pub failed: Option<bool>,
    /// Continues after an earlier page.
    pub before: Option<AttemptCursor>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

impl AttemptQuery {
    /// Returns the last delivery that a page begins with; every delivery if there is none.
    pub(crate) fn through(&self) -> DeliveryId {
        let newest = DeliveryId::new(u64::MAX);
        self.before.map_or(newest, |before| before.through)
    }
}

/// A page of the attempts of an endpoint, the latest first.
///
/// Attempts of up to 1,000 deliveries are in order together, the latest accepted deliveries first.
/// An endpoint with fewer has all its attempts in order. A page looks at up to 10,000 deliveries or
/// attempts, so it may be short or even empty although more follow: [`next`](Self::next) says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptPage {
    /// The attempts, the latest first.
    pub items: Vec<EndpointAttempt>,
    /// The `before` of the query that continues this one; `None` if nothing follows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<AttemptCursor>,
    /// Set if the search stopped at its bound: it looked at all deliveries accepted after this
    /// time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub searched_to: Option<Timestamp>,
}

impl AttemptPage {
    /// Returns a page after which nothing follows.
    pub fn last(items: Vec<EndpointAttempt>) -> Self {
        Self {
            items,
            ..Self::default()
        }
    }
}

impl OnWall for AttemptPage {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            items: self.items.on_wall(offset),
            next: self.next,
            searched_to: self.searched_to.on_wall(offset),
        }
    }
}

/// The position after which the next page of attempts begins. In JSON, and shown, an opaque string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptCursor {
    /// The first delivery, the latest accepted one, of the group that the page begins in.
    through: DeliveryId,
    /// Set if the page begins within the group.
    within: Option<Within>,
}

/// A position within a group of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Within {
    /// The last delivery of the group.
    from: DeliveryId,
    /// The last attempt shown.
    shown: Place,
}

/// The place of an attempt in the order of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: Timestamp,
    delivery: DeliveryId,
    number: u32,
}

impl Place {
    fn of((delivery, attempt): &(DeliveryId, Attempt)) -> Self {
        Self {
            at: attempt.summary.at,
            delivery: *delivery,
            number: attempt.summary.number,
        }
    }
}

impl fmt::Display for AttemptCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.through)?;
        let Some(Within { from, shown }) = self.within else {
            return Ok(());
        };
        let (at, delivery, number) = (shown.at.unix_millis(), shown.delivery, shown.number);
        write!(f, ",{from},{at},{delivery},{number}")
    }
}

impl FromStr for AttemptCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        fn read<T: FromStr>(part: &str) -> Result<T, InvalidCursor> {
            part.parse().map_err(|_| InvalidCursor)
        }
        let parts: Vec<&str> = text.split(',').collect();
        let (through, within) = match *parts.as_slice() {
            [through] => (through, None),
            [through, from, at, delivery, number] => {
                let shown = Place {
                    at: Timestamp::from_unix_millis(read(at)?),
                    delivery: read(delivery)?,
                    number: read(number)?,
                };
                let from = read(from)?;
                (through, Some(Within { from, shown }))
            }
            _ => return Err(InvalidCursor),
        };
        Ok(Self {
            through: read(through)?,
            within,
        })
    }
}

impl Serialize for AttemptCursor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttemptCursor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A delivery with its finished attempts, in any order.
pub(crate) type Attempted = (DeliveryId, Vec<Attempt>);

/// The attempts of a page, without what is shown of their deliveries.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) attempts: Vec<(DeliveryId, Attempt)>,
    pub(crate) next: Option<AttemptCursor>,
    /// The last delivery looked at, if the search stopped at its bound.
    pub(crate) searched_to: Option<DeliveryId>,
}

/// Finds the attempts of a page.
///
/// `deliveries` are those of an endpoint from [`AttemptQuery::through`] on, the latest accepted
/// first. One that was never attempted may be left out.
pub(crate) fn find<E>(
    query: &AttemptQuery,
    deliveries: impl Iterator<Item = Result<Attempted, E>>,
) -> Result<Found, E> {
    let limit = page_limit(query.limit);
    let mut deliveries = deliveries.peekable();
    let (mut found, mut looked_at) = (Found::default(), 0);
    let mut within = query.before.and_then(|before| before.within);
    while let Some(mut group) = Group::take(&mut deliveries, query.failed, within)? {
        let room = limit - found.attempts.len();
        let more_in_group = group.attempts.len() > room;
        group.attempts.truncate(room);
        found.attempts.append(&mut group.attempts);
        if more_in_group {
            let shown = found.attempts.last().map(Place::of);
            found.next = shown.map(|shown| group.continued_after(shown));
            break;
        }
        looked_at += group.looked_at();
        let is_full = found.attempts.len() == limit;
        if deliveries.peek().is_some() && (is_full || looked_at >= LOOKED_AT) {
            found.next = Some(group.next());
            found.searched_to = (!is_full).then_some(group.from);
            break;
        }
        within = None;
    }
    Ok(found)
}

/// Deliveries that follow each other, whose attempts are put in order together.
#[derive(Debug)]
struct Group {
    through: DeliveryId,
    from: DeliveryId,
    deliveries: usize,
    /// Number of attempts, those that nobody asks for included.
    made: usize,
    /// The attempts asked for.
    attempts: Vec<(DeliveryId, Attempt)>,
}

impl Group {
    /// Takes the next group off the deliveries, and puts the attempts in order that are asked for;
    /// `None` if there are no more.
    ///
    /// A group that was begun by an earlier page has the deliveries that it had then.
    fn take<E>(
        deliveries: &mut Peekable<impl Iterator<Item = Result<Attempted, E>>>,
        failed: Option<bool>,
        within: Option<Within>,
    ) -> Result<Option<Self>, E> {
        let Some(first) = deliveries.next().transpose()? else {
            return Ok(None);
        };
        let mut group = Self {
            through: first.0,
            from: first.0,
            deliveries: 0,
            made: 0,
            attempts: Vec::new(),
        };
        let mut next = Some(first);
        while let Some((id, attempts)) = next {
            (group.from, group.deliveries) = (id, group.deliveries + 1);
            group.made += attempts.len();
            let asked = attempts.into_iter().map(|attempt| (id, attempt));
            group.attempts.extend(asked.filter(|found| {
                let has_failed = found.1.summary.failure.is_some();
                failed.is_none_or(|failed| failed == has_failed)
                    && within.is_none_or(|within| Place::of(found) < within.shown)
            }));
            let is_of_group = |next: &Result<Attempted, E>| match (next, within) {
                (Err(_), _) => true,
                (Ok((next, _)), Some(within)) => *next >= within.from,
                (Ok(_), None) => group.deliveries < GROUP && group.made < LOOKED_AT,
            };
            next = deliveries.next_if(is_of_group).transpose()?;
        }
        group
            .attempts
            .sort_unstable_by_key(|found| Reverse(Place::of(found)));
        Ok(Some(group))
    }

    /// Returns the number of things looked at for it.
    fn looked_at(&self) -> usize {
        self.deliveries.max(self.made)
    }

    fn continued_after(&self, shown: Place) -> AttemptCursor {
        let from = self.from;
        AttemptCursor {
            through: self.through,
            within: Some(Within { from, shown }),
        }
    }

    /// Returns the position after its last attempt.
    fn next(&self) -> AttemptCursor {
        AttemptCursor {
            through: DeliveryId::new(self.from.get().saturating_sub(1)),
            within: None,
        }
    }
}

/// The number of deliveries whose attempts are put in order together.
const GROUP: usize = 1_000;

/// The most deliveries, and the most attempts, that one page looks at.
const LOOKED_AT: usize = 10_000;

#[cfg(test)]
mod tests;
