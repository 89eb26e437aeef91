//! The stores whose changes arrive as events. Pure.

use eso_model::{ProviderKind, remote::Realm};
use providers::queue::address::Address;

use crate::inventory::Store;

/// True if a queue of the policy is for this store's cloud, and for its region and account where they are known. The policy says that
/// events arrive; nobody remembers if they did.
pub(super) fn covers(queues: &[Address], store: &Store) -> bool {
    let mut queues = queues.iter();
    queues.any(|queue| match queue {
        Address::Sqs {
            region, account, ..
        } => {
            let is_of_aws = matches!(
                store.provider,
                ProviderKind::SecretsManager | ProviderKind::ParameterStore
            );
            let of = Realm {
                region: Some(region.clone()),
                account: Some(account.clone()),
                host: None,
            };
            is_of_aws && store.place.realm.may_be(&of)
        }
        Address::AzureQueue { .. } => store.provider == ProviderKind::AzureKeyVault,
        Address::PubSub { project, .. } => {
            let of = Realm {
                account: Some(project.clone()),
                ..Realm::default()
            };
            store.provider == ProviderKind::GcpSecretManager && store.place.realm.may_be(&of)
        }
    })
}
