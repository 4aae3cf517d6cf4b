//! The visible form of every public type that holds a secret or a URL.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use actix_webhooks::store::{
    BacklogLimits, Change, Configuration, DeadLetterQuery, DeliveryQuery, MemoryLimits,
    MemoryStore, Redelivery,
};
use actix_webhooks::testing::{Reply, ScriptedTransport, SimClock};
use actix_webhooks::transport::Answer;
use actix_webhooks::{
    Auth, Client, ClientCredentials, DisableEndpoint, Endpoint, Engine, EngineBuilder, Event,
    GetStatus, ListDeadLetters, ListDeliveries, ListRules, ListStatus, PauseEndpoint, PutClient,
    PutEndpoint, PutRule, Redeliver, RemoveEndpoint, ResumeEndpoint, RetryPolicy, Rule, Secret,
    WebhookUrl,
};
use serde::Serialize;
use serde_json::Value;

use crate::{HOOK, QUERY, SECRET, hides};

fn auths() -> [Auth; 4] {
    let credentials = ClientCredentials::new(&format!("http://issuer.test/?{QUERY}"), "id", SECRET);
    [
        Auth::oauth2(credentials.unwrap().parameter("assertion", SECRET)),
        Auth::basic("user", SECRET),
        Auth::bearer(SECRET),
        Auth::raw(SECRET),
    ]
}

fn rule(auth: Auth) -> Rule {
    Rule::new("rule", "*").webhook(HOOK).unwrap().auth(auth)
}

fn client(auth: Auth) -> Client {
    Client::new("client").auth(auth)
}

fn endpoint(auth: Auth) -> Endpoint {
    Endpoint::new(HOOK)
        .unwrap()
        .header("X-Team", SECRET)
        .secret_header("X-Key", SECRET)
        .client_certificate("certificate", SECRET)
        .retry(RetryPolicy::none())
        .auth(auth)
}

/// Checks the output of `Debug`.
#[track_caller]
fn debug(value: &impl Debug) {
    let shown = format!("{value:?} {value:#?}");
    hides("Debug", &shown);
    assert!(shown.len() > 3);
}

/// Checks `Debug` and JSON.
#[track_caller]
fn both(value: &(impl Debug + Serialize)) {
    debug(value);
    let json = serde_json::to_value(value).unwrap();
    hides("JSON", &without_identities(json).to_string());
}

/// Leaves out the fields that identify an endpoint by its whole URL.
fn without_identities(json: Value) -> Value {
    match json {
        Value::Object(fields) => {
            let names = ["url", "webhooks", "after", "next", "tokenUrl"];
            let others = fields
                .into_iter()
                .filter(|(name, _)| !names.contains(&name.as_str()));
            others
                .map(|(name, value)| (name, without_identities(value)))
                .collect()
        }
        Value::Array(items) => items.into_iter().map(without_identities).collect(),
        other => other,
    }
}

/// Checks an error with all its causes.
#[track_caller]
fn error(error: &dyn Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        let shown = format!("{error} {error:?} {error:#?}");
        hides("error", &shown);
        next = error.source();
    }
}

#[test]
fn settings_and_messages_hide_their_secrets() {
    for auth in auths() {
        both(&auth);
        debug(&auth.header_value());
        both(&rule(auth.clone()));
        both(&client(auth.clone()));
        both(&endpoint(auth.clone()));
        both(&PutRule::new(rule(auth.clone())));
        both(&PutClient::new(client(auth.clone())));
        both(&PutEndpoint::new(endpoint(auth.clone())));
        debug(&Change::PutRule(rule(auth.clone())));
        debug(&Change::PutClient(client(auth.clone())));
        debug(&Change::PutEndpoint(endpoint(auth.clone())));
        let mut configuration = Configuration::default();
        configuration.rules.push(rule(auth.clone()));
        configuration.clients.push(client(auth.clone()));
        configuration.endpoints.push(endpoint(auth.clone()));
        debug(&configuration);
        debug(
            &Engine::builder()
                .rule(rule(auth.clone()))
                .client(client(auth.clone()))
                .endpoint(endpoint(auth)),
        );
    }
    both(&Secret::from(SECRET));
}

#[test]
fn what_names_an_endpoint_shows_no_query_but_in_json() {
    let url = WebhookUrl::parse(HOOK).unwrap();
    debug(&url);
    assert_eq!(serde_json::to_value(&url).unwrap(), HOOK);
    assert_eq!(url.to_string(), HOOK);
    both(&GetStatus::new(HOOK));
    both(&PauseEndpoint::new(HOOK));
    both(&ResumeEndpoint::new(HOOK));
    both(&DisableEndpoint::new(HOOK));
    both(&RemoveEndpoint::new(HOOK));
    let (deliveries, dead) = (
        DeliveryQuery {
            url: Some(url.clone()),
            ..DeliveryQuery::default()
        },
        DeadLetterQuery {
            url: Some(url.clone()),
            ..DeadLetterQuery::default()
        },
    );
    both(&ListStatus {
        after: Some(url),
        ..ListStatus::default()
    });
    both(&ListDeliveries::new(deliveries));
    both(&ListDeadLetters::new(dead.clone()));
    both(&Redelivery::DeadLetters(dead.clone()));
    both(&Redeliver::dead_letters(dead));
    debug(&Answer::new(301).location(HOOK));
    debug(&Reply::answer(Answer::new(301).location(HOOK)));
}

/// Returns texts with a user name and a password. Most of them are not URLs.
fn careless() -> Vec<String> {
    let texts = [
        "https://SECRET:SECRET@receiver.test/hook?QUERY",
        "HTTPS:SECRET:SECRET@receiver.test",
        "https:\\\\SECRET:SECRET@receiver.test",
        "https//SECRET:SECRET@receiver.test",
        "https://SECRET:SECRET@[receiver/",
        "https://SECRET:SECRET@receiver.test:99999/",
        "https://SECRET:SECRET%40receiver.test/",
        "https://receiver.test:SECRET/",
        "ftp://SECRET:SECRET@receiver.test/",
        "SECRET:SECRET@receiver.test/hook",
        "//SECRET:SECRET@receiver.test/",
        "/\\SECRET:SECRET@receiver.test/?QUERY",
        "\thttps://SECRET:SECRET@receiver.test/",
        "SECRET",
    ];
    texts
        .map(|text| text.replace("SECRET", SECRET).replace("QUERY", QUERY))
        .to_vec()
}

/// The answer to `PauseEndpoint` contained the password.
#[test]
fn nothing_shows_the_user_info_of_a_url_that_is_refused() {
    for text in careless() {
        debug(&GetStatus::new(&text));
        debug(&PauseEndpoint::new(&text));
        debug(&ResumeEndpoint::new(&text));
        debug(&DisableEndpoint::new(&text));
        debug(&RemoveEndpoint::new(&text));
        error(&WebhookUrl::parse(&text).unwrap_err());
        error(&Endpoint::new(&text).unwrap_err());
        error(&Rule::new("r", "*").webhook(&text).unwrap_err());
        error(&ClientCredentials::new(&text, "id", "secret").unwrap_err());
        let json = serde_json::json!({ "id": "r", "ruleType": "*", "webhooks": [text], "url": text, "after": text });
        error(&serde_json::from_value::<WebhookUrl>(json["url"].clone()).unwrap_err());
        error(&serde_json::from_value::<Rule>(json.clone()).unwrap_err());
        error(&serde_json::from_value::<Endpoint>(json.clone()).unwrap_err());
        error(&serde_json::from_value::<PutEndpoint>(json.clone()).unwrap_err());
        let after = serde_json::json!({ "after": text });
        error(&serde_json::from_value::<ListStatus>(after).unwrap_err());
        debug(&Answer::new(301).location(&*text));
        debug(&Reply::answer(Answer::new(301).location(text)));
    }
}

#[test]
fn errors_of_reading_show_nothing_of_what_was_read() {
    for text in [
        format!("ftp://receiver.test/?{QUERY}"),
        format!("http://user:{SECRET}@receiver.test/"),
        format!("http://[{SECRET}/"),
        format!("{SECRET}?{QUERY}"),
    ] {
        error(&WebhookUrl::parse(&text).unwrap_err());
        error(&Endpoint::new(&text).unwrap_err());
        error(&Rule::new("r", "*").webhook(&text).unwrap_err());
    }
    error(&serde_json::from_str::<WebhookUrl>(&format!("\"ftp://a.test/?{QUERY}\"")).unwrap_err());
}

/// Starts an engine that must refuse its settings.
async fn refused(settings: impl FnOnce(EngineBuilder) -> EngineBuilder) {
    let refused = settings(Engine::builder()).start().await.unwrap_err();
    error(&refused);
}

#[test]
fn errors_of_an_engine_hide_secrets() {
    SimClock::run(async |_| {
        let evil = format!("{SECRET}\r\nX-Evil: 1");
        refused(|builder| builder.rule(rule(Auth::bearer(evil.as_str())))).await;
        refused(|builder| builder.client(client(Auth::raw(evil.as_str())))).await;
        refused(|builder| builder.endpoint(endpoint(Auth::basic("a", evil.as_str())))).await;
        let plain = || endpoint(Auth::None);
        refused(|builder| builder.endpoint(plain().header("X-Evil", evil.as_str()))).await;
        refused(|builder| builder.endpoint(plain().header("Host", SECRET))).await;
        refused(|builder| builder.endpoint(plain().header("X Y", SECRET))).await;
        refused(|builder| builder.endpoint(plain()).endpoint(plain())).await;
    });
}

#[test]
fn what_an_engine_answers_hides_secrets() {
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let away = format!("ftp://elsewhere.test/?{QUERY}");
        receivers.on(HOOK, [Reply::answer(Answer::new(302).location(away))]);
        let limits = MemoryLimits {
            backlog: BacklogLimits {
                endpoint_deliveries: 1,
                ..BacklogLimits::default()
            },
            ..MemoryLimits::default()
        };
        let engine = Engine::builder()
            .simulated(&clock, 1)
            .store(MemoryStore::with_limits(limits))
            .transport(receivers.clone())
            .rule(rule(Auth::basic("user", SECRET)))
            .client(client(Auth::bearer(SECRET)))
            .endpoint(endpoint(Auth::raw(SECRET)))
            .start()
            .await
            .unwrap();
        debug(&engine);
        let (router, supervisor) = (engine.router(), engine.supervisor());
        let event = |id: &str| Event::new("thing.happened", "client").id(id);
        both(&engine.publish(event("e")).await.unwrap());
        clock.sleep(Duration::from_secs(1)).await;
        let sent = receivers.requests();
        let credential = sent[0].request.authorization.as_ref().unwrap();
        assert!(credential.expose().starts_with("Basic "));
        debug(&sent);

        both(&router.send(ListRules).await.unwrap());
        let status = supervisor.send(GetStatus::new(HOOK)).await.unwrap();
        assert_eq!(status.as_ref().unwrap().url, HOOK);
        both(&status);
        both(&supervisor.send(ListStatus::default()).await.unwrap());
        let deliveries = supervisor.send(ListDeliveries::default()).await.unwrap();
        both(&deliveries.unwrap());
        let dead = supervisor.send(ListDeadLetters::default()).await.unwrap();
        assert_eq!(dead.as_ref().unwrap().len(), 1);
        both(&dead.unwrap());

        supervisor
            .send(PauseEndpoint::new(HOOK))
            .await
            .unwrap()
            .unwrap();
        engine.publish(event("f")).await.unwrap();
        error(&engine.publish(event("g")).await.unwrap_err());
        let unknown = format!("http://unknown.test/?{QUERY}#{QUERY}");
        let mut urls = careless();
        urls.extend([unknown, format!("nonsense?{QUERY}")]);
        for url in &urls {
            let answers = [
                supervisor.send(PauseEndpoint::new(url)).await.unwrap(),
                supervisor.send(ResumeEndpoint::new(url)).await.unwrap(),
                supervisor.send(DisableEndpoint::new(url)).await.unwrap(),
                supervisor
                    .send(RemoveEndpoint::new(url))
                    .await
                    .unwrap()
                    .map(drop),
            ];
            for answer in answers {
                error(&answer.unwrap_err());
            }
            debug(&supervisor.send(GetStatus::new(url)).await.unwrap());
        }
        let bad = PutEndpoint::new(endpoint(Auth::None).header("Host", SECRET));
        error(&supervisor.send(bad).await.unwrap().unwrap_err());
        let bad = PutRule::new(rule(Auth::raw(format!("{SECRET}\n"))));
        error(&router.send(bad).await.unwrap().unwrap_err());
        let bad = PutClient::new(client(Auth::raw(format!("{SECRET}\n"))));
        error(&router.send(bad).await.unwrap().unwrap_err());
        debug(&engine.shutdown(Duration::ZERO).await);
    });
}
