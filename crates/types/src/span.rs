//! Lengths of time as people write them: `900`, `15m`, `1h30m`, `250ms`, `90d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, read from a whole number of seconds or from text with units `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    fn whole(seconds: u64) -> Option<Self> {
        seconds.checked_mul(1_000).and_then(Self::millis)
    }

    /// The same, where it is short enough to be added to any time of these centuries.
    fn millis(millis: u64) -> Option<Self> {
        (millis <= LONGEST).then(|| Self(Duration::from_millis(millis)))
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

/// The text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as `15m`, `1h30m` or a number of seconds, saw `{0}`")]
pub struct NotASpan(String);

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let wrong = || NotASpan(text.to_owned());
        if let Ok(seconds) = text.parse::<u64>() {
            return Self::whole(seconds).ok_or_else(wrong);
        }
        let (mut total, mut rest) = (0_u64, text);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number = number.parse::<u64>().map_err(|_| wrong())?;
            let millis = unit_millis(unit).and_then(|unit| number.checked_mul(unit)).ok_or_else(wrong)?;
            total = total.checked_add(millis).ok_or_else(wrong)?;
            rest = tail;
        }
        Self::millis(total).filter(|_| !text.is_empty()).ok_or_else(wrong)
    }
}

/// A day of 24 hours, in milliseconds.
const DAY: u64 = 86_400_000;

/// A thousand years, in milliseconds: what is longer is a slip, and no clock counts far beyond.
const LONGEST: u64 = 365_250 * DAY;

fn unit_millis(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(DAY),
        _ => None,
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match (millis % 3_600_000, millis % 60_000, millis % 1_000) {
            _ if millis == 0 => f.write_str("0s"),
            _ if millis.is_multiple_of(u128::from(DAY)) => write!(f, "{}d", millis / u128::from(DAY)),
            (0, _, _) => write!(f, "{}h", millis / 3_600_000),
            (_, 0, _) => write!(f, "{}m", millis / 60_000),
            (_, _, 0) => write!(f, "{}s", millis / 1_000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `15m`, `1h30m` or a number of seconds")
    }

    fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Span, E> {
        Span::whole(seconds).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(seconds), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Span, E> {
        u64::try_from(seconds)
            .ok()
            .and_then(Span::whole)
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(seconds), &self))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A duration such as `15m`, `1h30m`, `250ms`, or a number of seconds.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_add_up_and_a_bare_number_is_seconds() {
        let check =
            |text: &str, millis| assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        check("900", 900_000);
        check("15m", 900_000);
        check("1h30m", 5_400_000);
        check("250ms", 250);
        check("1d12h", 129_600_000);
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "m", "15 m", "-3", "1w", "1.5h", "99999999999999999999h", "365251d", "2229922222222222222"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn whole_days_are_written_as_days() {
        let written = |hours: u64| Span::seconds(hours * 3600).to_string();
        assert_eq!((written(24 * 90).as_str(), written(36).as_str()), ("90d", "36h"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0_u64..1_000_000_000) {
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
