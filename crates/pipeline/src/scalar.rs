//! Scalars as the agent prints them, and values as it hands them to plugins.

use serde_yaml::Value;

/// A scalar as text: nothing for null, numbers and booleans as Go writes them.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(float),
        Value::Number(number) => Some(number.to_string()),
        Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

/// What Go's `fmt.Sprint` makes of a number with a fraction or an exponent: `1.5`, `1e+06`.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent < -4 => format!("{digits}e-{:02}", -exponent),
        Ok(exponent) if exponent >= 6 => format!("{digits}e+{exponent:02}"),
        _ => number.to_string(),
    }
}

/// A value as JSON; nothing where JSON has no such number.
pub(super) fn json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => serde_json::Value::Number(json_number(number)?),
        Value::Sequence(items) => items.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Value::Mapping(map) => {
            let entry = |(key, value): (&Value, &Value)| Some((text(key)?, json(value)?));
            serde_json::Value::Object(map.iter().map(entry).collect::<Option<_>>()?)
        }
        Value::Tagged(tagged) => json(&tagged.value)?,
    })
}

/// JSON as Go writes it has no fraction where the number has none.
fn json_number(number: &serde_yaml::Number) -> Option<serde_json::Number> {
    let whole = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15);
    match (number.as_u64(), number.as_i64()) {
        (Some(unsigned), _) => Some(unsigned.into()),
        (None, Some(signed)) => Some(signed.into()),
        (None, None) => match whole {
            Some(float) => serde_json::from_str(&format!("{float:.0}")).ok(),
            None => serde_json::Number::from_f64(number.as_f64()?),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Value {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn scalars_are_printed_as_the_agent_prints_them() {
        let check = |yaml, printed: &str| assert_eq!(text(&of(yaml)).as_deref(), Some(printed), "{yaml}");
        check("~", "");
        check("true", "true");
        check("0x1F", "31");
        check("-7", "-7");
        check("1.10", "1.1");
        check("1.0", "1");
        check("100000.0", "100000");
        check("1234567.0", "1.234567e+06");
        check("1e21", "1e+21");
        check("0.00001234", "1.234e-05");
        check(".inf", "+Inf");
        check("'1.10'", "1.10");
    }

    #[test]
    fn lists_and_maps_are_no_text() {
        assert_eq!(text(&of("[a]")), None);
        assert_eq!(text(&of("{a: b}")), None);
    }

    #[test]
    fn a_configuration_becomes_json() {
        let check = |yaml, expected: &str| assert_eq!(json(&of(yaml)).unwrap().to_string(), expected);
        check(
            "{a: [1, 2.0, 2.5, ~, true, x], b: {1: -3.0}}",
            r#"{"a":[1,2,2.5,null,true,"x"],"b":{"1":-3}}"#,
        );
        check("1e300", "1e+300");
    }

    #[test]
    fn a_number_that_json_lacks_is_no_configuration() {
        assert_eq!(json(&of("[.nan]")), None);
    }
}
