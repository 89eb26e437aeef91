use proptest::prelude::*;

use super::{
    simulation::{Course, Feed, Operator, simulate},
    *,
};

const RATE: f64 = 100.0;

fn limiter(per_second: f64) -> ClosedLoop {
    ClosedLoop::new(Rate::per_second(per_second).unwrap())
}

/// The operator of the benchmark. With ten workers it proves 1,000 ExternalSecrets after 42 s if all are annotated at once, and
/// after 60 s at 25 per second. With one worker it proves eight per second.
fn operator(workers: usize) -> Operator {
    Operator {
        workers,
        latency: vec![(Duration::ZERO, Duration::from_millis(10))],
        jitter: 0.2,
        first_pass: Duration::from_millis(115),
        second_pass: Duration::from_millis(8),
        client_limit: Some(50.0),
        repeats: 0.8,
    }
}

/// An operator whose speed only the provider limits.
fn unlimited(workers: usize, latency: Duration) -> Operator {
    Operator {
        latency: vec![(Duration::ZERO, latency)],
        first_pass: Duration::from_millis(5),
        client_limit: None,
        ..operator(workers)
    }
}

fn closed(operator: &Operator, costs: &[u32], per_second: f64) -> Course {
    let feed = Feed::Closed(Box::new(limiter(per_second)));
    simulate(operator, costs, feed, None)
}

#[test]
fn simulated_operator_is_like_the_measured_one() {
    let seconds = |feed: f64| simulate(&operator(10), &[1; 1000], Feed::Rate(feed), None).seconds();
    for (feed, measured) in [
        (300.0, 42.5),
        (200.0, 42.5),
        (100.0, 45.0),
        (50.0, 58.0),
        (25.0, 65.0),
    ] {
        let ratio = seconds(feed) / measured;
        assert!((0.85..1.05).contains(&ratio), "{feed}: {ratio}");
    }
}

/// Eight connections make about 300 patches per second.
#[test]
fn run_takes_as_long_as_the_operator_alone() {
    for workers in [1, 10] {
        for n in [300, 1000, 3000] {
            let operator = operator(workers);
            let costs = vec![1; n];
            let alone = simulate(&operator, &costs, Feed::Rate(300.0), None).seconds();
            let ratio = closed(&operator, &costs, RATE).seconds() / alone;
            assert!(ratio <= 1.05, "{workers} workers, {n}: {ratio}");
        }
    }
}

#[test]
fn two_seconds_of_the_rate_start_at_once() {
    let mut limiter = limiter(10.0);
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(limiter.ready(start, 4), Ok(()));
        limiter.start(start, 4);
    }
    assert_eq!(
        limiter.ready(start, 4),
        Err(None),
        "20 calls are outstanding"
    );
    let now = start + Duration::from_secs(2);
    for answers in 1..10 {
        limiter.end(now, 1, true);
        assert_eq!(
            limiter.ready(now, answers + 1),
            Err(None),
            "the operator's speed is not known"
        );
    }
    limiter.end(now, 1, true);
    assert_eq!(limiter.ready(now, 11), Ok(()), "ten answers");
}

#[test]
fn one_step_may_cost_more_than_the_start() {
    let mut limiter = limiter(1.0);
    let start = Instant::now();
    assert_eq!(limiter.ready(start, 30), Ok(()));
    limiter.start(start, 30);
    assert_eq!(limiter.ready(start, 1), Err(None));
    limiter.end(start + SECOND, 30, true);
    let paid = start + Duration::from_secs(29);
    assert_eq!(limiter.ready(start + SECOND, 1), Err(Some(paid)));
}

/// A limiter with an operator that answers at this speed. Everything that may start starts.
fn fed(per_second: u32, seconds: u64) -> (ClosedLoop, Instant) {
    let mut limiter = limiter(RATE);
    let mut now = Instant::now();
    for _ in 0..seconds * u64::from(per_second) {
        while limiter.ready(now, 1).is_ok() {
            limiter.start(now, 1);
        }
        now += SECOND / per_second;
        limiter.end(now, 1, true);
    }
    (limiter, now)
}

#[test]
fn as_much_is_outstanding_as_the_operator_answers_in_two_minutes() {
    let (limiter, _) = fed(10, 30);
    assert!(
        (1150..=1210).contains(&limiter.outstanding),
        "{}",
        limiter.outstanding
    );
}

#[test]
fn at_most_sixty_seconds_of_the_rate_are_outstanding() {
    let (limiter, _) = fed(75, 30);
    assert!(
        (5900..=6000).contains(&limiter.outstanding),
        "{}",
        limiter.outstanding
    );
}

#[test]
fn without_answers_two_seconds_of_the_rate_are_outstanding() {
    let (mut limiter, mut now) = fed(10, 30);
    now += Duration::from_secs(25);
    let started = limiter.outstanding;
    assert_eq!(limiter.ready(now, 1), Err(None), "the operator has stopped");
    limiter.end(now, started - 200, false);
    assert_eq!(limiter.ready(now, 1), Err(None));
    limiter.end(now, 1, false);
    assert!(matches!(limiter.ready(now, 1), Ok(()) | Err(Some(_))));
}

#[test]
fn fast_operator_gets_the_rate() {
    let course = closed(&unlimited(100, Duration::from_millis(20)), &[1; 2000], RATE);
    let paced = f64::from(2000 - 200) / RATE;
    assert!(
        (course.seconds() - paced).abs() < 0.5,
        "{}",
        course.seconds()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_hundred_workers_never_exceed_twelve_seconds_of_the_rate_in_ten(
        per_second in 10..200_u32,
        costs in prop::collection::vec(1..=10_u32, 100..400),
        latency in 1..=100_u64, first_pass in 1..=100_u64, jitter in 0.0..1.0, repeats in 0.0..1.0,
        client_limit in prop::option::of(Just(500.0)),
    ) {
        let operator = Operator {
            first_pass: Duration::from_millis(first_pass),
            jitter, client_limit, repeats,
            ..unlimited(100, Duration::from_millis(latency))
        };
        let course = closed(&operator, &costs, f64::from(per_second));
        let most = course.most_calls_in_ten_seconds();
        prop_assert!(most <= 12 * per_second as usize, "{most}");
    }
}

/// The provider takes two seconds for a call, and from this time on a millisecond.
fn becomes_fast(from: Duration) -> Operator {
    Operator {
        latency: vec![
            (Duration::ZERO, Duration::from_secs(2)),
            (from, Duration::from_millis(1)),
        ],
        ..unlimited(100, Duration::ZERO)
    }
}

#[test]
fn provider_that_becomes_fast_gets_no_more_than_what_is_outstanding() {
    let from = Duration::from_secs(30);
    let course = closed(&becomes_fast(from), &vec![1; 10_000], RATE);
    let outstanding = course.outstanding_at(from);
    assert!(outstanding > 2000, "the window was open: {outstanding}");
    let excess = course.most_calls_in_ten_seconds() - 1200;
    assert!(excess <= outstanding as usize, "{excess} of {outstanding}");
}

#[test]
fn first_throttling_closes_the_window() {
    let from = Duration::from_secs(30);
    let operator = Operator {
        latency: vec![(Duration::ZERO, Duration::from_secs(2))],
        ..becomes_fast(from)
    };
    let feed = || Feed::Closed(Box::new(limiter(RATE)));
    let costs = vec![1; 12_000];
    let started_after = |course: &Course, at: Duration| {
        let until = at + Duration::from_secs(10);
        let started = course.started.iter();
        started.filter(|time| (at..until).contains(time)).count()
    };
    let course = simulate(&operator, &costs, feed(), Some(from));
    let throttled = course.throttled.unwrap();
    assert_eq!(
        started_after(&course, throttled),
        0,
        "what was started in advance is paid first"
    );
    let course = simulate(&operator, &costs, feed(), None);
    assert!(
        started_after(&course, throttled) > 300,
        "without throttling"
    );
}

#[test]
fn throttled_operator_that_is_slow_gets_only_the_bucket() {
    let (mut limiter, now) = fed(10, 30);
    assert!(limiter.throttled(now));
    assert!((limiter.current_rate() - RATE / 2.0).abs() < 1e-9);
    assert_eq!(limiter.window(), None);
    for second in 1..=30 {
        limiter.ready(now + SECOND * second, 1).ok();
    }
    assert!((limiter.current_rate() - RATE).abs() < 1e-9, "it recovers");
}
