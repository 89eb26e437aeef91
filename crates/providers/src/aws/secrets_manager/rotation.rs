//! Rotation schedules of Secrets Manager.
//!
//! `DescribeSecret` takes a call for each secret, but needs a permission on that secret only, and knows all forms of a key.
//! `ListSecrets` would need a permission on all secrets, and may be five minutes old.

use std::time::Duration;

use aws_sdk_secretsmanager::{
    Client, operation::describe_secret::DescribeSecretOutput, types::RotationRulesType,
};
use eso_model::rotation::{Rotation, Schedule};
use jiff::Timestamp;

use super::SecretsManager;
use crate::{
    RateLimiter, Unread,
    aws::{error::AwsError, fits},
    engine::{Failure, Request},
    unread,
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl SecretsManager {
    pub(super) async fn rotation(
        &self,
        key: String,
        limiter: &RateLimiter,
    ) -> Result<Rotation, Unread> {
        if !fits(&key) {
            let detail = "the key is too long for AWS";
            return Err(Unread::secret(unread::UNREADABLE, detail));
        }
        let request = Request::read("DescribeSecret", Some(&key));
        let described = self.described(&key, &request, limiter).await;
        described
            .map(|secret| rotation(&secret))
            .map_err(|failure| self.engine.unread(failure, &request))
    }

    /// The metadata of a secret.
    pub(super) async fn described(
        &self,
        key: &str,
        request: &Request<'_>,
        limiter: &RateLimiter,
    ) -> Result<DescribeSecretOutput, Failure<AwsError>> {
        self.engine
            .call(request, limiter, |client: Client| {
                let call = client.describe_secret().secret_id(key);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await
    }
}

fn rotation(secret: &DescribeSecretOutput) -> Rotation {
    // The rules stay after the rotation was switched off.
    if secret.rotation_enabled() != Some(true) {
        return Rotation::Unscheduled;
    }
    let next = secret.next_rotation_date();
    Rotation::Scheduled(Schedule {
        next: next.and_then(|date| Timestamp::from_second(date.secs()).ok()),
        period: secret.rotation_rules().and_then(period),
    })
}

/// The time between two rotations: that of `rate(…)`, else the days, which AWS also computes from `cron(…)`.
fn period(rules: &RotationRulesType) -> Option<Duration> {
    let rate = rules.schedule_expression().and_then(of_rate);
    let days = || u64::try_from(rules.automatically_after_days()?).ok();
    let seconds = rate.or_else(|| days()?.checked_mul(DAY))?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// `rate(4 hours)`, `rate(1 day)`, in seconds.
fn of_rate(expression: &str) -> Option<u64> {
    let rate = expression.trim().strip_prefix("rate(")?.strip_suffix(')')?;
    let (count, unit) = rate.trim().split_once(' ')?;
    let unit = match unit.trim() {
        "hour" | "hours" => HOUR,
        "day" | "days" => DAY,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn period_is_that_of_the_rate_else_the_days() {
        let hours = |days: Option<i64>, expression: Option<&str>| {
            let rules = RotationRulesType::builder()
                .set_automatically_after_days(days)
                .set_schedule_expression(expression.map(str::to_owned))
                .build();
            period(&rules).map(|period| period.as_secs() / HOUR)
        };
        assert_eq!(hours(Some(30), None), Some(720));
        assert_eq!(hours(Some(1), Some("rate(4 hours)")), Some(4));
        assert_eq!(hours(None, Some("rate(10 days)")), Some(240));
        assert_eq!(hours(Some(31), Some("cron(0 8 1 * ? *)")), Some(744));
        for unknown in [
            "cron(0 8 1 * ? *)",
            "rate(0 days)",
            "rate(-1 days)",
            "rate(2 weeks)",
            "rate(99999999999999999999 days)",
        ] {
            assert_eq!(hours(None, Some(unknown)), None, "{unknown}");
        }
        assert_eq!(hours(Some(-1), None), None);
    }

    /// The rules are kept for the day on which it is switched on again.
    #[test]
    fn rotation_that_is_switched_off_has_no_schedule() {
        let rules = RotationRulesType::builder()
            .automatically_after_days(30)
            .build();
        let secret = |enabled: Option<bool>| {
            DescribeSecretOutput::builder()
                .set_rotation_enabled(enabled)
                .rotation_rules(rules.clone())
                .build()
        };
        assert_eq!(rotation(&secret(Some(false))), Rotation::Unscheduled);
        assert_eq!(rotation(&secret(None)), Rotation::Unscheduled);
        let period = Some(Duration::from_secs(30 * DAY));
        let on = Schedule { next: None, period };
        assert_eq!(rotation(&secret(Some(true))), Rotation::Scheduled(on));
    }
}
