//! The stored configuration: rules, clients, endpoints, pauses.
//!
//! Their secrets are stored too, because sending needs them. With a key they are sealed; without
//! one they are plain, so keep the file where only the application can read it.

use std::io;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use zeroize::{Zeroize as _, Zeroizing};

use super::error::store_error;
use super::manifest::{self, Manifest};
use super::query::all;
use super::rows;
use super::seal::{Encryption, SealedField};
use super::sealing::{self, CLIENT, ENDPOINT, PAST, RULE, Table};
use super::writer::Writer;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::policy::health::DisabledReason;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::secret::exposed;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{
    Change, Configuration, PastCredential, Readable, Setting, Stopped, StoreError,
    UnreadableSetting,
};

impl Writer<'_> {
    pub(super) fn keep(
        &mut self,
        change: &Change,
        encryption: Option<&Encryption>,
    ) -> Result<(), StoreError> {
        self.note_asked_for(change).map_err(store_error)?;
        let mut sealing = Sealing {
            connection: self.connection,
            encryption,
        };
        match change {
            Change::PutRule(rule) => sealing.put(RULE, rule.id.as_str(), rule),
            Change::RemoveRule(id) => sealing.remove(RULE, id.as_str()),
            Change::PutClient(client) => sealing.put(CLIENT, client.id.as_str(), client),
            Change::RemoveClient(id) => sealing.remove(CLIENT, id.as_str()),
            Change::PutEndpoint(endpoint) => sealing.put(ENDPOINT, endpoint.url.as_str(), endpoint),
            Change::RemoveEndpoint(url) => self.remove_settings(url, encryption),
            Change::KeepPast(past) => sealing.put(PAST, &past.key(), past),
            Change::ForgetPast(key) => sealing.remove(PAST, key),
            Change::Pause(url, stopped) => self.pause(url, stopped).map_err(store_error),
            Change::Disable(url, reason, stopped) => {
                self.disable(url, *reason, stopped).map_err(store_error)
            }
            Change::Resume(url) => {
                self.resume(url)?;
                self.lift(url)
            }
        }
    }

    fn resume(&self, url: &WebhookUrl) -> Result<(), StoreError> {
        self.write(
            "UPDATE webhook_endpoint SET disabled = NULL, disabled_at = NULL, disabled_by = NULL, \
                    disabled_note = NULL, health = NULL WHERE url = ?1",
            url,
        )?;
        self.write("DELETE FROM webhook_paused WHERE url = ?1", url)
    }

    /// Allows calls to the endpoints that a change names, even if they were removed.
    fn note_asked_for(&mut self, change: &Change) -> rusqlite::Result<()> {
        match change {
            Change::PutRule(rule) => rule.webhooks.iter().try_for_each(|url| self.ask_for(url)),
            Change::PutEndpoint(endpoint) => self.ask_for(&endpoint.url),
            Change::RemoveRule(_)
            | Change::PutClient(_)
            | Change::RemoveClient(_)
            | Change::RemoveEndpoint(_)
            | Change::Pause(..)
            | Change::Disable(..)
            | Change::Resume(_)
            | Change::KeepPast(_)
            | Change::ForgetPast(_) => Ok(()),
        }
    }

    fn remove_settings(
        &mut self,
        url: &WebhookUrl,
        encryption: Option<&Encryption>,
    ) -> Result<(), StoreError> {
        if self.shapes_requests(url, encryption).map_err(store_error)? {
            // Deliveries accepted after `remove_endpoint` would go out without these settings.
            self.dead_letter_rest(url).map_err(store_error)?;
            self.mark_removed(url).map_err(store_error)?;
        }
        let mut sealing = Sealing {
            connection: self.connection,
            encryption,
        };
        sealing.remove(ENDPOINT, url.as_str())?;
        self.resume(url)
    }

    /// Returns `true` if an endpoint has settings that its requests carry, or that are unreadable.
    fn shapes_requests(
        &self,
        url: &WebhookUrl,
        encryption: Option<&Encryption>,
    ) -> rusqlite::Result<bool> {
        let sql = "SELECT url, json FROM webhook_setting WHERE url = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row([url.as_str()], |row| {
            let settings = setting::<Endpoint>(row, encryption);
            Ok(settings.map_or(true, |endpoint| endpoint.shapes_requests()))
        });
        Ok(found.optional()?.unwrap_or(false))
    }

    /// Pauses an endpoint. A pause that is there already stays as it is.
    fn pause(&self, url: &WebhookUrl, stopped: &Stopped) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO webhook_paused (url, paused_at, paused_by, note) \
                   VALUES (?1, ?2, ?3, ?4)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let (at, by, note) = columns(stopped);
        let written = statement.execute(params![url.as_str(), at, by, note]);
        written.map(drop)
    }

    fn disable(
        &mut self,
        url: &WebhookUrl,
        reason: DisabledReason,
        stopped: &Stopped,
    ) -> rusqlite::Result<()> {
        let endpoint = self.endpoint(url)?;
        self.disable_endpoint(endpoint, reason, stopped)
    }

    /// Disables an endpoint, unless it is disabled for this reason already.
    pub(super) fn disable_endpoint(
        &self,
        endpoint: i64,
        reason: DisabledReason,
        stopped: &Stopped,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE webhook_endpoint \
                   SET disabled = ?2, disabled_at = ?3, disabled_by = ?4, disabled_note = ?5 \
                   WHERE id = ?1 AND disabled IS NOT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let (at, by, note) = columns(stopped);
        let written = statement.execute(params![endpoint, rows::json(&reason)?, at, by, note]);
        written.map(drop)
    }

    fn write(&self, sql: &str, url: &WebhookUrl) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let written = statement.execute([url.as_str()]);
        written.map(drop).map_err(store_error)
    }
}

/// Returns a stop as its three columns.
fn columns(stopped: &Stopped) -> (Option<i64>, Option<&str>, Option<&str>) {
    (
        stopped.at.map(Timestamp::unix_millis),
        stopped.by.as_ref().map(Operator::as_str),
        stopped.note.as_ref().map(Note::as_str),
    )
}

/// Reads a stop from three columns. What is unreadable is unknown: the endpoint stays stopped.
fn stopped(row: &Row<'_>, first: usize) -> Stopped {
    let text = |column| row.get::<_, Option<String>>(column).ok().flatten();
    let at = rows::maybe_time(row, first).ok().flatten();
    at.map_or_else(Stopped::default, Stopped::at)
        .by(text(first + 1).and_then(|by| Operator::new(by).ok()))
        .note(text(first + 2).and_then(|note| Note::new(note).ok()))
}

/// Writes rows of settings; with a key, sealed and noted in the manifest.
struct Sealing<'a> {
    connection: &'a Connection,
    encryption: Option<&'a Encryption>,
}

impl Sealing<'_> {
    fn put(&mut self, table: Table, key: &str, setting: &impl Serialize) -> Result<(), StoreError> {
        let ((table, column), text) = (table, json(setting)?);
        let sql = format!(
            "INSERT INTO {table} VALUES (?1, ?2) ON CONFLICT ({column}) DO UPDATE SET json = ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(store_error)?;
        let written = match self.encryption {
            Some(encryption) => {
                let sealed = encryption.seal(SealedField { table, key }, &text)?;
                self.note((table, column), key, Some(&sealed))?;
                statement.execute(params![key, sealed])
            }
            None => statement.execute(params![key, text.as_str()]),
        };
        written.map(drop).map_err(store_error)
    }

    fn remove(&mut self, table: Table, key: &str) -> Result<(), StoreError> {
        let (name, column) = table;
        self.note(table, key, None)?;
        let sql = format!("DELETE FROM {name} WHERE {column} = ?1");
        let mut statement = self.connection.prepare_cached(&sql).map_err(store_error)?;
        let removed = statement.execute([key]);
        removed.map(drop).map_err(store_error)
    }

    /// Updates the manifest for the coming value of a row.
    fn note(
        &self,
        (table, column): Table,
        key: &str,
        after: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let Some(encryption) = self.encryption else {
            return Ok(());
        };
        let gone = || {
            StoreError::damaged("the manifest of the sealed settings was removed; restore the file")
        };
        let mut manifest = Manifest::read(self.connection, encryption)?.ok_or_else(gone)?;
        let field = SealedField { table, key };
        let before = manifest::value(self.connection, field, column)?;
        manifest.replace(field, before.as_deref(), after);
        manifest.write(self.connection, encryption)
    }
}

/// Reads the configuration, all or nothing.
pub(super) fn configuration(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<Configuration, StoreError> {
    let (configuration, unreadable) = readable(connection, encryption)?;
    match unreadable.first() {
        None => Ok(configuration),
        Some(UnreadableSetting { setting, reason }) => Err(StoreError::damaged(format!(
            "{setting} cannot be read: {reason}"
        ))),
    }
}

/// Reads the readable part of the configuration, and lists the unreadable settings.
pub(super) fn readable(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<Readable, StoreError> {
    let mut lost = Vec::new();
    let configuration = Configuration {
        rules: kept(settings(connection, encryption)?, &mut lost),
        clients: kept(settings(connection, encryption)?, &mut lost),
        endpoints: kept(settings(connection, encryption)?, &mut lost),
        paused: kept(paused(connection)?, &mut lost),
        disabled: kept(disabled(connection)?, &mut lost),
    };
    // Other methods return these; only their unreadable rows are listed here.
    drop(kept(urls(connection, REMOVED)?, &mut lost));
    drop(kept::<PastCredential>(
        settings(connection, encryption)?,
        &mut lost,
    ));
    Ok((configuration, lost))
}

/// Returns the readable values, and adds the unreadable ones to `lost`.
fn kept<T>(read: Vec<Result<T, UnreadableSetting>>, lost: &mut Vec<UnreadableSetting>) -> Vec<T> {
    let mut aside = |unreadable| lost.push(unreadable);
    read.into_iter()
        .filter_map(|one| one.map_err(&mut aside).ok())
        .collect()
}

/// Returns the removed endpoints, which are not called until a rule or a setting names them again.
pub(super) fn removed(connection: &Connection) -> Result<Vec<WebhookUrl>, StoreError> {
    let urls = urls(connection, REMOVED)?;
    Ok(urls.into_iter().flatten().collect())
}

/// A setting that is stored as JSON under a key.
trait Kept: DeserializeOwned {
    const TABLE: Table;

    /// Returns the identity of the setting under a key; `None` if the key is not valid for it.
    fn named(key: &str) -> Option<Setting>;

    fn name(&self) -> Setting;

    /// Returns `true` if the setting belongs under this key.
    fn is_at(&self, key: &str) -> bool {
        Self::named(key).is_some_and(|name| name == self.name())
    }
}

impl Kept for Rule {
    const TABLE: Table = RULE;

    fn named(key: &str) -> Option<Setting> {
        Some(Setting::Rule { id: key.into() })
    }

    fn name(&self) -> Setting {
        let id = self.id.clone();
        Setting::Rule { id }
    }
}

impl Kept for Client {
    const TABLE: Table = CLIENT;

    fn named(key: &str) -> Option<Setting> {
        Some(Setting::Client { id: key.into() })
    }

    fn name(&self) -> Setting {
        let id = self.id.clone();
        Setting::Client { id }
    }
}

impl Kept for Endpoint {
    const TABLE: Table = ENDPOINT;

    fn named(key: &str) -> Option<Setting> {
        let url = WebhookUrl::parse(key).ok()?;
        Some(Setting::Endpoint { url })
    }

    fn name(&self) -> Setting {
        let url = self.url.clone();
        Setting::Endpoint { url }
    }
}

impl Kept for PastCredential {
    const TABLE: Table = PAST;

    fn named(_: &str) -> Option<Setting> {
        Some(Setting::PastCredential)
    }

    fn name(&self) -> Setting {
        Setting::PastCredential
    }

    fn is_at(&self, key: &str) -> bool {
        self.key() == key
    }
}

/// Reads a table. An unreadable row becomes an error of its own and hides no other.
fn settings<T: Kept>(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<Vec<Result<T, UnreadableSetting>>, StoreError> {
    let (table, key) = T::TABLE;
    let sql = format!("SELECT {key}, json FROM {table} ORDER BY {key}");
    all(connection, &sql, [], |row| Ok(setting(row, encryption)))
}

/// Reads a setting from column 1; column 0 is its key.
fn setting<T: Kept>(
    row: &Row<'_>,
    encryption: Option<&Encryption>,
) -> Result<T, UnreadableSetting> {
    let (table, _) = T::TABLE;
    let key = row.get_ref(0).ok().and_then(|key| key.as_str().ok());
    let Some((key, name)) = key.and_then(|key| Some((key, T::named(key)?))) else {
        return Err(unnamed(table, "its key is not valid"));
    };
    let unreadable = |reason: String| UnreadableSetting::new(name, reason);
    let text = match sealing::text(row, table, encryption) {
        Ok(text) => text,
        Err(error) => return Err(unreadable(why(&error))),
    };
    // The full error quotes the value, which may be a secret.
    match serde_json::from_str::<T>(&text) {
        Ok(read) if read.is_at(key) => Ok(read),
        Ok(_) => Err(unreadable("its key does not match its content".to_owned())),
        Err(error) => Err(unreadable(rows::where_unreadable(table, &error))),
    }
}

fn why(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

fn unnamed(table: &str, reason: &str) -> UnreadableSetting {
    let table = table.to_owned();
    UnreadableSetting::new(Setting::Unnamed { table }, reason)
}

/// Reads a table of URLs, in order.
fn urls(
    connection: &Connection,
    table: &'static str,
) -> Result<Vec<Result<WebhookUrl, UnreadableSetting>>, StoreError> {
    let sql = format!("SELECT url FROM {table} ORDER BY url");
    all(connection, &sql, [], |row| Ok(url(row, table)))
}

fn url(row: &Row<'_>, table: &'static str) -> Result<WebhookUrl, UnreadableSetting> {
    rows::url(row, 0).map_err(|_| unnamed(table, "its key is not a webhook URL"))
}

/// A paused endpoint.
type Paused = Result<(WebhookUrl, Stopped), UnreadableSetting>;

fn paused(connection: &Connection) -> Result<Vec<Paused>, StoreError> {
    let sql = "SELECT url, paused_at, paused_by, note FROM webhook_paused ORDER BY url";
    all(connection, sql, [], |row| {
        Ok(url(row, "webhook_paused").map(|url| (url, stopped(row, 1))))
    })
}

/// A disabled endpoint and the reason. With an unreadable reason it stays disabled.
type Disabled = Result<(WebhookUrl, DisabledReason, Stopped), UnreadableSetting>;

fn disabled(connection: &Connection) -> Result<Vec<Disabled>, StoreError> {
    let sql = "SELECT url, disabled, disabled_at, disabled_by, disabled_note \
               FROM webhook_endpoint WHERE disabled IS NOT NULL ORDER BY url";
    all(connection, sql, [], |row| {
        let reason = rows::from_json(row, 1).unwrap_or(DisabledReason::Unreadable);
        Ok(url(row, "webhook_endpoint").map(|url| (url, reason, stopped(row, 2))))
    })
}

const REMOVED: &str = "webhook_removed";

/// Returns the past credentials that can be read; [`readable`] lists the others.
pub(super) fn past_credentials(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<Vec<PastCredential>, StoreError> {
    let past = settings(connection, encryption)?;
    Ok(past.into_iter().flatten().collect())
}

/// Returns a setting as JSON, secrets included.
pub(super) fn json(setting: &impl Serialize) -> Result<Zeroizing<String>, StoreError> {
    struct Length(usize);

    impl io::Write for Length {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            self.0 += part.len();
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let written: serde_json::Result<_> = exposed(|| {
        // A growing buffer leaves copies behind, so measure the length first.
        let mut length = Length(0);
        serde_json::to_writer(&mut length, setting)?;
        let mut text = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *text, setting)?;
        Ok(text)
    });
    let mut bytes = written.map_err(StoreError::damaged)?;
    let text = String::from_utf8(std::mem::take(&mut *bytes));
    text.map(Zeroizing::new).map_err(|error| {
        // JSON is UTF-8, so this does not happen.
        let mut bytes = error.into_bytes();
        bytes.zeroize();
        StoreError::damaged("a setting is not valid UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::authorisation::auth::Auth;
    use crate::domain::authorisation::oauth2::ClientCredentials;
    use crate::domain::routing::client::Client;
    use crate::domain::routing::rule::Rule;
    use crate::domain::signing::signer::SignatureHeaders;

    #[test]
    fn what_is_kept_has_its_secrets_when_it_is_read_again() {
        let rule = Rule::new("r", "*")
            .webhook("https://a.test/")
            .unwrap()
            .auth(Auth::basic("user", "secret of the rule"));
        let kept = json(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&kept).unwrap(), rule);
        let issuer = "https://issuer.test/token";
        let credentials = ClientCredentials::new(issuer, "id", "secret of the client").unwrap();
        let whole = credentials
            .clone()
            .scope("a b")
            .audience("me")
            .parameter("resource", "secret too")
            .in_body();
        for auth in [
            Auth::bearer("token"),
            Auth::raw("Custom value"),
            Auth::None,
            Auth::oauth2(credentials),
            Auth::oauth2(whole),
        ] {
            let client = Client::new("c").auth(auth);
            let kept = json(&client).unwrap();
            assert_eq!(serde_json::from_str::<Client>(&kept).unwrap(), client);
        }
        let endpoint = Endpoint::new("https://a.test/")
            .unwrap()
            .header("X-Plain", "value")
            .secret_header("X-Secret", "secret of the endpoint")
            .client_certificate("certificate", "secret key")
            .auth(Auth::bearer("token"))
            .secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .unwrap()
            .secret_until(
                "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8",
                Timestamp::from_unix_millis(1),
            )
            .unwrap()
            .signature_headers(SignatureHeaders::prefixed("svix"));
        let kept = json(&endpoint).unwrap();
        assert_eq!(kept.len(), kept.capacity(), "nothing was left behind");
        assert_eq!(serde_json::from_str::<Endpoint>(&kept).unwrap(), endpoint);
        assert!(
            !serde_json::to_string(&endpoint)
                .unwrap()
                .contains("secret key")
        );
    }
}
