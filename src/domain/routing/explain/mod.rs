//! Reasons why rules do not match an event.
//!
//! The same conditions as in `table.rs`, but checked rule by rule, for the rules that could be
//! meant: those of the event's type, and those for its client.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::routing::filter::Condition;
use crate::domain::routing::neighbours::canonical;
use crate::domain::routing::rule::Rule;
use crate::domain::routing::table::{RoutingTable, Traits, for_each_pattern};
use crate::domain::value::id::{ClientId, CompanyId, RuleId};
use crate::domain::value::tagged::{Has, tagged};

/// The rules that an event matches, and the nearest that it does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Explanation {
    /// The rules that match, ordered by id.
    pub matches: Vec<RuleId>,
    /// Rules of the event's type or for its client that do not match, at most 20, nearest first.
    ///
    /// A rule is nearer the fewer of its conditions fail. Among rules with as many failures, those
    /// that are disabled come first, then those that fail by their filter, company, client, type.
    pub misses: Vec<RuleMiss>,
    /// `true` if more such rules do not match, or were not looked at because there are many.
    pub more: bool,
}

/// A rule that an event does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RuleMiss {
    /// The rule.
    pub rule: RuleId,
    /// The first of its conditions that fails.
    pub why: MissReason,
}

/// Why an event does not match a rule. A rule is checked in the order of these variants.
///
/// In JSON an object: `{"kind":"disabled"}`, `{"kind":"company","asked":"company-1"}`. `Display`
/// writes it for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum MissReason {
    /// The rule is disabled.
    Disabled,
    /// It is for events of another type.
    Type {
        /// The type that it is for.
        asked: String,
    },
    /// It is for another client's events.
    Client {
        /// The client that it is for.
        asked: ClientId,
    },
    /// It is for events about another company, or the event is about none.
    Company {
        /// The company that it is for.
        asked: CompanyId,
    },
    /// Its filter does not hold.
    Filter {
        /// The first condition that does not hold.
        condition: Condition,
        /// The value at the condition's place, as JSON, at most 120 bytes of it; `None` if there is
        /// none. A text that was cut ends in `…`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<String>,
        /// Number of other branches of the `any` around the condition, of which none holds either;
        /// 0 if it is in none.
        alternatives: usize,
    },
}

tagged!(
    MissReason,
    "kind",
    [
        ("type", Has::Fields(&["asked"])),
        ("client", Has::Fields(&["asked"])),
        ("company", Has::Fields(&["asked"])),
        (
            "filter",
            Has::Fields(&["condition", "found", "alternatives"])
        ),
    ]
);

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("disabled"),
            Self::Type { asked } => write!(f, "for events of type {asked:?}"),
            Self::Client { asked } => write!(f, "for client {asked:?}"),
            Self::Company { asked } => write!(f, "for company {asked:?}"),
            Self::Filter {
                condition, found, ..
            } => {
                let found = found.as_deref().unwrap_or("nothing");
                write!(f, "asks for {condition}, found {found}")
            }
        }
    }
}

impl RoutingTable {
    /// Returns the rules that an event matches, and the nearest that it does not match.
    ///
    /// Beside the matches it looks at no more than `MOST_LOOKED_AT` rules of each of three kinds:
    /// rules of the event's type for all clients or its own, rules of any type for its client, and
    /// rules of its type for other clients.
    pub(crate) fn explain(&self, event: Traits<'_>) -> Explanation {
        let mut matches = Vec::new();
        self.matches(event, &mut matches);
        let mut types = Vec::new();
        for_each_pattern(event.rule_type, |pattern| types.push(pattern.to_owned()));

        let all = &self.neighbours;
        let for_it = types.iter().flat_map(|pattern| {
            let for_all = all.of_type(pattern, None);
            for_all.chain(all.of_type(pattern, Some(event.client_id)))
        });
        let of_client = all.of_client(event.client_id);
        let others = types
            .iter()
            .flat_map(|pattern| all.of_others(pattern, event.client_id));
        let mut nearest = Nearest::default();
        nearest.look_at(for_it, event, &types);
        nearest.look_at(of_client, event, &types);
        nearest.look_at(others, event, &types);

        let more = nearest.left_out || nearest.misses.len() > MOST_MISSES;
        let misses = nearest.misses.into_values().take(MOST_MISSES);
        Explanation {
            matches: matches.iter().map(|rule| rule.id.clone()).collect(),
            misses: misses
                .filter_map(|rule| miss(rule, event, &types))
                .collect(),
            more,
        }
    }
}

/// The misses found so far, nearest first.
#[derive(Default)]
struct Nearest<'a> {
    /// By the number of failures, the kind of the first one, and the id.
    misses: BTreeMap<(usize, usize, &'a RuleId), &'a Rule>,
    /// `true` if there were more rules than were looked at.
    left_out: bool,
}

impl<'a> Nearest<'a> {
    fn look_at(
        &mut self,
        mut rules: impl Iterator<Item = &'a Arc<Rule>>,
        event: Traits<'_>,
        types: &[String],
    ) {
        for rule in rules.by_ref().take(MOST_LOOKED_AT) {
            let holds = conditions(rule, event, types);
            let failures = holds.iter().filter(|holds| !**holds).count();
            // Which failures of as many come first, in the order of the conditions.
            let kinds = holds.iter().zip([0, 4, 3, 2, 1]);
            let first = kinds.into_iter().find(|(holds, _)| !**holds);
            if let Some((_, kind)) = first {
                self.misses.insert((failures, kind, &rule.id), rule);
            }
        }
        self.left_out |= rules.next().is_some();
    }
}

/// Returns which conditions of a rule hold, in the order in which they are checked.
fn conditions(rule: &Rule, event: Traits<'_>, types: &[String]) -> [bool; 5] {
    let rule_type = canonical(&rule.rule_type);
    let client = rule.client_id.as_ref();
    let company = rule.company_id.as_ref();
    [
        rule.enabled,
        types.iter().any(|pattern| pattern == rule_type),
        client.is_none_or(|client| client == event.client_id),
        company.is_none() || company == event.company_id,
        rule.accepts(event.data),
    ]
}

/// Returns a rule with the first of its conditions that fails.
fn miss(rule: &Rule, event: Traits<'_>, types: &[String]) -> Option<RuleMiss> {
    let [is_enabled, is_of_type, is_of_client, is_of_company, _] = conditions(rule, event, types);
    let why = match (&rule.client_id, &rule.company_id) {
        _ if !is_enabled => MissReason::Disabled,
        _ if !is_of_type => MissReason::Type {
            asked: rule.rule_type.clone(),
        },
        (Some(asked), _) if !is_of_client => MissReason::Client {
            asked: asked.clone(),
        },
        (_, Some(asked)) if !is_of_company => MissReason::Company {
            asked: asked.clone(),
        },
        _ => {
            let unmet = rule.filter.as_ref()?.unmet(event.data)?;
            MissReason::Filter {
                condition: unmet.condition.clone(),
                found: unmet.found.map(shown),
                alternatives: unmet.alternatives,
            }
        }
    };
    let rule = rule.id.clone();
    Some(RuleMiss { rule, why })
}

/// Returns the beginning of a value as JSON. No more of it is written than is shown.
fn shown(value: &Value) -> String {
    let mut bounded = Bounded(Vec::new());
    // The only error is that of `Bounded`, whose bytes are shown.
    let is_cut = serde_json::to_writer(&mut bounded, value).is_err();
    let Bounded(bytes) = bounded;
    if !is_cut {
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let whole = bytes.utf8_chunks().next();
    format!("{}…", whole.map_or("", |chunk| chunk.valid()))
}

/// Takes the first bytes only.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MOST_SHOWN.saturating_sub(self.0.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.0.extend_from_slice(taken);
        // Nothing taken ends the writing.
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The most misses in an explanation.
const MOST_MISSES: usize = 20;

/// The most rules of one kind that are looked at.
const MOST_LOOKED_AT: usize = 200;

/// The most bytes shown of a value.
const MOST_SHOWN: usize = 120;
