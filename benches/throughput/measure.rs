//! Measured quantities and how they are measured.

use std::fmt;
use std::num::ParseFloatError;
use std::str::FromStr;
use std::time::Instant;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// CPU time per delivery of all threads of this process, without the receiver's.
    pub(crate) cpu_micros: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} deliveries/s, {:.1} CPU µs each",
            self.per_second, self.cpu_micros
        )
    }
}

/// Parses the `Display` format.
impl FromStr for Sample {
    type Err = ParseFloatError;

    fn from_str(line: &str) -> Result<Self, ParseFloatError> {
        let number = |word: usize| {
            line.split_whitespace()
                .nth(word)
                .unwrap_or_default()
                .parse()
        };
        Ok(Self {
            per_second: number(0)?,
            cpu_micros: number(2)?,
        })
    }
}

/// Measures from its creation on.
pub(crate) struct Meter {
    since: Instant,
    cpu: f64,
}

impl Meter {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    pub(crate) fn start() -> Self {
        Self {
            since: Instant::now(),
            cpu: cpu_seconds(),
        }
    }

    pub(crate) fn stop(&self, deliveries: u64) -> Sample {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let deliveries = deliveries as f64;
        let seconds = self.since.elapsed().as_secs_f64();
        Sample {
            per_second: deliveries / seconds,
            cpu_micros: (cpu_seconds() - self.cpu) * 1e6 / deliveries,
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the value below which a `share` of the values lies.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((values.len() as f64 - 1.0) * share).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// Returns the CPU time used by this process, from the kernel, in steps of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields after the command name in parentheses: user and system time are fields 14 and 15
    // of proc(5).
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// Returns the resident memory of this process in bytes.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<u64>().ok())
        .unwrap_or(0);
    pages * 4_096
}
