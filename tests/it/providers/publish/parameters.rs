//! AWS Parameter Store, as moto implements it.

use eso_model::StoreKey;
use futures::{FutureExt as _, future::BoxFuture};
use providers::StoreSettings;
use publish::plan::PruneMode;
use serde_json::json;

use super::{Place, aws, keeps, unique};
use crate::providers::aws::moto::Moto;

const REGION: &str = "eu-central-1";

async fn place(test: &str) -> Place {
    let settings = json!({"service": "ParameterStore", "region": REGION});
    let key = StoreKey::Cluster {
        name: "aws".to_owned(),
    };
    Place {
        settings: StoreSettings::new(key, "aws", settings),
        url: Moto::at(REGION).url,
        unique: format!("/{}/", unique(test)),
        connect: aws::connect,
        by_hand,
        // AWS returns 50 parameters per call, which is 0.02; moto always 10.
        calls: 0.11,
        document: false,
    }
}

fn by_hand<'a>(place: &'a Place, name: &'a str, value: &'a str) -> BoxFuture<'a, ()> {
    async move {
        let name = place.name(name);
        let body = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
        Moto::at(REGION).parameters("PutParameter", body).await;
    }
    .boxed()
}

keeps!(place, "needs moto (tests/cluster/run)":
    every_call_may_fail,
    foreign_change_is_kept_or_overwritten,
    repeated_run_makes_no_version,
    second_run_writes_nothing_and_reads_no_value,
    secret_of_another_publisher_is_left_alone,
    secret_that_appears_after_the_plan_is_not_overwritten,
    two_publishers_do_not_overwrite_each_other,
    value_is_created_and_read_back,
    value_that_returns_is_current_again,
);

/// A deletion is final, so it is announced first.
#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn orphan_is_announced_before_it_is_deleted() {
    let place = place("orphan").await;
    let mut publisher = place.publisher().await;
    publisher.run(&[("db", "a"), ("old", "1")]).await;
    publisher.rules.prune.mode = PruneMode::Prune;
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines[1], "old: orphaned announce orphaned");
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines[1], "old: orphaned leave prune-later");
    publisher.now += jiff::SignedDuration::from_hours(31 * 24);
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines[1], "old: orphaned retire orphaned");
    let run = publisher.run(&[("db", "a")]).await;
    assert_eq!(run.lines, ["db: in-sync leave in-sync"]);
}
