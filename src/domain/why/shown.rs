//! The answer to why as text, for terminals and logs.

use std::fmt;

use super::{Evidence, Finding, Remedy, Why};

/// Numbered findings, each with its sentence, times, evidence, and what can be done.
///
/// Control characters are replaced: names may come from a question that nobody has checked.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return f.write_str("no delivery is concerned");
        }
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let text = finding.to_string();
            let mut lines = text.lines();
            write!(f, "{}. {}", index + 1, lines.next().unwrap_or_default())?;
            for line in lines {
                write!(f, "\n   {line}")?;
            }
        }
        Ok(())
    }
}

/// The code and the sentence, then lines of times, evidence, and what can be done.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, plain(&self.text))?;
        if let Some(since) = self.since {
            write!(f, "\nsince {since}")?;
        }
        if let Some(until) = self.until {
            write!(f, "\nuntil {until}")?;
        }
        let evidence = self.evidence.parts();
        if !evidence.is_empty() {
            write!(f, "\nconcerns {}", evidence.join(", "))?;
        }
        let mut remedies = self.remedies.iter();
        if let Some(best) = remedies.next() {
            write!(f, "\nto do: {best}")?;
        }
        remedies.try_for_each(|remedy| write!(f, "\n   or: {remedy}"))
    }
}

impl Evidence {
    /// Returns its parts, each with the name of what it is.
    fn parts(&self) -> Vec<String> {
        let named =
            |name: &str, id: &dyn fmt::Display| format!("{name} {}", plain(&id.to_string()));
        let parts = [
            self.event_id.as_ref().map(|id| named("event", id)),
            self.rule_id.as_ref().map(|id| named("rule", id)),
            self.delivery_id.as_ref().map(|id| named("delivery", id)),
            self.waits_for
                .as_ref()
                .map(|id| named("earlier delivery", id)),
            self.url.as_ref().map(|url| named("endpoint", url)),
            self.attempts.map(attempts),
            self.status.map(|status| format!("status {status}")),
            self.content_type
                .as_ref()
                .map(|kind| format!("type {kind}")),
            self.address.map(|address| format!("address {address}")),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// What can be done, as a request.
impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublishAgain => "publish the event again, with a new id",
            Self::ChangeRule => "change a rule, then publish the event again with a new id",
            Self::EnableRule => "enable the rule, then publish the event again with a new id",
            Self::CheckStore => "look after the store: its disk, its file",
            Self::Resume => "resume the endpoint",
            Self::Wait => "wait: it goes on by itself",
            Self::Redeliver => "redeliver the delivery",
            Self::LookAtFirst => "ask why about the delivery that this one waits for",
            Self::AskReceiver => "ask the receiver's operators, with the delivery's webhook-id",
        })
    }
}

/// Returns a number of attempts in words.
pub(super) fn attempts(count: u32) -> String {
    match count {
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    }
}

/// Returns a text without control characters, which a terminal would obey.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::time::Timestamp;
    use crate::domain::why::FindingCode;

    #[test]
    fn findings_are_shown_with_times_evidence_and_remedies() {
        let at = Timestamp::from_unix_millis(0);
        let mut first = Finding::new(FindingCode::CircuitOpen, "the circuit breaker is open");
        first = first.since(at).until(at).of_event(&"paid".into());
        first.evidence.attempts = Some(2);
        first.evidence.status = Some(503);
        let first = first.do_(Remedy::Wait).do_(Remedy::AskReceiver);
        let second = Finding::new(FindingCode::Delivered, "it was delivered");
        let why = Why {
            findings: vec![first, second],
        };
        let expected = "\
1. circuit-open: the circuit breaker is open
   since 1970-01-01T00:00:00.000Z
   until 1970-01-01T00:00:00.000Z
   concerns event paid, 2 attempts, status 503
   to do: wait: it goes on by itself
      or: ask the receiver's operators, with the delivery's webhook-id
2. delivered: it was delivered";
        assert_eq!(why.to_string(), expected);
        assert_eq!(Why::default().to_string(), "no delivery is concerned");
    }

    #[test]
    fn a_name_cannot_command_a_terminal() {
        let id = "a\u{1b}[2J\n2. delivered: no".into();
        let text = format!("no event with the id {id} is known");
        let finding = Finding::new(FindingCode::EventUnknown, text).of_event(&id);
        let shown = finding.to_string();
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert_eq!(shown.lines().count(), 2, "{shown}");
    }
}
