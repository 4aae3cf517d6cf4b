//! Sealing of values that may hold secrets, so that the file alone does not reveal them.
//!
//! A sealed value is `version (1 byte) | key id (8) | nonce (24) | XChaCha20-Poly1305`. The
//! associated data are the version, the key id, the table and the key of the row, so that no row
//! can take the place of another. Random nonces of 24 bytes do not repeat in practice, however many
//! rows are written.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::store::StoreError;

/// A key of 32 bytes that seals rules, clients and endpoints.
///
/// It is never shown, and is wiped from memory when dropped. Take 32 bytes from a random generator
/// made for keys (`head -c 32 /dev/urandom`, or a key management service), never a password. Keep
/// them apart from the file and its copies: without them, sealed data is lost.
///
/// ```
/// use actix_webhooks::store::EncryptionKey;
///
/// let key = EncryptionKey::from_bytes([7; 32]);
/// assert_eq!(format!("{key:?}"), format!("EncryptionKey({})", key.id()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    bytes: Zeroizing<[u8; 32]>,
    id: KeyId,
}

impl EncryptionKey {
    /// Returns the key with these bytes. Wipe your own copy of them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let id = KeyId::of(&bytes);
        Self { bytes, id }
    }

    /// Returns the key's id in hexadecimal, by which errors name the key. It is the beginning of a
    /// hash of the key, and reveals nothing about the key itself.
    pub fn id(&self) -> String {
        self.id.to_string()
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id)
    }
}

/// The keys of a store: one to seal with, and older ones that can still be read.
///
/// To change the key, open the store with the new one and [`also_reads`](Self::also_reads) the old
/// one. Opening seals again everything sealed with the old key. After that the new key is enough.
///
/// ```
/// use actix_webhooks::store::{Encryption, EncryptionKey, SqliteOptions, SqliteStore};
///
/// # fn main() -> Result<(), actix_webhooks::store::StoreError> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("webhooks.db");
/// # let (new, old) = ([1; 32], [2; 32]);
/// let encryption = Encryption::new(EncryptionKey::from_bytes(new)).also_reads(EncryptionKey::from_bytes(old));
/// let options = SqliteOptions { encryption: Some(encryption), ..SqliteOptions::default() };
/// let store = SqliteStore::open_with(&path, options)?;
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    key: EncryptionKey,
    older: Vec<EncryptionKey>,
    /// Whether a file with plain settings is sealed when it is first opened.
    pub(super) seals_plain: bool,
    /// Whether settings that differ from the last sealed ones are accepted.
    pub(super) takes_as_found: bool,
}

impl Encryption {
    /// Returns encryption that seals with `key` and reads values sealed with it.
    pub fn new(key: EncryptionKey) -> Self {
        Self {
            key,
            older: Vec::new(),
            seals_plain: true,
            takes_as_found: false,
        }
    }

    /// Also reads values sealed with an older key, and seals them again with the first key.
    #[must_use]
    pub fn also_reads(mut self, older: EncryptionKey) -> Self {
        self.older.push(older);
        self
    }

    /// Refuses a file that has plain settings and was never sealed.
    ///
    /// Call this once your file is sealed. Otherwise anyone who can write to the file could replace
    /// it with one that holds rules of their own, which the first opening would seal like yours.
    /// Defaults to sealing the plain settings of a file that was never sealed.
    #[must_use]
    pub fn only_sealed(mut self) -> Self {
        self.seals_plain = false;
        self
    }

    /// Accepts the settings as they are found.
    ///
    /// Use it for one opening, after a row was removed without the key or restored from an older
    /// copy of the file; plain rows are still refused. Inspect the settings before you continue
    /// with them. Defaults to refusing such a file with [`StoreError::Damaged`].
    #[must_use]
    pub fn takes_as_found(mut self) -> Self {
        self.takes_as_found = true;
        self
    }

    /// Seals a value of a row.
    pub(super) fn seal(&self, field: SealedField<'_>, text: &str) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE];
        let drawn = getrandom::fill(&mut nonce);
        drawn.map_err(|error| StoreError::unavailable(error.to_string()))?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&self.key.id.0);
        let associated = field.associated(&sealed);
        let payload = Payload {
            msg: text.as_bytes(),
            aad: &associated,
        };
        let body = self.key.cipher().encrypt(&XNonce::from(nonce), payload);
        // The cipher refuses texts of 256 GiB and more.
        let body = body.map_err(|_| StoreError::unavailable("value could not be sealed"))?;
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens a sealed value of a row.
    pub(super) fn open(
        &self,
        field: SealedField<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<String>, StoreError> {
        let Parts {
            header,
            nonce,
            body,
        } = Parts::of(field, sealed)?;
        let id = KeyId::in_header(header);
        let mut keys = std::iter::once(&self.key).chain(&self.older);
        let key = keys.find(|key| key.id == id);
        let key = key.ok_or_else(|| StoreError::Sealed(id.to_string()))?;
        let associated = field.associated(header);
        let payload = Payload {
            msg: body,
            aad: &associated,
        };
        let opened = key.cipher().decrypt(&XNonce::from(*nonce), payload);
        let opened = opened.map_err(|_| field.damaged("was changed after it was sealed"))?;
        let text = String::from_utf8(opened).map_err(|error| {
            error.into_bytes().zeroize();
            field.damaged("is not text")
        })?;
        Ok(Zeroizing::new(text))
    }

    /// Returns `true` if a value is sealed with the current key.
    pub(super) fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.get(1..HEADER) == Some(&self.key.id.0[..])
    }
}

/// Returns the error for a sealed value in a store that was opened without a key.
pub(super) fn no_key(field: SealedField<'_>, sealed: &[u8]) -> StoreError {
    match Parts::of(field, sealed) {
        Ok(parts) => StoreError::Sealed(KeyId::in_header(parts.header).to_string()),
        Err(error) => error,
    }
}

/// The table and row that a value belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealedField<'a> {
    pub(super) table: &'static str,
    pub(super) key: &'a str,
}

impl SealedField<'_> {
    fn associated(self, header: &[u8]) -> Vec<u8> {
        [header, self.table.as_bytes(), &[0], self.key.as_bytes()].concat()
    }

    /// Returns the error for an invalid value. It names only the table: keys of rows may be URLs.
    pub(super) fn damaged(self, what: &str) -> StoreError {
        StoreError::damaged(format!("a row of {} {what}", self.table))
    }
}

/// The parts of a sealed value.
struct Parts<'a> {
    header: &'a [u8; HEADER],
    nonce: &'a [u8; NONCE],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(field: SealedField<'_>, sealed: &'a [u8]) -> Result<Self, StoreError> {
        let parts = || {
            let (header, rest) = sealed.split_first_chunk()?;
            let (nonce, body) = rest.split_first_chunk()?;
            Some(Self {
                header,
                nonce,
                body,
            })
        };
        if sealed.first() != Some(&VERSION) {
            return Err(field.damaged("is sealed in a format that this version does not know"));
        }
        parts().ok_or_else(|| field.damaged("is cut short"))
    }
}

/// The first 8 bytes of a hash of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeyId([u8; 8]);

impl KeyId {
    fn of(key: &[u8; 32]) -> Self {
        let hash: [u8; 32] = Sha256::new_with_prefix(b"actix-webhooks key id\0")
            .chain_update(key)
            .finalize()
            .into();
        let mut id = [0; 8];
        for (byte, of_hash) in id.iter_mut().zip(hash) {
            *byte = of_hash;
        }
        Self(id)
    }

    fn in_header(header: &[u8; HEADER]) -> Self {
        let [_, id @ ..] = *header;
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl EncryptionKey {
    /// Returns the cipher, which wipes its own copy of the key.
    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

/// The only version of the sealed format so far.
const VERSION: u8 = 1;

/// The length of version and key id.
const HEADER: usize = 1 + 8;

const NONCE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: SealedField<'_> = SealedField {
        table: "webhook_rule",
        key: "rule",
    };

    fn encryption(byte: u8) -> Encryption {
        Encryption::new(EncryptionKey::from_bytes([byte; 32]))
    }

    #[test]
    fn what_was_sealed_is_opened_in_its_own_place_only() {
        let (first, other) = (
            encryption(1),
            encryption(2).also_reads(EncryptionKey::from_bytes([1; 32])),
        );
        let sealed = first.seal(FIELD, "hush").unwrap();
        assert_ne!(sealed, first.seal(FIELD, "hush").unwrap(), "another nonce");
        assert!(!sealed.windows(4).any(|bytes| bytes == b"hush"));
        for encryption in [&first, &other] {
            assert_eq!(*encryption.open(FIELD, &sealed).unwrap(), "hush");
        }
        assert!(first.is_current(&sealed) && !other.is_current(&sealed));
        let (table, key) = ("webhook_client", "elsewhere");
        for field in [SealedField { table, ..FIELD }, SealedField { key, ..FIELD }] {
            let opened = first.open(field, &sealed);
            assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
        }
        let opened = encryption(2).open(FIELD, &sealed);
        let Err(StoreError::Sealed(id)) = opened else {
            panic!("{opened:?}");
        };
        assert_eq!(id, EncryptionKey::from_bytes([1; 32]).id());
    }

    #[test]
    fn nothing_that_was_changed_or_cut_is_opened() {
        let encryption = encryption(1);
        let sealed = encryption.seal(FIELD, "hush").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(encryption.open(FIELD, &changed).is_err(), "byte {at}");
            assert!(
                encryption.open(FIELD, &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn no_key_is_shown() {
        let encryption = encryption(0xAB).also_reads(EncryptionKey::from_bytes([0xCD; 32]));
        let shown = format!("{encryption:?} {encryption:#?}").to_lowercase();
        for bytes in ["171", "abab", "205", "cdcd"] {
            assert!(!shown.contains(bytes), "{shown}");
        }
    }
}
