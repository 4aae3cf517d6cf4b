//! Who may call the API, and what they may do. There is no open default.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use actix_web::HttpRequest;
use futures_util::future::LocalBoxFuture;

use super::credentials::{Presented, Scheme, TokenHash};
use super::operator::{Capability, Operator};
use super::problems::{Code, Problem};
use crate::domain::value::secret::Secret;

/// The rule that decides who may call the API. Cloning shares it.
///
/// ```
/// use actix_webhooks::web::{Access, Capability, Denied, Operator, Token};
///
/// // Names with tokens, each with what it may do.
/// let alice = Token::new("alice", "5f1dbb2f6a2e4a0c9f2e", [Capability::Read, Capability::Redeliver]);
/// let access = Access::tokens([alice])?;
/// // Or the application's own sessions.
/// let access = Access::guard(async |request: &actix_web::HttpRequest| {
///     match request.headers().get("x-user") {
///         Some(_) => Ok(Operator::new("alice", Capability::ALL)),
///         None => Err(Denied::unknown()),
///     }
/// });
/// # drop(access);
/// # Ok::<(), actix_webhooks::web::InvalidAccess>(())
/// ```
#[derive(Clone)]
pub struct Access(Arc<Kind>);

enum Kind {
    Tokens(Vec<Known>),
    Basic(Vec<Known>),
    Guard(Box<dyn Guard>),
}

/// A caller with the hashes of its credentials.
struct Known {
    operator: Operator,
    name: TokenHash,
    token: TokenHash,
}

/// The application's own decision.
trait Guard: Send + Sync {
    fn check<'a>(
        &'a self,
        request: &'a HttpRequest,
    ) -> LocalBoxFuture<'a, Result<Operator, Denied>>;
}

impl<F> Guard for F
where
    F: AsyncFn(&HttpRequest) -> Result<Operator, Denied> + Send + Sync,
{
    fn check<'a>(
        &'a self,
        request: &'a HttpRequest,
    ) -> LocalBoxFuture<'a, Result<Operator, Denied>> {
        Box::pin(self(request))
    }
}

/// A name, its token or password, and what its holder may do.
///
/// `Debug` omits the token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Token {
    /// The name.
    pub name: String,
    /// The token, at least [`MIN_TOKEN_BYTES`] long.
    pub token: Secret,
    /// What its holder may do.
    pub capabilities: Vec<Capability>,
}

impl Token {
    /// Returns a token with these capabilities.
    pub fn new(
        name: impl Into<String>,
        token: impl Into<Secret>,
        capabilities: impl IntoIterator<Item = Capability>,
    ) -> Self {
        Self {
            name: name.into(),
            token: token.into(),
            capabilities: capabilities.into_iter().collect(),
        }
    }
}

/// A line of a token file: the name, the token, and the capabilities separated by commas, or `all`.
impl FromStr for Token {
    type Err = InvalidAccess;

    fn from_str(line: &str) -> Result<Self, InvalidAccess> {
        let mut parts = line.split_whitespace();
        let (Some(name), Some(token), Some(given), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidAccess::Line);
        };
        let known = |text: &str| {
            let found = Capability::ALL.into_iter().find(|one| one.as_str() == text);
            found.ok_or_else(|| InvalidAccess::Capability(text.chars().take(32).collect()))
        };
        let capabilities = if given == "all" {
            Capability::ALL.to_vec()
        } else {
            given.split(',').map(known).collect::<Result<_, _>>()?
        };
        Ok(Self::new(name, token, capabilities))
    }
}

/// The reason why access cannot be set up. It does not contain a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccess {
    /// There is no token at all, so nobody could call the API.
    #[error("no token is given; give at least one")]
    Nobody,
    /// A token is too short to be safe against guessing.
    #[error("token of {0:?} is shorter than {MIN_TOKEN_BYTES} bytes; generate a longer one")]
    Short(String),
    /// Two tokens have the same name.
    #[error("two tokens have the name {0:?}; give each its own")]
    DuplicateName(String),
    /// A name is empty, has a control character or, for Basic, a colon.
    #[error("name {0:?} must not be empty or hold a colon or a control character")]
    Name(String),
    /// A line of a token file has not three parts.
    #[error("line must be a name, a token and capabilities, separated by spaces")]
    Line,
    /// There is no such capability.
    #[error(
        "{0:?} is not a capability; use read, bodies, redeliver, operate, configure, publish, portal or all"
    )]
    Capability(String),
    /// The token file cannot be read.
    #[error("token file could not be read")]
    File(#[source] std::io::Error),
    /// A line of the token file is wrong.
    #[error("line {number} of the token file: {error}")]
    InFile {
        /// The number of the line, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<InvalidAccess>,
    },
}

/// The refusal of an [`Access::guard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denied(());

impl Denied {
    /// Returns the refusal of a caller without valid credentials. It is answered with 401.
    pub const fn unknown() -> Self {
        Self(())
    }
}

impl Access {
    /// Lets holders of these tokens in: `Authorization: Bearer <token>`.
    ///
    /// # Errors
    /// [`InvalidAccess`], also for a token of fewer than [`MIN_TOKEN_BYTES`].
    pub fn tokens(tokens: impl IntoIterator<Item = Token>) -> Result<Self, InvalidAccess> {
        Ok(Self(Arc::new(Kind::Tokens(known(tokens)?))))
    }

    /// Lets the holders of the tokens in a file in: `Authorization: Bearer <token>`.
    ///
    /// Each line holds a name, a token and capabilities (`read,redeliver`, or `all`), separated by
    /// spaces. Empty lines and lines that begin with `#` are skipped. The file is read once.
    ///
    /// # Errors
    /// [`InvalidAccess`], with the number of the line.
    pub fn token_file(path: impl AsRef<Path>) -> Result<Self, InvalidAccess> {
        let text = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(InvalidAccess::File)?);
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let tokens = lines.map(|(index, line)| {
            line.parse().map_err(|error| InvalidAccess::InFile {
                number: index + 1,
                error: Box::new(error),
            })
        });
        Self::tokens(tokens.collect::<Result<Vec<Token>, _>>()?)
    }

    /// Lets these users in by HTTP Basic, for browsers; the token is the password.
    ///
    /// # Errors
    /// [`InvalidAccess`], also for a password of fewer than [`MIN_TOKEN_BYTES`].
    pub fn basic(users: impl IntoIterator<Item = Token>) -> Result<Self, InvalidAccess> {
        Ok(Self(Arc::new(Kind::Basic(known(users)?))))
    }

    /// Lets the application decide, for example by its own sessions.
    ///
    /// The function must not keep a clone of the request.
    pub fn guard<F>(guard: F) -> Self
    where
        F: AsyncFn(&HttpRequest) -> Result<Operator, Denied> + Send + Sync + 'static,
    {
        Self(Arc::new(Kind::Guard(Box::new(guard))))
    }

    /// Returns the caller.
    pub(super) async fn check(&self, request: &HttpRequest) -> Result<Operator, Problem> {
        match &*self.0 {
            Kind::Tokens(known) => by_credentials(known, request, Scheme::Bearer),
            Kind::Basic(known) => by_credentials(known, request, Scheme::Basic),
            Kind::Guard(guard) => {
                let checked = guard.check(request).await;
                checked.map_err(|Denied(())| refused(Code::CredentialsWrong))
            }
        }
    }
}

fn known(tokens: impl IntoIterator<Item = Token>) -> Result<Vec<Known>, InvalidAccess> {
    let mut known: Vec<Known> = Vec::new();
    for Token {
        name,
        token,
        capabilities,
    } in tokens
    {
        let wrong = |c: char| c == ':' || c.is_control();
        if name.is_empty() || name.contains(wrong) {
            return Err(InvalidAccess::Name(name));
        }
        if token.expose().len() < MIN_TOKEN_BYTES {
            return Err(InvalidAccess::Short(name));
        }
        if known.iter().any(|other| *other.operator.name == *name) {
            return Err(InvalidAccess::DuplicateName(name));
        }
        known.push(Known {
            name: TokenHash::of(name.as_bytes()),
            token: TokenHash::of(token.expose().as_bytes()),
            operator: Operator::new(name, capabilities),
        });
    }
    if known.is_empty() {
        return Err(InvalidAccess::Nobody);
    }
    Ok(known)
}

/// Compares the credentials of a request with all known ones. The work is the same for every
/// request, whether it has credentials, and whether a name is known.
fn by_credentials(
    known: &[Known],
    request: &HttpRequest,
    scheme: Scheme,
) -> Result<Operator, Problem> {
    let presented = Presented::of(request, scheme);
    let mut found = None;
    for one in known {
        let token = one.token.is(&presented.token);
        let name = one.name.is(&presented.name) | scheme.has_no_name();
        if bool::from(token & name) {
            found = Some(&one.operator);
        }
    }
    match (found, presented.given) {
        (Some(operator), true) => Ok(operator.clone()),
        (_, true) => Err(refused(Code::CredentialsWrong).challenge(scheme)),
        (_, false) => Err(refused(Code::CredentialsMissing).challenge(scheme)),
    }
}

fn refused(code: Code) -> Problem {
    Problem::new(
        code,
        "valid credentials are required; send them in the Authorization header",
    )
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |known: &[Known]| {
            let names = known.iter().map(|one| Arc::clone(&one.operator.name));
            names.collect::<Vec<_>>()
        };
        match &*self.0 {
            Kind::Tokens(known) => f.debug_tuple("Tokens").field(&names(known)).finish(),
            Kind::Basic(known) => f.debug_tuple("Basic").field(&names(known)).finish(),
            Kind::Guard(_) => f.write_str("Guard"),
        }
    }
}

/// The shortest token or password accepted, in bytes.
pub const MIN_TOKEN_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "0123456789abcdef";

    fn built(lines: &[&str]) -> Result<Access, InvalidAccess> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines.join("\n")).unwrap();
        Access::token_file(file.path())
    }

    #[test]
    fn a_token_file_is_read_line_by_line() {
        let access = built(&[
            "# who",
            "",
            &format!("alice {LONG} read,redeliver"),
            &format!("bob\t{LONG}0  all"),
        ]);
        let access = access.unwrap();
        assert_eq!(format!("{access:?}"), r#"Tokens(["alice", "bob"])"#);
        let Kind::Tokens(known) = &*access.0 else {
            panic!()
        };
        let [alice, bob] = &known[..] else { panic!() };
        assert_eq!(
            alice.operator.capabilities,
            [Capability::Read, Capability::Redeliver]
        );
        assert_eq!(bob.operator.capabilities, Capability::ALL);
    }

    #[test]
    fn what_is_wrong_with_access_is_told_without_the_token() {
        let long = format!("alice {LONG} read");
        for (lines, expected) in [
            (vec![], "no token is given; give at least one"),
            (
                vec!["alice hush read"],
                "token of \"alice\" is shorter than 16 bytes; generate a longer one",
            ),
            (
                vec![&*long, &*long],
                "two tokens have the name \"alice\"; give each its own",
            ),
            (
                vec![&*long, "bob hush"],
                "line 2 of the token file: line must be a name, a token and capabilities, separated by spaces",
            ),
            (
                vec!["al:ce 0123456789abcdef read"],
                "name \"al:ce\" must not be empty or hold a colon or a control character",
            ),
        ] {
            let error = built(&lines).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
        let error = built(&[&format!("alice {LONG} write")]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("line 1 of the token file: \"write\" is not"),
            "{error}"
        );
        assert!(Access::basic([Token::new("a", "fifteen-bytes-x", [])]).is_err());
        assert!(Access::token_file("/nowhere").is_err());
    }
}
