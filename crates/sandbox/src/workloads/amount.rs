//! Amounts that are numbers or percentages, such as `maxSurge`.

use serde_json::Value;

/// Resolves an amount, `2` or `25%`, relative to `of`. An invalid amount is 0.
pub(super) fn resolve(amount: &Value, of: i64, round_up: bool) -> i64 {
    if let Some(number) = amount.as_i64() {
        return number;
    }
    let percent = amount
        .as_str()
        .and_then(|text| text.strip_suffix('%'))
        .and_then(|digits| digits.parse::<i64>().ok())
        .unwrap_or_default();
    let hundredfold = percent.saturating_mul(of);
    if round_up {
        hundredfold.saturating_add(99) / 100
    } else {
        hundredfold / 100
    }
}

/// The numbers of Pods that a rolling update may add (`maxSurge`) and remove (`maxUnavailable`). Both default to 25 %.
pub(super) fn surge_and_unavailable(strategy: &Value, replicas: i64) -> (i64, i64) {
    let quarter = Value::from("25%");
    let amount = |key: &str| strategy.get(key).unwrap_or(&quarter);
    let surge = resolve(amount("maxSurge"), replicas, true);
    let unavailable = resolve(amount("maxUnavailable"), replicas, false);
    // Otherwise the update could not proceed.
    let unavailable = if surge == 0 {
        unavailable.max(1)
    } else {
        unavailable
    };
    (surge, unavailable.min(replicas))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_numbers_or_percentages() {
        for (amount, of, up, expected) in [
            (json!(3), 10, true, 3),
            (json!("25%"), 3, true, 1),
            (json!("25%"), 3, false, 0),
            (json!("100%"), 7, false, 7),
            (json!("many"), 7, true, 0),
            (json!(null), 7, true, 0),
        ] {
            assert_eq!(resolve(&amount, of, up), expected, "{amount}");
        }
    }

    #[test]
    fn rolling_updates_can_always_proceed() {
        let strategy = |surge: i64, unavailable: i64| json!({"maxSurge": surge, "maxUnavailable": unavailable});
        assert_eq!(surge_and_unavailable(&json!({}), 3), (1, 0));
        assert_eq!(surge_and_unavailable(&json!({}), 8), (2, 2));
        assert_eq!(surge_and_unavailable(&strategy(0, 0), 3), (0, 1));
        assert_eq!(surge_and_unavailable(&strategy(1, 9), 3), (1, 3));
        assert_eq!(surge_and_unavailable(&strategy(0, 0), 0), (0, 0));
    }
}
