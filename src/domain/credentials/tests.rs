use super::*;

const NOW: Timestamp = Timestamp::from_unix_millis(1_000);

/// A book that keeps past credentials before each change, as the engine does.
#[derive(Default)]
struct Story {
    book: CredentialBook,
    kept: Vec<PastCredential>,
}

impl Story {
    fn keep(&mut self, ending: impl IntoIterator<Item = PastCredential>) {
        for past in ending {
            // Kept as a store returns it; serde would not show the secret itself.
            self.kept.retain(|kept| kept.key() != past.key());
            self.kept.push(past.clone());
            self.book.keep(past);
        }
    }

    fn put(&mut self, rule: Rule) {
        let ending = self.book.before_rule(&rule.id, Some(&rule), NOW);
        self.keep(ending);
        self.book.put_rule(rule);
    }

    fn remove(&mut self, id: &str) {
        let ending = self.book.before_rule(&id.into(), None, NOW);
        self.keep(ending);
        self.book.remove_rule(&id.into());
    }

    fn client(&mut self, id: &str, auth: Option<&str>) {
        let client = Client::new(id);
        let client = match auth {
            Some(auth) => client.auth(Auth::raw(auth)),
            None => client,
        };
        let ending = self.book.before_client(&client.id, Some(&client), NOW);
        self.keep(ending);
        self.book.put_client(&client);
    }

    /// Returns the credential that a delivery of rule `r` for client `client` to `url` carries,
    /// also after a restart.
    #[track_caller]
    fn shown(&self, client: &str, url: &str) -> String {
        let rules = self.book.rules.values().map(|given| given.rule.clone());
        let clients = self.book.clients.iter();
        let clients = clients.map(|(id, of)| Client::new(id.clone()).auth(of.auth.clone()));
        let again = CredentialBook::load(rules, clients, self.kept.clone());
        let shown = shown(&self.book, client, url);
        assert_eq!(shown, self::shown(&again, client, url), "after a restart");
        shown
    }
}

fn shown(book: &CredentialBook, client: &str, url: &str) -> String {
    let alert = Alert {
        client_id: client.into(),
        ..Alert::example(None)
    };
    let url = WebhookUrl::parse(url).unwrap();
    let endpoint = Authorization::from(&Auth::raw("endpoint"));
    match book.authorization(&alert, &url, &endpoint) {
        Authorization::Header(Some(header)) => header.expose().to_owned(),
        Authorization::Header(None) => "nothing".to_owned(),
        Authorization::Token(_) => "token".to_owned(),
    }
}

fn rule(auth: Option<Auth>, urls: &[&str]) -> Rule {
    let named = |rule: Rule, url: &&str| rule.webhook(url).unwrap();
    let rule = urls.iter().fold(Rule::new("r", "t"), named);
    match auth {
        Some(auth) => rule.auth(auth),
        None => rule,
    }
}

const OLD: &str = "https://old.test/";
const NEW: &str = "https://new.test/";

#[test]
fn the_rule_wins_over_the_client_and_the_client_over_the_endpoint() {
    let mut story = Story::default();
    story.put(rule(None, &[OLD]));
    assert_eq!(story.shown("c", OLD), "endpoint");
    story.client("c", Some("client"));
    assert_eq!(story.shown("c", OLD), "client");
    story.put(rule(Some(Auth::raw("rule")), &[OLD]));
    assert_eq!(story.shown("c", OLD), "rule");
    story.put(rule(Some(Auth::None), &[OLD]));
    assert_eq!(story.shown("c", OLD), "nothing", "a rule can say so");
    story.put(rule(None, &[OLD]));
    story.client("c", None);
    assert_eq!(story.shown("c", OLD), "endpoint");
    assert_eq!(story.kept, [], "nothing has ended");
}

#[test]
fn a_token_that_was_changed_is_used_while_the_rule_names_the_url() {
    let mut story = Story::default();
    story.client("c", Some("client 1"));
    story.put(rule(Some(Auth::raw("rule 1")), &[OLD, NEW]));
    story.put(rule(Some(Auth::raw("rule 2")), &[OLD]));
    assert_eq!(story.shown("c", OLD), "rule 2");
    assert_eq!(story.shown("c", NEW), "rule 1", "no longer named");
    story.put(rule(None, &[OLD]));
    story.client("c", Some("client 2"));
    assert_eq!(story.shown("c", OLD), "client 2");
}

/// Regression: a delivery waited, and its rule, with a token of its own or none at all, was
/// removed. After a restart the retry carried the client's token to a receiver that was never to
/// see it.
#[test]
fn what_a_removed_rule_gave_is_what_its_deliveries_show() {
    for (auth, expected) in [
        (Some(Auth::raw("rule")), "rule"),
        (Some(Auth::None), "nothing"),
        (None, "client"),
    ] {
        let mut story = Story::default();
        story.client("c", Some("client"));
        story.put(rule(auth, &[OLD]));
        story.remove("r");
        assert_eq!(story.shown("c", OLD), expected);
    }
}

/// Regression: `PutRule` gave a rule another URL and another token while a delivery to the old URL
/// waited. The old URL got the new token.
#[test]
fn a_url_that_is_named_no_longer_never_gets_a_newer_token() {
    let mut story = Story::default();
    story.put(rule(Some(Auth::raw("old")), &[OLD]));
    story.put(rule(Some(Auth::raw("new")), &[NEW]));
    assert_eq!(story.shown("c", OLD), "old");
    assert_eq!(story.shown("c", NEW), "new");
    story.put(rule(Some(Auth::raw("newer")), &[NEW]));
    story.remove("r");
    assert_eq!(story.shown("c", OLD), "old");
    assert_eq!(story.shown("c", NEW), "newer");
    story.put(rule(Some(Auth::raw("again")), &[OLD]));
    assert_eq!(story.shown("c", OLD), "again", "named once more");
}

#[test]
fn a_client_that_changes_its_token_does_not_show_it_where_its_rule_went_before() {
    let mut story = Story::default();
    story.client("c", Some("1"));
    story.client("d", Some("of d"));
    story.put(rule(None, &[OLD]));
    story.put(rule(None, &[NEW]));
    assert_eq!(story.shown("c", OLD), "1");
    story.client("c", Some("2"));
    story.client("c", Some("3"));
    assert_eq!(story.shown("c", OLD), "1");
    assert_eq!(story.shown("c", NEW), "3");
    story.remove("r");
    story.client("c", None);
    assert_eq!(story.shown("c", OLD), "1");
    assert_eq!(story.shown("c", NEW), "3");
    assert_eq!(story.shown("d", OLD), "of d");
}

#[test]
fn a_client_that_had_no_token_when_its_rule_went_shows_none_of_its_later_ones() {
    let mut story = Story::default();
    story.client("d", Some("of d"));
    story.put(rule(None, &[OLD]));
    story.remove("r");
    story.client("c", Some("later"));
    assert_eq!(story.shown("c", OLD), "endpoint");
    let mut story = Story::default();
    story.put(rule(None, &[OLD]));
    story.remove("r");
    assert_eq!(story.kept, [], "nobody gave anything");
    story.client("c", Some("later"));
    assert_eq!(story.shown("c", OLD), "endpoint");
}

#[test]
fn a_rule_that_turns_to_another_client_shows_nothing_of_the_first_one_any_more() {
    let mut story = Story::default();
    story.client("a", Some("a 1"));
    story.client("b", Some("b 1"));
    story.put(rule(None, &[OLD]).client("a"));
    story.put(rule(None, &[OLD]).client("b"));
    story.client("a", Some("a 2"));
    assert_eq!(story.shown("a", OLD), "a 1");
    assert_eq!(story.shown("b", OLD), "b 1");
    story.put(rule(None, &[OLD]));
    assert_eq!(story.shown("a", OLD), "a 2", "for every client again");
}

/// Regression: anyone able to write to a sealed file could add an open delivery of a rule to a URL
/// of their own, and was sent its token.
#[test]
fn a_url_that_no_rule_ever_named_is_shown_nothing() {
    let mut story = Story::default();
    story.client("c", Some("client"));
    let many: Vec<String> = (0..40).map(|n| format!("https://a.test/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for named in [&[OLD][..], &many] {
        for auth in [Some(Auth::raw("rule")), None] {
            story.put(rule(auth, named));
            assert_ne!(story.shown("c", named[0]), "endpoint");
            assert_eq!(story.shown("c", "https://evil.test/"), "endpoint");
        }
    }
}

#[test]
fn what_is_old_is_forgotten_the_clients_after_the_rules_that_refer_to_it() {
    let mut story = Story::default();
    story.client("c", Some("1"));
    story.put(rule(None, &[OLD]));
    story.remove("r");
    story.client("c", Some("2"));
    let later = Timestamp::from_unix_millis(2_000);
    assert_eq!(story.book.older_than(NOW), []);
    let old = story.book.older_than(later);
    let [(owner, Some(url))] = &old[..] else {
        panic!("{old:?}");
    };
    assert_eq!(url.as_str(), OLD);
    assert!(story.book.ended_before(owner, later) && !story.book.ended_before(owner, NOW));
    story.book.forget(owner);
    let old = story.book.older_than(later);
    assert!(
        matches!(old[..], [(CredentialOwner::Client { .. }, None)]),
        "{old:?}"
    );
    story.book.forget(&old[0].0);
    assert_eq!(story.book.older_than(later), []);
}

#[test]
fn a_delivery_is_of_the_past_once_its_rule_no_longer_names_its_url() {
    let mut story = Story::default();
    let alert = Alert::example(None);
    let old = WebhookUrl::parse(OLD).unwrap();
    assert!(story.book.is_past(&alert, &old), "no rule names it");
    story.put(rule(None, &[OLD]));
    assert!(!story.book.is_past(&alert, &old));
    let other = WebhookUrl::parse("https://other.test/").unwrap();
    assert!(story.book.is_past(&alert, &other));
}

#[test]
fn nothing_is_kept_before_a_rule_that_goes_on_giving_its_credential() {
    let given = rule(Some(Auth::raw("token")), &["http://a.test/"]).client("c");
    let mut book = CredentialBook::load([given.clone()], [], []);
    assert!(book.before_rule(&"r".into(), Some(&given), NOW).is_empty());
    let for_all = rule(Some(Auth::raw("token")), &["http://a.test/"]);
    assert!(
        book.before_rule(&"r".into(), Some(&for_all), NOW)
            .is_empty()
    );
    let other = for_all.client("d");
    assert_eq!(book.before_rule(&"r".into(), Some(&other), NOW).len(), 1);
    book.put_rule(given);
    assert_eq!(book.authorised_rules, 1, "it was put twice");
    book.remove_rule(&"r".into());
    assert_eq!(book.authorised_rules, 0);
}

#[test]
fn a_clients_credential_is_kept_only_if_a_past_rule_needs_it() {
    let client = Client::new("c").auth(Auth::raw("client"));
    let own = rule(Some(Auth::raw("token")), &["http://a.test/"]);
    let mut book = CredentialBook::load([own], [client.clone()], []);
    for past in book.before_rule(&"r".into(), None, NOW) {
        book.keep(past);
    }
    book.remove_rule(&"r".into());
    let ending = book.before_client(&client.id, None, NOW);
    assert_eq!(ending, None, "the past rule had one of its own");
    book.remove_client(&client.id);
    assert!(book.clients.is_empty());
}

#[test]
fn a_clients_past_credential_is_listed_once_no_rule_needs_it() {
    let of_rule = |number, auth: Option<&str>| PastCredential {
        owner: CredentialOwner::Rule {
            rule_id: "r".into(),
            client_id: Some("c".into()),
            url: WebhookUrl::parse("http://a.test/").unwrap(),
        },
        number,
        since: NOW,
        auth: auth.map(Auth::raw),
    };
    let of_client = PastCredential {
        owner: CredentialOwner::Client {
            client_id: "c".into(),
            number: 3,
        },
        number: 3,
        since: NOW,
        auth: Some(Auth::raw("client")),
    };
    let listed = |past: PastCredential| {
        let book = CredentialBook::load([], [], [past, of_client.clone()]);
        let cut = NOW + std::time::Duration::from_millis(1);
        assert!(book.older_than(NOW).is_empty());
        let old = book.older_than(cut).into_iter();
        old.filter(|(_, url)| url.is_none()).count()
    };
    assert_eq!(listed(of_rule(2, None)), 0, "the rule's refers to it");
    assert_eq!(listed(of_rule(3, None)), 0);
    assert_eq!(listed(of_rule(4, None)), 1, "it refers to a later one");
    assert_eq!(listed(of_rule(2, Some("token"))), 1);
}
