//! A text that is never shown and does not outlive its last owner.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::domain::value::text::{InvalidText, TextProblem};

/// A text that is never shown: `Debug` prints `[redacted]`, and serialising it writes `null`.
///
/// Clones share the text. When the last clone is dropped, the text is overwritten with zeros, and
/// so is every header value made from it. Two places are out of reach: the buffers of the
/// connection that it was sent on, and copies that the application keeps. Pass a `String` made for
/// the secret: it is taken over as it is, whereas a `&str` is copied.
///
/// ```
/// use actix_webhooks::Secret;
///
/// let token = Secret::from("hush".to_owned());
/// assert_eq!(token.expose(), "hush");
/// assert_eq!(format!("{token:?}"), "[redacted]");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Returns the secret itself. Do not log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the parts as one text. A growing text would leave copies behind; this allocates
    /// once.
    pub(crate) fn concat(parts: &[&str]) -> Self {
        let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            text.push_str(part);
        }
        Self::from(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }
}

impl From<Box<str>> for Secret {
    fn from(text: Box<str>) -> Self {
        Self::from(text.into_string())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<Cow<'_, str>> for Secret {
    fn from(text: Cow<'_, str>) -> Self {
        Self::from(text.into_owned())
    }
}

impl From<Arc<str>> for Secret {
    fn from(text: Arc<str>) -> Self {
        Self::from(&*text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self.expose(), serializer)
    }
}

/// Writes a secret inside [`exposed`], and `null` otherwise.
pub(crate) fn serialize<S: Serializer>(secret: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if EXPOSED.get() {
        serializer.serialize_str(secret)
    } else {
        serializer.serialize_none()
    }
}

/// Runs `work` with secrets written in clear when this thread serialises them. For stores, which
/// have to keep them.
#[cfg(any(test, feature = "sqlite", feature = "web"))]
pub(crate) fn exposed<T>(work: impl FnOnce() -> T) -> T {
    struct Hidden(bool);

    impl Drop for Hidden {
        fn drop(&mut self) {
            EXPOSED.set(self.0);
        }
    }

    let _before = Hidden(EXPOSED.replace(true));
    work()
}

thread_local! {
    static EXPOSED: Cell<bool> = const { Cell::new(false) };
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The deserialiser's own error would show the value it found, such as a token written as a
        // number.
        let text = String::deserialize(deserializer);
        text.map(Self::from)
            .map_err(|_| D::Error::custom("secret must be a string"))
    }
}

/// Checks a secret that is sent inside a header: printable ASCII, not empty.
pub(crate) fn check_secret(field: &'static str, secret: &Secret) -> Result<(), InvalidText> {
    let text = secret.expose();
    let problem = if text.is_empty() {
        TextProblem::Empty
    } else if text.len() > MAX_SECRET_BYTES {
        TextProblem::TooLong
    } else if !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        TextProblem::NotHeaderSafe
    } else {
        return Ok(());
    };
    Err(InvalidText { field, problem })
}

/// The longest secret accepted, in bytes. Receivers commonly refuse header lines over 8 KiB.
pub const MAX_SECRET_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_text_only_and_errors_do_not_show_it() {
        let read = |json: &str| serde_json::from_str::<Secret>(json);
        assert_eq!(read(r#""a\u0020b""#).unwrap(), Secret::from("a b"));
        for json in ["4711", "-4711", "4711.5", "[4711]", "null"] {
            let error = read(json).unwrap_err().to_string();
            assert!(!error.contains("4711"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_written_while_it_is_exposed_and_at_no_other_time() {
        let written = || serde_json::to_string(&Secret::from("hush")).unwrap();
        assert_eq!(written(), "null");
        let inside = exposed(|| [written(), exposed(written), written()]);
        assert_eq!(inside, [r#""hush""#; 3]);
        assert_eq!(written(), "null");
        let panicked = std::panic::catch_unwind(|| exposed(|| panic!("while exposed")));
        assert!(panicked.is_err());
        assert_eq!(written(), "null");
        let elsewhere = exposed(|| std::thread::spawn(written).join().unwrap());
        assert_eq!(elsewhere, "null", "another thread exposes nothing");
    }

    #[cfg(target_os = "linux")]
    mod in_memory {
        use std::fs::File;
        use std::os::unix::fs::FileExt as _;

        use super::*;
        use crate::domain::authorisation::auth::Auth;

        /// Returns the bytes in memory at `address`, whether or not anybody owns them.
        fn memory(address: usize, length: usize) -> Vec<u8> {
            let mut bytes = vec![0; length];
            let memory = File::open("/proc/self/mem").unwrap();
            let address = u64::try_from(address).unwrap();
            memory.read_exact_at(&mut bytes, address).unwrap();
            bytes
        }

        /// Makes a secret of `text`, drops its owners one by one, and returns the bytes left after
        /// each drop.
        fn after_each_owner(make: impl FnOnce() -> Secret) -> [Vec<u8>; 2] {
            let secret = make();
            let (address, length) = (secret.expose().as_ptr().addr(), secret.expose().len());
            let clone = secret.clone();
            drop(secret);
            let kept = memory(address, length);
            drop(clone);
            [kept, memory(address, length)]
        }

        /// Long enough that the allocator's bookkeeping in freed memory does not hide it.
        fn long() -> String {
            "open sesame ".repeat(50)
        }

        #[track_caller]
        fn check(name: &str, make: impl FnOnce() -> Secret) {
            let [kept, left] = after_each_owner(make);
            assert!(kept.iter().all(|byte| *byte != 0), "{name}: still owned");
            // The memory may already be in use again. It only must not be unchanged.
            let pairs = kept.iter().zip(&left);
            let same = pairs.filter(|(before, after)| before == after).count();
            assert!(same < kept.len() / 4, "{name}: {same} of {}", kept.len());
        }

        #[test]
        fn the_last_owner_leaves_nothing_in_memory() {
            check("text", || Secret::from(long()));
            check("copied text", || Secret::from(long().as_str()));
            let value = |auth: Auth| auth.header_value().unwrap();
            check("basic", || value(Auth::basic("user", long())));
            check("bearer", || value(Auth::bearer(long())));
            check("raw", || value(Auth::raw(long())));
        }
    }

    #[test]
    fn a_secret_may_be_as_long_as_the_limit() {
        let check = |length| check_secret("token", &Secret::from("x".repeat(length)));
        assert!(check(MAX_SECRET_BYTES).is_ok());
        for more in [1, 2] {
            let error = check(MAX_SECRET_BYTES + more).unwrap_err();
            assert_eq!(error.problem, TextProblem::TooLong);
        }
    }
}
