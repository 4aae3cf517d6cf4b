//! Every possible setting and event is read as it was written.

use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{Change, SqliteStore};
use actix_webhooks::{
    Auth, CircuitBreaker, Client, ClientCredentials, Condition, DisablePolicy, Endpoint,
    EndpointPolicy, Event, Expected, FailingRule, Filter, Ordering, PayloadFormat, Projection,
    RateLimit, ResponseClass, ResponsePolicy, RetryPolicy, Rule, SignatureHeaders, Timestamp,
};
use futures_util::FutureExt as _;
use proptest::prelude::*;
use serde_json::Value;

use super::support::Life;

const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8",
];

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn instant() -> impl Strategy<Value = Timestamp> {
    let ends = prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        -99_999_999_999_999_i64..999_999_999_999_999
    ];
    prop_oneof![any::<i64>(), ends].prop_map(Timestamp::from_unix_millis)
}

fn url() -> impl Strategy<Value = String> {
    "https?://[a-z]{1,9}\\.test(:[1-9][0-9]{0,3})?/[a-zA-Z0-9%/._-]{0,9}(\\?\\PC{0,9})?"
}

fn auth() -> impl Strategy<Value = Auth> {
    let text = any::<String>;
    let credentials = (
        url(),
        text(),
        text(),
        prop::option::of(text()),
        text(),
        any::<bool>(),
    );
    let credentials = credentials.prop_map(|(url, id, secret, scope, value, in_body)| {
        let made = ClientCredentials::new(&url, id, secret).unwrap();
        let mut made = made.audience(&*value).parameter(&*value, &*value);
        if let Some(scope) = scope {
            made = made.scope(scope);
        }
        Auth::oauth2(if in_body { made.in_body() } else { made })
    });
    prop_oneof![
        Just(Auth::None),
        (text(), text()).prop_map(|(user, password)| Auth::basic(user, password)),
        text().prop_map(Auth::bearer),
        text().prop_map(Auth::raw),
        credentials,
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let values = prop::collection::vec(scalar(), 1..3);
    let condition = (any::<String>(), 0..7, scalar(), values, any::<bool>());
    let leaf = condition.prop_map(|(pointer, kind, value, values, exists)| {
        let expected = match kind {
            0 => Expected::Equals(value),
            1 => Expected::OneOf(values),
            2 => Expected::Exists(exists),
            3 => Expected::Gt(value),
            4 => Expected::Gte(value),
            5 => Expected::Lt(value),
            _ => Expected::Lte(value),
        };
        Filter::from(Condition::new(pointer, expected))
    });
    leaf.prop_recursive(4, 12, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![some().prop_map(Filter::All), some().prop_map(Filter::Any)]
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let text = any::<String>;
    let scope = (prop::option::of(text()), prop::option::of(text()));
    let urls = prop::collection::vec(url(), 0..4);
    let formats = [
        PayloadFormat::Alert,
        PayloadFormat::StandardWebhooks,
        PayloadFormat::CloudEvents,
        PayloadFormat::Raw,
    ];
    let rest = (
        prop::option::of(auth()),
        prop::sample::select(formats.to_vec()),
        any::<bool>(),
        prop::option::of(filter()),
        prop::option::of(prop::collection::vec(text(), 0..3)),
    );
    (text(), text(), scope, urls, rest).prop_map(|(id, kind, (client, company), urls, rest)| {
        let mut rule = Rule::new(id, kind).format(rest.1);
        for url in urls {
            rule = rule.webhook(&url).unwrap();
        }
        rule.client_id = client.map(Into::into);
        rule.company_id = company.map(Into::into);
        rule.auth = rest.0;
        rule.enabled = rest.2;
        rule.filter = rest.3.map(Into::into);
        rule.projection = rest.4.map(Projection::new);
        rule
    })
}

fn client() -> impl Strategy<Value = Client> {
    let text = any::<String>;
    let parts = (text(), prop::option::of(text()), prop::option::of(auth()));
    parts.prop_map(|(id, name, auth)| {
        let mut client = Client::new(id);
        (client.name, client.auth) = (name, auth);
        client
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let text = any::<String>;
    let headers = prop::collection::vec((text(), text(), any::<bool>()), 0..3);
    let names = prop::option::of((text(), text(), text()));
    let signing = (prop::option::of(instant()), any::<bool>(), names);
    let tls = (text(), text(), text(), any::<bool>());
    let shown = (
        prop::option::of(auth()),
        headers,
        prop::option::of(text()),
        signing,
        tls,
    );
    (url(), shown, policy()).prop_map(|(url, (auth, headers, kind, signing, tls), policy)| {
        let mut endpoint = Endpoint::new(&url).unwrap();
        endpoint.policy = policy;
        endpoint.auth = auth;
        for (name, value, secret) in headers {
            endpoint = if secret {
                endpoint.secret_header(name, value)
            } else {
                endpoint.header(name, value)
            };
        }
        endpoint.client_id = kind.as_deref().map(Into::into);
        endpoint.content_type = kind;
        if let Some(until) = signing.0 {
            endpoint = endpoint.secret_until(SECRETS[0], until).unwrap();
        }
        if signing.1 {
            endpoint = endpoint.secret(SECRETS[1]).unwrap();
        }
        if let Some((id, time, signature)) = signing.2 {
            endpoint = endpoint.signature_headers(SignatureHeaders::named(id, time, signature));
        }
        let (certificates, key, root, any) = tls;
        if any {
            let ranges = ["10.0.0.0/8", "fd00::/8", "1.2.3.4"].map(|text| text.parse().unwrap());
            endpoint = endpoint.client_certificate(certificates, key);
            endpoint = endpoint.root_certificate(root).allow_addresses(ranges);
        }
        endpoint
    })
}

fn policy() -> impl Strategy<Value = EndpointPolicy> {
    let waits = prop::collection::vec(duration(), 0..5);
    let retry = (
        waits,
        prop::option::of(duration()),
        duration(),
        any::<bool>(),
    );
    let statuses = prop::collection::vec(any::<u16>(), 0..4);
    let breaker = prop::option::of((any::<u32>(), duration(), duration()));
    let failing = prop::collection::vec((duration(), any::<u32>()), 0..3);
    let limits = (
        prop::option::of((any::<u32>(), duration())),
        breaker,
        failing,
    );
    let plain = (duration(), duration(), any::<u32>(), any::<[bool; 3]>());
    (retry, statuses, limits, plain).prop_map(|(retry, statuses, limits, plain)| {
        let endpoint = Endpoint::new("http://a.test/").unwrap();
        let mut made = RetryPolicy::custom(retry.0.clone()).max_retry_after(retry.2);
        if let Some(window) = retry.1 {
            made = made.within(window);
        }
        if retry.3 {
            made = made.without_jitter();
        }
        let classes = [
            ResponseClass::Delivered,
            ResponseClass::Redirected,
            ResponseClass::Transient,
            ResponseClass::Permanent,
        ];
        let moved = statuses.iter().zip(classes);
        let responses = moved.fold(ResponsePolicy::default(), |policy, (status, class)| {
            policy.with(*status, class)
        });
        let mut endpoint = endpoint
            .retry(made)
            .responses(responses)
            .timeout(plain.0)
            .connect_timeout(plain.1)
            .max_in_flight(plain.2)
            .ordering(if plain.3[0] {
                Ordering::Fifo
            } else {
                Ordering::FifoPerCompany
            });
        endpoint.policy.https_only = plain.3[1];
        endpoint.policy.honours_directives = plain.3[2];
        if let Some((attempts, per)) = limits.0 {
            endpoint = endpoint.rate_limit(RateLimit::new(attempts, per));
        }
        if let Some((failures, first, longest)) = limits.1 {
            let breaker = CircuitBreaker::after(failures).waits(first, longest);
            endpoint = endpoint.circuit_breaker(breaker);
        }
        let mut disable = DisablePolicy::never();
        let rules = limits.2.iter();
        disable.when_failing = rules.map(|rule| FailingRule::new(rule.0, rule.1)).collect();
        endpoint.disable(disable).policy
    })
}

fn data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(6, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    let wrapped = |(value, depth): (Value, usize)| {
        (0..depth).fold(value, |inner, _| Value::Array(vec![inner]))
    };
    (tree, prop_oneof![4 => Just(0), 1 => 0..140_usize]).prop_map(wrapped)
}

fn some_event() -> impl Strategy<Value = Event> {
    let text = || prop::option::of("\\PC{1,20}");
    let texts = (text(), text(), text());
    let parts = (
        "[ -~]{1,20}",
        "\\PC{1,20}",
        instant(),
        texts,
        prop::option::of(data()),
    );
    parts.prop_map(|(id, kind, at, (company, connection, message), data)| {
        let mut event = Event::identified(id, at, kind, "client");
        event.company_id = company.map(Into::into);
        event.data_connection_id = connection.map(Into::into);
        (event.message, event.data) = (message, data);
        event
    })
}

/// Waits for a store without a runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Some(done) = (&mut future).now_or_never() {
            return done;
        }
        std::thread::yield_now();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn settings_are_read_as_they_were_written(
        rules in prop::collection::btree_map(any::<String>(), rule(), 0..4),
        clients in prop::collection::btree_map(any::<String>(), client(), 0..4),
        endpoints in prop::collection::vec(endpoint(), 0..4),
    ) {
        let life = Life::new();
        let store = SqliteStore::open(life.file()).unwrap();
        let mut rules: Vec<_> = rules.into_values().collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        rules.dedup_by(|a, b| a.id == b.id);
        let mut clients: Vec<_> = clients.into_values().collect();
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        clients.dedup_by(|a, b| a.id == b.id);
        let mut endpoints = endpoints;
        endpoints.sort_by(|a, b| a.url.cmp(&b.url));
        endpoints.dedup_by(|a, b| a.url == b.url);
        let changes = rules.iter().cloned().map(Change::PutRule);
        let changes = changes.chain(clients.iter().cloned().map(Change::PutClient));
        for change in changes.chain(endpoints.iter().cloned().map(Change::PutEndpoint)) {
            wait(store.apply(change)).unwrap();
        }
        let (read, unreadable) = wait(store.readable()).unwrap();
        prop_assert_eq!(unreadable, vec![]);
        prop_assert_eq!(read.rules, rules);
        prop_assert_eq!(read.clients, clients);
        prop_assert_eq!(read.endpoints, endpoints);
    }

    #[test]
    fn events_are_read_as_they_were_written(events in prop::collection::vec(some_event(), 1..8)) {
        let life = Life::new();
        let store = SqliteStore::open(life.file()).unwrap();
        let mut file = rusqlite::Connection::open(life.file()).unwrap();
        let transaction = file.transaction().unwrap();
        let taken = |event: &Event| SqliteStore::publish_in(&transaction, event).is_ok();
        let taken: Vec<_> = events.into_iter().filter(taken).collect();
        transaction.commit().unwrap();
        let read = wait(store.outbox(0, 100)).unwrap();
        let read: Vec<_> = read.into_iter().map(|entry| entry.event.unwrap()).collect();
        prop_assert_eq!(read, taken);
    }
}
