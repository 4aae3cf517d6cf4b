//! Watching by server-sent events.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::{App, HttpServer};
use actix_webhooks::store::DeadLetterQuery;
use actix_webhooks::testing::Reply;
use actix_webhooks::{Engine, StartRedelivery, web};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::{Api, HOOK, HUSH, Served, TOKEN, bearer, id, serve, tokens};

/// A stream of events, as a client sees it.
struct Events {
    body: BoxBody,
    ready: VecDeque<(String, Value)>,
}

impl Events {
    async fn open(api: &Api<Box<dyn Served>>, topics: &str) -> Self {
        Self {
            body: api.open(&format!("/live?topics={topics}")).await,
            ready: VecDeque::new(),
        }
    }

    /// Waits for the next event, an hour at most, and returns its name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        let event = timeout(Duration::from_hours(1), self.next_event()).await;
        event.expect("an event or the end within an hour")
    }

    async fn next_event(&mut self) -> Option<(String, Value)> {
        while self.ready.is_empty() {
            let chunk = poll_fn(|cx| Pin::new(&mut self.body).poll_next(cx)).await?;
            let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
            for hush in HUSH {
                assert!(!text.contains(hush), "{text}");
            }
            self.ready.extend(parse(&text));
        }
        self.ready.pop_front()
    }

    /// Waits for the next event, which has this name, and returns its data.
    #[track_caller]
    fn expect(&mut self, name: &str) -> impl Future<Output = Value> {
        let name = name.to_owned();
        async move {
            let (found, data) = self.next().await.expect("the stream goes on");
            assert_eq!(found, name, "{data}");
            data
        }
    }
}

/// Returns the events of a chunk. Comments and waits are none.
fn parse(text: &str) -> Vec<(String, Value)> {
    let events = text.split_terminator("\n\n").filter_map(|event| {
        let field = |name: &str| {
            let mut lines = event.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let data = serde_json::from_str(field("data")?).unwrap();
        Some((field("event").unwrap().to_owned(), data))
    });
    events.collect()
}

#[test]
fn an_endpoint_shows_its_status_first_and_then_each_change_and_attempt() {
    serve(async |api, sim| {
        let topic = format!("endpoint:{}", id(HOOK));
        let mut events = Events::open(api, &topic).await;
        let first = events.expect("endpoint").await;
        assert_eq!(
            (&first["topic"], &first["missed"]),
            (&json!(topic), &json!(0))
        );
        assert_eq!(first["state"]["state"], "idle");
        sim.receivers
            .on(HOOK, [Reply::status(503), Reply::status(200)]);
        sim.publish("paid").await;
        let failing = events.expect("endpoint").await;
        assert_eq!(failing["state"]["state"], "backing_off");
        let attempts = events.expect("attempts").await;
        let [attempt] = &attempts["attempts"].as_array().unwrap()[..] else {
            panic!("{attempts}")
        };
        assert_eq!(
            (&attempt["outcome"], &attempt["status"]),
            (&json!("failed"), &json!(503))
        );
        assert_eq!(
            (&attempt["eventId"], &attempt["endpointId"]),
            (&json!("paid"), &json!(id(HOOK)))
        );
        assert_eq!(attempts["missed"], 0);
        let well = events.expect("endpoint").await;
        assert_eq!(
            (&well["state"]["state"], &well["state"]["delivered"]),
            (&json!("idle"), &json!(1))
        );
        assert_eq!(
            events.expect("attempts").await["attempts"][0]["outcome"],
            "delivered"
        );
    });
}

#[test]
fn a_delivery_an_engine_and_operators_actions_are_watched_together() {
    serve(async |api, sim| {
        sim.receivers.on(
            HOOK,
            [Reply::body(503, "hush-password"), Reply::status(200)],
        );
        sim.publish("paid").await;
        sim.sleep(3).await;
        let mut events = Events::open(api, "overview,actions,delivery:1").await;
        assert_eq!(events.expect("overview").await["state"]["open"], 1);
        assert_eq!(events.expect("actions").await["state"], json!([]));
        let delivery = events.expect("delivery").await;
        assert_eq!(delivery["topic"], "delivery:1");
        assert_eq!(delivery["state"]["delivery"]["state"], "waiting");
        // What the receiver answered is for those who may see bodies.
        assert_eq!(delivery["state"]["attempts"][0].get("excerpt"), None);
        sim.engine
            .by("alice")
            .endpoint("https://other.test/")
            .pause()
            .await
            .ok();
        sim.engine.by("alice").endpoint(HOOK).pause().await.unwrap();
        let paused = loop {
            let (name, data) = events.next().await.unwrap();
            if name == "actions" && data["state"][0]["result"] == "done" {
                break data;
            }
        };
        assert_eq!(paused["state"][0]["operator"], "alice");
        sim.engine.endpoint(HOOK).resume().await.unwrap();
        let delivered = loop {
            let (name, data) = events.next().await.unwrap();
            if name == "delivery" {
                break data;
            }
        };
        assert_eq!(delivered["state"]["delivery"]["state"], "delivered");
    });
}

#[test]
fn a_redelivery_is_watched_until_it_is_finished() {
    serve(async |api, sim| {
        sim.receivers.on(HOOK, [Reply::status(400)]);
        for event in 0..3 {
            sim.publish(&event.to_string()).await;
        }
        sim.sleep(3).await;
        sim.receivers.on(HOOK, [Reply::status(200)]);
        let all = StartRedelivery::dead_letters(DeadLetterQuery::default());
        let job = sim.engine.start_redelivery(all).await.unwrap();
        let mut events = Events::open(api, &format!("redelivery:{}", job.id)).await;
        let mut shown = events.expect("redelivery").await;
        while shown["state"]["state"] != "finished" {
            shown = events.expect("redelivery").await;
        }
        assert_eq!(
            (&shown["state"]["done"], &shown["state"]["left"]),
            (&json!(3), &json!(0))
        );
    });
}

#[test]
fn what_does_not_exist_cannot_be_watched() {
    serve(async |api, _| {
        let unknown = "ep_0123456789abcdef0123456789abcdef";
        for (topics, code) in [
            (format!("endpoint:{unknown}"), "unknown-endpoint"),
            ("overview,delivery:99".to_owned(), "unknown-delivery"),
            ("redelivery:9".to_owned(), "unknown-redelivery"),
        ] {
            let answer = api.get(&format!("/live?topics={topics}")).await.expect(404);
            assert_eq!(answer.code(), code);
        }
        for query in ["", "?topics=", "?topics=everything", "?topics=delivery:x"] {
            let answer = api.get(&format!("/live{query}")).await.expect(400);
            assert_eq!(answer.wrong(), "topics", "{query}");
        }
    });
}

#[test]
fn an_endpoint_that_is_removed_is_told_to_be_gone() {
    serve(async |api, sim| {
        let mut events = Events::open(api, &format!("endpoint:{}", id(HOOK))).await;
        events.expect("endpoint").await;
        sim.engine.remove_rule("rule").await.unwrap();
        sim.engine.endpoint(HOOK).remove().await.unwrap();
        let gone = events.expect("gone").await;
        assert_eq!(gone["topic"], format!("endpoint:{}", id(HOOK)));
    });
}

#[test]
fn a_listener_that_takes_nothing_gets_the_latest_state_and_the_number_it_missed() {
    serve(async |api, sim| {
        let mut slow = Events::open(api, "overview,attempts").await;
        let mut quick = Events::open(api, "overview").await;
        sim.receivers.on(HOOK, [Reply::status(200)]);
        for event in 0..100 {
            sim.publish(&event.to_string()).await;
        }
        for _ in 0..10 {
            assert_eq!(quick.expect("overview").await["missed"], 0);
        }
        let latest = slow.expect("overview").await;
        assert!(latest["missed"].as_u64().unwrap() >= 8, "{latest}");
        assert_eq!(latest["state"]["at"].as_str().map(str::len), Some(24));
        let attempts = slow.expect("attempts").await;
        assert_eq!(attempts["attempts"].as_array().unwrap().len(), 20);
        assert_eq!(attempts["missed"], 80);
    });
}

#[test]
fn there_are_no_more_streams_than_may_be_and_a_closed_one_makes_room() {
    serve(async |api, _| {
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(Events::open(api, "actions").await);
        }
        let refused = api.get("/live?topics=actions").await.expect(429);
        assert_eq!(refused.code(), "too-many-listeners");
        assert_eq!(refused.header("retry-after"), "5");
        open.pop();
        // An unknown topic takes no room.
        api.get("/live?topics=delivery:9").await.expect(404);
        Events::open(api, "actions").await;
    });
}

#[test]
fn a_stream_ends_after_ten_minutes_so_that_its_credentials_are_checked_again() {
    serve(async |api, sim| {
        let before = sim.clock.now();
        let mut events = Events::open(api, "actions").await;
        events.expect("actions").await;
        assert_eq!(events.expect("end").await, json!({ "reason": "renew" }));
        assert_eq!(events.next().await, None);
        let took = sim.clock.now().since(before);
        assert!((600..=602).contains(&took.as_secs()), "{took:?}");
    });
}

#[test]
fn streams_end_when_the_engine_shuts_down_and_no_new_one_begins() {
    serve(async |api, sim| {
        let mut events = Events::open(api, "actions").await;
        events.expect("actions").await;
        sim.engine.shutdown(Duration::from_secs(1)).await;
        assert_eq!(
            events.expect("end").await,
            json!({ "reason": "shutting_down" })
        );
        assert_eq!(events.next().await, None);
        let refused = api.get("/live?topics=actions").await.expect(503);
        assert_eq!(refused.code(), "shutting-down");
    });
}

/// A server waits for open connections when it stops, and a stream never ends by itself soon.
#[actix_web::test]
async fn a_server_with_open_streams_stops_once_its_engine_has() {
    let engine = Engine::builder().start().await.unwrap();
    let api = web::scope(engine.clone(), tokens());
    let server = HttpServer::new(move || App::new().service(api.clone()));
    let server = server.workers(2).shutdown_timeout(600).disable_signals();
    let server = server.bind(("127.0.0.1", 0)).unwrap();
    let port = server.addrs()[0].port();
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let url = format!("http://127.0.0.1:{port}/api/v1/live?topics=actions");
        let request = awc::Client::new().get(url).insert_header(bearer(TOKEN));
        let mut answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let mut text = String::new();
        while !text.contains("event: actions\n") {
            let chunk = answer.next().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        streams.push(answer);
    }
    engine.shutdown(Duration::ZERO).await;
    for mut stream in streams {
        let mut text = String::new();
        let read = async {
            while let Some(chunk) = stream.next().await {
                text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
            }
        };
        let ended = timeout(Duration::from_mins(1), read).await;
        ended.expect("the stream ends with the engine");
        assert!(
            text.ends_with("event: end\ndata: {\"reason\":\"shutting_down\"}\n\n"),
            "{text}"
        );
    }
    // It would wait for ten minutes.
    handle.stop(true).await;
    serving.await.unwrap().unwrap();
}
