//! The configuration in the file: rules, clients, endpoints, pauses. Their secrets are in it, because they are needed to send: sealed when the store has
//! a key, and otherwise as they are; then keep the file where only the application can read it.

use std::fmt::Write as _;

use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use super::error::{damaged, store_error};
use super::manifest::{self, Manifest};
use super::query::all;
use super::rows;
use super::seal::{Encryption, Place};
use super::sealing::{self, CLIENT, ENDPOINT, PAST, RULE, Table};
use super::writer::Writer;
use crate::domain::auth::Auth;
use crate::domain::endpoint::Endpoint;
use crate::domain::health::DisabledReason;
use crate::domain::oauth2::{ClientCredentials, FormParameter};
use crate::domain::url::WebhookUrl;
use crate::store::{Change, Configuration, PastCredential, StoreError};

impl Writer<'_> {
    pub(super) fn keep(
        &mut self,
        change: &Change,
        encryption: Option<&Encryption>,
    ) -> Result<(), StoreError> {
        let mut sealing = Sealing {
            connection: self.connection,
            encryption,
        };
        match change {
            Change::PutRule(rule) => {
                let value = with_auth(rule, rule.auth.as_ref())?;
                sealing.put(RULE, rule.id.as_str(), value)
            }
            Change::RemoveRule(id) => sealing.remove(RULE, id.as_str()),
            Change::PutClient(client) => {
                let value = with_auth(client, client.auth.as_ref())?;
                sealing.put(CLIENT, client.id.as_str(), value)
            }
            Change::RemoveClient(id) => sealing.remove(CLIENT, id.as_str()),
            Change::PutEndpoint(endpoint) => {
                sealing.put(ENDPOINT, endpoint.url.as_str(), endpoint_json(endpoint)?)
            }
            Change::RemoveEndpoint(url) => {
                sealing.remove(ENDPOINT, url.as_str())?;
                self.resume(url)
            }
            Change::KeepPast(past) => {
                let value = with_auth(past, past.auth.as_ref())?;
                sealing.put(PAST, &past.key(), value)
            }
            Change::ForgetPast(key) => sealing.remove(PAST, key),
            Change::Pause(url) => {
                self.write("INSERT OR IGNORE INTO webhook_paused VALUES (?1)", url)
            }
            Change::Disable(url, reason) => self.disable(url, *reason),
            Change::Resume(url) => self.resume(url),
        }
    }

    fn resume(&self, url: &WebhookUrl) -> Result<(), StoreError> {
        self.write(
            "UPDATE webhook_endpoint SET disabled = NULL, health = NULL WHERE url = ?1",
            url,
        )?;
        self.write("DELETE FROM webhook_paused WHERE url = ?1", url)
    }

    fn disable(&mut self, url: &WebhookUrl, reason: DisabledReason) -> Result<(), StoreError> {
        let endpoint = self.endpoint(url).map_err(store_error)?;
        let reason = rows::json(&reason).map_err(store_error)?;
        let sql = "UPDATE webhook_endpoint SET disabled = ?2 WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let written = statement.execute(params![endpoint, reason]);
        written.map(drop).map_err(store_error)
    }

    fn write(&self, sql: &str, url: &WebhookUrl) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let written = statement.execute([url.as_str()]);
        written.map(drop).map_err(store_error)
    }
}

/// Writing rows of settings, sealed and noted in the manifest when there is a key.
struct Sealing<'a> {
    connection: &'a Connection,
    encryption: Option<&'a Encryption>,
}

impl Sealing<'_> {
    fn put(&mut self, table: Table, key: &str, value: Value) -> Result<(), StoreError> {
        let ((table, column), text) = (table, text(value));
        let sql = format!(
            "INSERT INTO {table} VALUES (?1, ?2) ON CONFLICT ({column}) DO UPDATE SET json = ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(store_error)?;
        let written = match self.encryption {
            Some(encryption) => {
                let sealed = encryption.seal(Place { table, key }, &text)?;
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

    /// Notes in the manifest what a row is about to be.
    fn note(
        &self,
        (table, column): Table,
        key: &str,
        after: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let Some(encryption) = self.encryption else {
            return Ok(());
        };
        let gone = || damaged("the manifest of the sealed settings was removed; restore the file");
        let mut manifest = Manifest::read(self.connection, encryption)?.ok_or_else(gone)?;
        let place = Place { table, key };
        let before = manifest::value(self.connection, place, column)?;
        manifest.replace(place, before.as_deref(), after);
        manifest.write(self.connection, encryption)
    }
}

pub(super) fn configuration(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<Configuration, StoreError> {
    Ok(Configuration {
        rules: settings(connection, "webhook_rule", "id", encryption)?,
        clients: settings(connection, "webhook_client", "id", encryption)?,
        endpoints: settings(connection, "webhook_setting", "url", encryption)?,
        paused: all(
            connection,
            "SELECT url FROM webhook_paused ORDER BY url",
            [],
            |row| rows::url(row, 0),
        )?,
        disabled: all(
            connection,
            "SELECT url, disabled FROM webhook_endpoint WHERE disabled IS NOT NULL ORDER BY url",
            [],
            |row| Ok((rows::url(row, 0)?, rows::from_json(row, 1)?)),
        )?,
    })
}

pub(super) fn past_credentials(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<Vec<PastCredential>, StoreError> {
    let (table, key) = PAST;
    settings(connection, table, key, encryption)
}

fn settings<T: DeserializeOwned>(
    connection: &Connection,
    table: &'static str,
    key: &str,
    encryption: Option<&Encryption>,
) -> Result<Vec<T>, StoreError> {
    let sql = format!("SELECT {key}, json FROM {table} ORDER BY {key}");
    let read = |row: &Row<'_>| Ok(setting(row, table, encryption));
    all(connection, &sql, [], read)?.into_iter().collect()
}

fn setting<T: DeserializeOwned>(
    row: &Row<'_>,
    table: &'static str,
    encryption: Option<&Encryption>,
) -> Result<T, StoreError> {
    let text = sealing::text(row, table, encryption)?;
    // The whole error may show a secret: it names what it found.
    serde_json::from_str(&text).map_err(|error| damaged(rows::where_unreadable(table, &error)))
}

/// Returns a value as text, and wipes everything else that is left of it.
fn text(mut value: Value) -> Zeroizing<String> {
    struct Length(usize);

    impl std::fmt::Write for Length {
        fn write_str(&mut self, part: &str) -> std::fmt::Result {
            self.0 += part.len();
            Ok(())
        }
    }

    // A text that grows leaves copies behind, so that its length is found out first. Writing to either cannot fail.
    let mut length = Length(0);
    let _ = write!(length, "{value}");
    let mut text = Zeroizing::new(String::with_capacity(length.0));
    let _ = write!(text, "{value}");
    wipe(&mut value);
    text
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Writes something whose own serialisation leaves the secret out, with the secret.
pub(super) fn with_auth(value: &impl Serialize, auth: Option<&Auth>) -> Result<Value, StoreError> {
    let mut value = serde_json::to_value(value).map_err(damaged)?;
    if let (Some(auth), Some(fields)) = (auth, value.as_object_mut()) {
        fields.insert("auth".to_owned(), auth_json(auth));
    }
    Ok(value)
}

fn auth_json(auth: &Auth) -> Value {
    match auth {
        Auth::None => json!("none"),
        Auth::Basic { user, password } => {
            json!({ "basic": { "user": user, "password": password.expose() } })
        }
        Auth::Bearer(token) => json!({ "bearer": token.expose() }),
        Auth::Raw(value) => json!({ "raw": value.expose() }),
        Auth::OAuth2(credentials) => json!({ "oauth2": credentials_json(credentials) }),
    }
}

fn credentials_json(credentials: &ClientCredentials) -> Value {
    let parameters = credentials.parameters.iter();
    let parameters = parameters
        .map(|FormParameter { name, value, .. }| json!({ "name": name, "value": value.expose() }));
    json!({
        "tokenUrl": credentials.token_url,
        "clientId": credentials.client_id,
        "clientSecret": credentials.client_secret.expose(),
        "scope": credentials.scope,
        "audience": credentials.audience,
        "placement": credentials.placement,
        "parameters": parameters.collect::<Vec<_>>(),
    })
}

pub(super) fn endpoint_json(endpoint: &Endpoint) -> Result<Value, StoreError> {
    let mut value = with_auth(endpoint, endpoint.auth.as_ref())?;
    let headers = value.get_mut("headers").and_then(Value::as_array_mut);
    for (header, kept) in endpoint.headers.iter().zip(headers.into_iter().flatten()) {
        if let Some(fields) = kept.as_object_mut() {
            fields.insert("value".to_owned(), json!(header.value.expose()));
        }
    }
    if let (Some(identity), Some(kept)) =
        (&endpoint.client_identity, value.get_mut("clientIdentity"))
        && let Some(fields) = kept.as_object_mut()
    {
        fields.insert("key".to_owned(), json!(identity.key.expose()));
    }
    let secrets = value.get_mut("secrets").and_then(Value::as_array_mut);
    for (secret, kept) in endpoint.secrets.iter().zip(secrets.into_iter().flatten()) {
        if let Some(fields) = kept.as_object_mut() {
            fields.insert("secret".to_owned(), json!(secret.secret.expose()));
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::Client;
    use crate::domain::rule::Rule;
    use crate::domain::signing::SignatureHeaders;
    use crate::domain::time::Timestamp;

    #[test]
    fn what_is_kept_has_its_secrets_when_it_is_read_again() {
        let rule = Rule::new("r", "*")
            .webhook("https://a.test/")
            .unwrap()
            .auth(Auth::basic("user", "secret of the rule"));
        let kept = with_auth(&rule, rule.auth.as_ref()).unwrap();
        assert_eq!(serde_json::from_value::<Rule>(kept).unwrap(), rule);
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
            let kept = with_auth(&client, client.auth.as_ref()).unwrap();
            assert_eq!(serde_json::from_value::<Client>(kept).unwrap(), client);
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
        let kept = endpoint_json(&endpoint).unwrap();
        assert_eq!(serde_json::from_value::<Endpoint>(kept).unwrap(), endpoint);
    }
}
