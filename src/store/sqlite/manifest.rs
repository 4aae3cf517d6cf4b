//! A manifest of the sealed rows. Nobody without the key can remove or add a row, or restore an
//! older version of one.
//!
//! A sealed row cannot be changed or moved, but an older version of it could be put back: a revoked
//! token would be used again. The manifest, itself a sealed value, therefore holds a sum over all
//! sealed rows. The keyed hash of each row (HMAC-SHA256, with a key stored only in the manifest) is
//! added lane by lane, so that a change of one row costs the same for any number of rows. This is a
//! multiset hash with a secret key (Clarke and others, "Incremental Multiset Hash Functions",
//! 2003).

use std::fmt::Write as _;

use ring::hmac;
use rusqlite::{Connection, OptionalExtension as _, params};
use zeroize::Zeroizing;

use super::error::store_error;
use super::query::all;
use super::seal::{Encryption, SealedField};
use super::sealing::{self, SEALED, SETTINGS};
use crate::store::StoreError;

/// The sum over all sealed rows of settings, with the key of its hashes.
pub(super) struct Manifest {
    key: Zeroizing<[u8; 32]>,
    sum: [u64; 4],
}

impl Manifest {
    /// Returns a manifest of the current rows, with a new key.
    pub(super) fn of(connection: &Connection) -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; 32]);
        let drawn = getrandom::fill(&mut *key);
        drawn.map_err(|error| StoreError::unavailable(error.to_string()))?;
        Self::with_key(connection, key)
    }

    fn with_key(connection: &Connection, key: Zeroizing<[u8; 32]>) -> Result<Self, StoreError> {
        let mut manifest = Self { key, sum: [0; 4] };
        let hashing = manifest.hashing();
        for (table, column) in SETTINGS {
            let sql = format!("SELECT {column}, json FROM {table}");
            let mut statement = connection.prepare(&sql).map_err(store_error)?;
            let mut rows = statement.query([]).map_err(store_error)?;
            while let Some(row) = rows.next().map_err(store_error)? {
                let name = row.get_ref(0).map_err(store_error)?;
                let value = row.get_ref(1).map_err(store_error)?;
                let bytes = |value: rusqlite::types::ValueRef<'_>| {
                    let bytes = value.as_bytes().map(<[u8]>::to_vec);
                    bytes.map_err(|error| store_error(error.into()))
                };
                let tag = tag(&hashing, table, &bytes(name)?, &bytes(value)?);
                manifest.change(&tag, u64::wrapping_add);
            }
        }
        Ok(manifest)
    }

    /// Returns the manifest of the file; `None` if the file was sealed before manifests existed.
    pub(super) fn read(
        connection: &Connection,
        encryption: &Encryption,
    ) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT id, json FROM webhook_sealed WHERE id = 'manifest'";
        let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
        let found = statement
            .query_row([], |row| Ok(sealing::text(row, SEALED, Some(encryption))))
            .optional()
            .map_err(store_error)?;
        let unreadable =
            || StoreError::damaged("the manifest of the sealed settings cannot be read");
        let parse = |text: Zeroizing<String>| Self::parse(&text).ok_or_else(unreadable);
        found.map(|text| parse(text?)).transpose()
    }

    pub(super) fn write(
        &self,
        connection: &Connection,
        encryption: &Encryption,
    ) -> Result<(), StoreError> {
        let field = SealedField {
            table: SEALED,
            key: "manifest",
        };
        let sealed = encryption.seal(field, &self.text())?;
        let sql = "INSERT INTO webhook_sealed VALUES ('manifest', ?1) ON CONFLICT (id) DO UPDATE SET json = ?1";
        let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
        let written = statement.execute(params![sealed]);
        written.map(drop).map_err(store_error)
    }

    /// Returns `true` if the rows are the ones that the manifest was written for.
    pub(super) fn matches(&self, connection: &Connection) -> Result<bool, StoreError> {
        let found = Self::with_key(connection, self.key.clone())?;
        Ok(found.sum == self.sum)
    }

    /// Updates the sum for a row that is about to be written or removed; `before` is its present
    /// value.
    pub(super) fn replace(
        &mut self,
        field: SealedField<'_>,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) {
        let hashing = self.hashing();
        let tag = |value: &[u8]| tag(&hashing, field.table, field.key.as_bytes(), value);
        let (before, after) = (before.map(tag), after.map(tag));
        if let Some(before) = before {
            self.change(&before, u64::wrapping_sub);
        }
        if let Some(after) = after {
            self.change(&after, u64::wrapping_add);
        }
    }

    fn hashing(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.key)
    }

    fn change(&mut self, tag: &hmac::Tag, change: impl Fn(u64, u64) -> u64) {
        let (lanes, _) = tag.as_ref().as_chunks();
        for (sum, lane) in self.sum.iter_mut().zip(lanes) {
            *sum = change(*sum, u64::from_be_bytes(*lane));
        }
    }

    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(128));
        // Writing to a `String` cannot fail.
        for byte in *self.key {
            let _ = write!(text, "{byte:02x}");
        }
        for lane in self.sum {
            let _ = write!(text, "{lane:016x}");
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 64]);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let (key, sum) = bytes.split_first_chunk()?;
        let mut manifest = Self {
            key: Zeroizing::new(*key),
            sum: [0; 4],
        };
        let (lanes, _) = sum.as_chunks();
        for (sum, lane) in manifest.sum.iter_mut().zip(lanes) {
            *sum = u64::from_be_bytes(*lane);
        }
        Some(manifest)
    }
}

/// Returns the hash of a row over its table, key and value. Neither table nor key holds a zero
/// byte.
fn tag(hashing: &hmac::Key, table: &str, key: &[u8], value: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(hashing);
    for part in [table.as_bytes(), &[0], key, &[0], value] {
        context.update(part);
    }
    context.sign()
}

/// Returns the stored value of a row of settings.
pub(super) fn value(
    connection: &Connection,
    field: SealedField<'_>,
    column: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = format!("SELECT json FROM {} WHERE {column} = ?1", field.table);
    let found = all(connection, &sql, [field.key], |row| {
        Ok(row.get_ref(0)?.as_bytes()?.to_vec())
    });
    Ok(found?.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_knows_what_changed() {
        let field = |key| SealedField {
            table: "webhook_rule",
            key,
        };
        let mut manifest = Manifest {
            key: Zeroizing::new([7; 32]),
            sum: [0; 4],
        };
        manifest.replace(field("a"), None, Some(b"one"));
        let one = manifest.sum;
        manifest.replace(field("b"), None, Some(b"two"));
        let again = Manifest::parse(&manifest.text()).unwrap();
        assert_eq!((&*again.key, again.sum), (&[7; 32], manifest.sum));
        assert!(Manifest::parse(&manifest.text()[1..]).is_none());
        assert!(Manifest::parse(&manifest.text().replace('0', "x")).is_none());
        manifest.replace(field("b"), Some(b"two"), Some(b"three"));
        assert_ne!(manifest.sum, again.sum);
        manifest.replace(field("b"), Some(b"three"), None);
        assert_eq!(manifest.sum, one);
        manifest.replace(field("a"), Some(b"one"), None);
        assert_eq!(manifest.sum, [0; 4]);
    }
}
