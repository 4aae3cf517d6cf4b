//! The token state of one set of client credentials: use, fetch (single-flight) or wait.

use std::time::Duration;

use crate::domain::authorisation::token_answer::IssuedToken;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::value::backoff::Backoff;
use crate::domain::value::secret::Secret;
use crate::domain::value::time::Timestamp;

/// The token of one set of credentials.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    token: Option<KeptToken>,
    /// When the current fetch began.
    fetching_since: Option<Timestamp>,
    failed: Option<FailedFetches>,
    /// Whether a receiver has refused the last token.
    refused: bool,
}

#[derive(Debug)]
struct KeptToken {
    header: Secret,
    fetched_at: Timestamp,
    /// How long it is used before a new one is fetched.
    fresh_for: Duration,
    /// How long it can be used if no other can be fetched.
    usable_for: Duration,
    /// Whether it replaced one that a receiver had refused.
    replaces_refused: bool,
}

#[derive(Debug)]
struct FailedFetches {
    failure: Failure,
    count: u32,
    last_at: Timestamp,
}

/// The next step of an attempt that needs a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenStep {
    /// Send this header.
    Use(Secret),
    /// Fetch a token. No other attempt fetches until this fetch ends (single-flight).
    Fetch,
    /// Wait until the current fetch ends, then ask again.
    Wait,
    /// Fail: a fetch has just failed.
    Fail(Failure),
    /// Accept the receiver's refusal: it refused a token that had just replaced a refused one.
    Refused,
}

impl TokenCache {
    /// Returns the next step of an attempt; `refused` is the header that its receiver answered with
    /// 401.
    pub(crate) fn ask(&mut self, now: Timestamp, refused: Option<&Secret>) -> TokenStep {
        if let (Some(token), Some(refused)) = (&self.token, refused)
            && token.header == *refused
        {
            if token.replaces_refused && within(now, token.fetched_at, REFUSED_AGAIN) {
                return TokenStep::Refused;
            }
            self.token = None;
            self.refused = true;
        }
        if let Some(token) = &self.token
            && within(now, token.fetched_at, token.fresh_for)
        {
            return TokenStep::Use(token.header.clone());
        }
        if self.fetching_since.is_some() {
            return TokenStep::Wait;
        }
        let Some(failure) = self.recent_failure(now) else {
            self.fetching_since = Some(now);
            return TokenStep::Fetch;
        };
        match &self.token {
            Some(token) if within(now, token.fetched_at, token.usable_for) => {
                TokenStep::Use(token.header.clone())
            }
            _ => TokenStep::Fail(failure),
        }
    }

    /// Stores a fetched token.
    pub(crate) fn on_issued(&mut self, now: Timestamp, issued: IssuedToken) {
        let margin = (issued.life / 10).clamp(SHORTEST_MARGIN, LONGEST_MARGIN);
        let fresh_for = issued.life.saturating_sub(margin).max(SHORTEST_USE);
        self.token = Some(KeptToken {
            header: issued.header,
            fetched_at: now,
            fresh_for,
            usable_for: issued.life.max(fresh_for),
            replaces_refused: self.refused,
        });
        self.refused = false;
        self.fetching_since = None;
        self.failed = None;
    }

    /// Records a failed fetch.
    pub(crate) fn on_failed(&mut self, now: Timestamp, failure: Failure) {
        let before = self.failed.as_ref().map_or(0, |failed| failed.count);
        self.failed = Some(FailedFetches {
            failure,
            count: before.saturating_add(1),
            last_at: now,
        });
        self.fetching_since = None;
    }

    /// Records that a fetch was abandoned because its attempt ended. A fetch that ran long enough
    /// counts as failed; otherwise the next attempt fetches.
    pub(crate) fn on_given_up(&mut self, now: Timestamp) {
        let Some(since) = self.fetching_since.take() else {
            return;
        };
        if now.since(since) >= ENOUGH_TIME {
            self.on_failed(now, Failure::Token);
        }
    }

    /// Returns `true` if dropping this state would lose anything.
    pub(crate) fn is_worth_keeping(&self, now: Timestamp) -> bool {
        let usable = |token: &KeptToken| within(now, token.fetched_at, token.usable_for);
        self.fetching_since.is_some()
            || self.token.as_ref().is_some_and(usable)
            || self.recent_failure(now).is_some()
    }

    fn recent_failure(&self, now: Timestamp) -> Option<Failure> {
        let failed = self.failed.as_ref()?;
        within(now, failed.last_at, PAUSES.after(failed.count)).then_some(failed.failure)
    }
}

/// Returns `true` if less than `length` has passed since `then`.
fn within(now: Timestamp, then: Timestamp, length: Duration) -> bool {
    now.since(then) < length
}

/// A token is replaced when a tenth of its life is left, within these bounds.
const SHORTEST_MARGIN: Duration = Duration::from_secs(5);
const LONGEST_MARGIN: Duration = Duration::from_mins(1);

/// The shortest use of a token. A token with no life at all would otherwise be fetched for every
/// attempt.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// Pauses between fetches after failures in a row.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// A receiver that refuses the replacement of a refused token this soon will refuse the next one
/// too.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);

/// A fetch without an answer after this time has failed. A shorter one reveals nothing about the
/// token endpoint: its attempt may have had a short timeout, or used it up.
const ENOUGH_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        let start = Timestamp::from_unix_millis(1_000_000_000);
        start + Duration::from_secs_f64(seconds)
    }

    fn issued(name: &str, seconds: f64) -> IssuedToken {
        IssuedToken {
            header: header(name),
            life: Duration::from_secs_f64(seconds),
        }
    }

    fn header(name: &str) -> Secret {
        Secret::from(name)
    }

    fn used(name: &str) -> TokenStep {
        TokenStep::Use(header(name))
    }

    fn cache_with(life: f64) -> TokenCache {
        let mut cache = TokenCache::default();
        assert_eq!(cache.ask(at(0.0), None), TokenStep::Fetch);
        cache.on_issued(at(0.0), issued("a", life));
        cache
    }

    #[test]
    fn a_token_is_replaced_shortly_before_its_end() {
        for (life, fresh_until) in [
            (3_600.0, 3_540.0),
            (300.0, 270.0),
            (20.0, 15.0),
            (6.0, 1.0),
            (5.5, 1.0),
            (1.0, 1.0),
            (0.0, 1.0),
        ] {
            let mut cache = cache_with(life);
            assert_eq!(cache.ask(at(fresh_until - 0.001), None), used("a"));
            assert_eq!(cache.ask(at(fresh_until), None), TokenStep::Fetch, "{life}");
            assert_eq!(cache.ask(at(fresh_until), None), TokenStep::Wait, "{life}");
        }
    }

    #[test]
    fn a_token_that_still_lives_bridges_a_failed_fetch() {
        let mut cache = cache_with(100.0);
        assert_eq!(cache.ask(at(90.0), None), TokenStep::Fetch);
        cache.on_failed(at(90.5), Failure::Token);
        assert_eq!(cache.ask(at(90.5), None), used("a"));
        assert_eq!(cache.ask(at(91.5), None), TokenStep::Fetch);
        cache.on_failed(at(99.0), Failure::Token);
        assert_eq!(cache.ask(at(99.5), None), used("a"));
        assert_eq!(cache.ask(at(100.0), None), TokenStep::Fail(Failure::Token));
    }

    #[test]
    fn failures_are_remembered_for_longer_each_time() {
        let mut cache = TokenCache::default();
        let mut now = 0.0;
        for pause in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            assert_eq!(cache.ask(at(now), None), TokenStep::Fetch);
            cache.on_failed(at(now), Failure::Token);
            let last = at(now + pause - 0.001);
            assert_eq!(cache.ask(last, None), TokenStep::Fail(Failure::Token));
            now += pause;
        }
        for _ in 0..100 {
            cache.on_failed(at(now), Failure::Unsendable);
        }
        let failed = TokenStep::Fail(Failure::Unsendable);
        assert_eq!(cache.ask(at(now + 29.0), None), failed);
        assert_eq!(cache.ask(at(now + 30.0), None), TokenStep::Fetch);
        cache.on_issued(at(now + 30.0), issued("a", 10.0));
        assert_eq!(cache.ask(at(now + 40.0), None), TokenStep::Fetch);
        cache.on_failed(at(now + 40.0), Failure::Token);
        let again = cache.ask(at(now + 41.0), None);
        assert_eq!(again, TokenStep::Fetch, "a success starts anew");
    }

    #[test]
    fn a_refused_token_is_replaced_by_whoever_comes_first() {
        let mut cache = cache_with(3_600.0);
        let a = header("a");
        assert_eq!(cache.ask(at(1.0), Some(&a)), TokenStep::Fetch);
        assert_eq!(cache.ask(at(1.0), Some(&a)), TokenStep::Wait);
        assert_eq!(cache.ask(at(1.0), None), TokenStep::Wait, "nobody uses it");
        cache.on_issued(at(2.0), issued("b", 3_600.0));
        assert_eq!(cache.ask(at(2.0), Some(&a)), used("b"));
    }

    #[test]
    fn a_receiver_that_refuses_every_token_has_at_most_one_fetched_a_second() {
        let mut cache = cache_with(3_600.0);
        let (a, b) = (header("a"), header("b"));
        assert_eq!(cache.ask(at(0.0), Some(&a)), TokenStep::Fetch);
        cache.on_issued(at(0.0), issued("b", 3_600.0));
        assert_eq!(cache.ask(at(0.9), Some(&b)), TokenStep::Refused);
        assert_eq!(cache.ask(at(0.9), None), used("b"), "others go on");
        assert_eq!(cache.ask(at(1.0), Some(&b)), TokenStep::Fetch);
    }

    #[test]
    fn a_fetch_that_was_given_up_early_says_nothing() {
        let mut cache = TokenCache::default();
        assert_eq!(cache.ask(at(0.0), None), TokenStep::Fetch);
        cache.on_given_up(at(4.9));
        assert_eq!(cache.ask(at(4.9), None), TokenStep::Fetch);
        cache.on_given_up(at(9.9));
        assert_eq!(cache.ask(at(9.9), None), TokenStep::Fail(Failure::Token));
        cache.on_given_up(at(20.0));
        assert_eq!(cache.ask(at(20.0), None), TokenStep::Fetch, "nothing was");
    }

    #[test]
    fn what_has_nothing_to_say_can_be_forgotten() {
        let mut cache = TokenCache::default();
        assert!(!cache.is_worth_keeping(at(0.0)));
        assert_eq!(cache.ask(at(0.0), None), TokenStep::Fetch);
        assert!(cache.is_worth_keeping(at(0.0)));
        cache.on_failed(at(0.0), Failure::Token);
        assert!(cache.is_worth_keeping(at(0.5)) && !cache.is_worth_keeping(at(1.0)));
        cache.on_issued(at(0.0), issued("a", 10.0));
        assert!(cache.is_worth_keeping(at(9.0)) && !cache.is_worth_keeping(at(10.0)));
    }
}
