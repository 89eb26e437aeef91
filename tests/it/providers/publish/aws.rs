//! AWS Secrets Manager, as moto implements it.
//!
//! moto does not check names, sizes and the number of tags and versions. It answers `ResourceExistsException` where AWS answers
//! `InvalidRequestException` for a secret that is scheduled for deletion.

use std::collections::BTreeMap;

use eso_model::StoreKey;
use futures::{FutureExt as _, future::BoxFuture};
use pace::Clock;
use providers::{Ambient, Identity, StoreSettings, Unread, connect_writer, holder::Writer};
use serde_json::json;

use super::{Place, keeps, unique};
use crate::{providers::aws::moto::Moto, support::now};

const REGION: &str = "eu-central-1";

async fn place(test: &str) -> Place {
    let settings = json!({"service": "SecretsManager", "region": REGION});
    let key = StoreKey::Cluster {
        name: "aws".to_owned(),
    };
    Place {
        settings: StoreSettings::new(key, "aws", settings),
        url: Moto::at(REGION).url,
        unique: format!("{}/", unique(test)),
        connect,
        by_hand,
        calls: 0.02,
        document: false,
    }
}

pub(super) fn connect<'a>(
    settings: &'a StoreSettings,
    url: &'a str,
    owner: &'a str,
) -> BoxFuture<'a, Result<Box<dyn Writer>, Unread>> {
    async move {
        let variables = [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ACCESS_KEY_ID", "job"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let ambient = Ambient {
            environment: BTreeMap::from(
                variables.map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
            ..Ambient::default()
        };
        let clock = Clock::starting_at(now());
        connect_writer(settings, Identity::Ambient(&ambient), owner, clock).await
    }
    .boxed()
}

fn by_hand<'a>(place: &'a Place, name: &'a str, value: &'a str) -> BoxFuture<'a, ()> {
    async move {
        let moto = Moto::at(REGION);
        let name = place.name(name);
        let list = json!({"Filters": [{"Key": "name", "Values": [name]}]});
        let listed = moto.secrets("ListSecrets", list).await;
        let exists = listed["SecretList"].as_array().is_some_and(|all| !all.is_empty());
        let token = unique("by-hand-0123456789abcdef0123456789");
        let body = json!({"Name": name, "SecretId": name, "SecretString": value, "ClientRequestToken": token});
        let call = if exists { "PutSecretValue" } else { "CreateSecret" };
        moto.secrets(call, body).await;
    }
    .boxed()
}

keeps!(place, "needs moto (tests/cluster/run)":
    every_call_may_fail,
    foreign_change_is_kept_or_overwritten,
    lost_mark_key_makes_no_version,
    orphan_is_deleted_and_can_be_restored,
    own_secret_that_was_deleted_is_restored,
    own_secret_that_was_deleted_is_restored_with_a_new_value,
    repeated_run_makes_no_version,
    second_run_writes_nothing_and_reads_no_value,
    secret_of_another_publisher_is_left_alone,
    secret_that_appears_after_the_plan_is_not_overwritten,
    secret_without_owner_is_adopted_without_a_version,
    two_publishers_do_not_overwrite_each_other,
    value_is_created_and_read_back,
    value_that_returns_is_current_again,
);
