//! Endless restarts are detected, stopped and reported.

use super::{POLICY, rolled, shop};
use crate::{
    scenarios::rotate_to,
    support::{Outcome, World},
};

async fn run(world: &World, rule: &str) -> Outcome {
    let policy = POLICY.replace("match: references", &format!("match: references, {rule}"));
    world.bin.policy(&world.named(&policy), &[]).await
}

/// The message for `web` in the report.
fn told(outcome: &Outcome) -> String {
    outcome.restart("web")["message"].to_string()
}

/// Two writers overwrite each other's value.
#[tokio::test]
async fn flapping_data_stops_causing_restarts() {
    let world = World::sandbox().await;
    shop(&world).await;
    let rule = "cooldown: 1ms, maxPerDay: 50";
    run(&world, rule).await.exits(0);
    for (value, times) in [("mine", 2), ("yours", 3)] {
        rotate_to(&world, value).await;
        let outcome = run(&world, rule).await;
        outcome.restarted("web");
        assert_eq!(rolled(&world, "Deployment", "web").await, times);
    }
    for value in ["mine", "yours", "mine"] {
        rotate_to(&world, value).await;
        let outcome = run(&world, rule).await;
        let expected = if value == "mine" {
            "left(flapping)"
        } else {
            "left(current)"
        };
        assert_eq!(outcome.restart_of("web"), expected);
        if value == "mine" {
            outcome.exits(3);
            assert!(
                told(&outcome).contains("back and forth"),
                "{}",
                told(&outcome)
            );
        }
        assert_eq!(rolled(&world, "Deployment", "web").await, 3);
    }
    world.end().await;
}

#[tokio::test]
async fn the_daily_limit_stops_a_restart_in_every_run() {
    let world = World::sandbox().await;
    shop(&world).await;
    let rule = "when: always, cooldown: 1ms, maxPerDay: 2";
    for _ in 0..2 {
        let outcome = run(&world, rule).await;
        assert_eq!(outcome.exits(0).restart_of("web"), "restarted(always)");
    }
    let outcome = run(&world, rule).await;
    assert_eq!(outcome.exits(3).restart_of("web"), "left(restart-loop)");
    assert!(told(&outcome).contains("maxPerDay"), "{}", told(&outcome));
    assert_eq!(rolled(&world, "Deployment", "web").await, 3);
    world.end().await;
}
