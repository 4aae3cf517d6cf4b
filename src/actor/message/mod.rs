//! The protocol: every message between the application and the actors, and between the actors.
//!
//! Mailboxes are bounded. `send(..).await` waits for a place in the mailbox; `try_send` fails with
//! `SendError::Full` if there is none. Both are safe, because nothing counts as accepted before its
//! answer.

mod asking;
mod between;
mod client_status;
mod deliveries;
mod endpoints;
mod finding;
mod inspecting;
mod operating;
mod overview;
mod publishing;
mod redelivering;
mod routing;
mod test_event;
mod watching;
mod why;

pub use self::asking::*;
pub(crate) use self::between::*;
pub use self::client_status::*;
pub use self::deliveries::*;
pub use self::endpoints::*;
pub use self::finding::*;
pub use self::inspecting::*;
pub(crate) use self::operating::OperatorMessage;
pub use self::operating::{By, ListActions};
pub use self::overview::*;
pub use self::publishing::*;
pub use self::redelivering::*;
pub use self::routing::*;
pub use self::test_event::*;
pub use self::watching::*;
pub use self::why::*;
