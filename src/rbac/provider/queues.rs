//! The rights on queues with rotation events, and the commands that make this cluster their owner. With a policy they are for its own
//! queues.

use eso_model::remote::partition;
use providers::queue::address::Address;
use serde_json::{Value, json};

use super::{Side, statement};
use crate::foreign::shell_word;

/// What `events` does with a queue. Removing a message is the acknowledgement.
const SQS: [&str; 5] = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "sqs:ListQueueTags",
];

/// The UID of this cluster, within a word in double quotes.
const UID: &str = "$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}')";

/// The statements of the IAM policy. Without a policy they are for all queues with a name as in the documentation. There are none for
/// a policy without an SQS queue.
pub(super) fn statements(queues: Option<&[Address]>) -> Vec<Value> {
    let (queues, dead) = match queues {
        None => (
            json!("arn:aws:sqs:*:*:eso-sync-*"),
            json!("arn:aws:sqs:*:*:eso-sync-*-dead"),
        ),
        Some(queues) => {
            let arns: Vec<String> = queues.iter().filter_map(arn).collect();
            let dead: Vec<String> = arns.iter().map(|arn| dead_letters(arn)).collect();
            if arns.is_empty() {
                return Vec::new();
            }
            (json!(arns), json!(dead))
        }
    };
    let dead_letters = ["sqs:GetQueueAttributes"];
    vec![
        statement("OnlyForEvents", &SQS, queues),
        statement("OnlyForDeadLettersOfEvents", &dead_letters, dead),
    ]
}

fn arn(queue: &Address) -> Option<String> {
    match queue {
        Address::Sqs {
            region,
            account,
            name,
            ..
        } => {
            let partition = partition(region);
            Some(format!("arn:{partition}:sqs:{region}:{account}:{name}"))
        }
        Address::AzureQueue { .. } | Address::PubSub { .. } => None,
    }
}

/// The ARN of its dead-letter queue, if that is named as in the documentation. The policy does not name it.
fn dead_letters(arn: &str) -> String {
    match arn.strip_suffix(".fifo") {
        Some(bare) => format!("{bare}-dead.fifo"),
        None => format!("{arn}-dead"),
    }
}

/// What the printed rights cannot say, because JSON has no comments.
pub fn hints(side: Side, queues: &[Address]) -> Vec<String> {
    match side {
        Side::Aws => {}
        // Their rights are commands, and so is the owner.
        Side::Azure | Side::Gcp | Side::Vault => return Vec::new(),
    }
    let owners = queues.iter().filter_map(|queue| match queue {
        Address::Sqs { url, region, .. } => Some(format!(
            "to make this cluster the owner of the queue: aws sqs tag-queue --region {} --queue-url {} --tags \"eso-sync-cluster={UID}\"",
            shell_word(region),
            shell_word(url)
        )),
        Address::AzureQueue { .. } | Address::PubSub { .. } => None,
    });
    let mut hints: Vec<String> = owners.collect();
    if !hints.is_empty() {
        hints.push("change OnlyForDeadLettersOfEvents if the dead-letter queue has another name than its queue with `-dead`".to_owned());
    }
    hints
}

/// The commands for queues of Azure Storage.
pub(super) fn azure(queues: Option<&[Address]>) -> String {
    let Some(queues) = queues else {
        return AZURE.to_owned();
    };
    let commands = queues.iter().filter_map(|queue| match queue {
        Address::AzureQueue {
            account,
            name,
            poison,
            ..
        } => Some(azure_queue(queue, account, name, poison.as_deref())),
        Address::Sqs { .. } | Address::PubSub { .. } => None,
    });
    commands.collect()
}

fn azure_queue(queue: &Address, account: &str, name: &str, poison: Option<&str>) -> String {
    let (account, name) = (shell_word(account), shell_word(name));
    let grant = |role: &str, queue: &str| {
        format!(
            "az role assignment create --role \"{role}\" --assignee \"$PRINCIPAL_ID\" --scope \"$QUEUES\"/{queue}\n"
        )
    };
    let of_poison = poison.map_or_else(String::new, |poison| {
        let poison = shell_word(poison);
        [
            "Storage Queue Data Message Sender",
            "Storage Queue Data Reader",
        ]
        .map(|role| grant(role, &poison))
        .concat()
    });
    format!(
        "\n# Only needed for `events`: {queue}
QUEUES=\"$(az storage account show --name {account} --query id --output tsv)/queueServices/default/queues\"
{}{of_poison}
# The owner of this queue: this cluster.
az storage queue metadata update --auth-mode login --account-name {account} --name {name} --metadata \"eso_sync_cluster={UID}\"
",
        grant("Storage Queue Data Contributor", &name)
    )
}

/// The commands for subscriptions of Pub/Sub.
pub(super) fn gcp(queues: Option<&[Address]>) -> String {
    let Some(queues) = queues else {
        return subscription("each subscription", "\"$SUBSCRIPTION\"", "the subscription");
    };
    let commands = queues.iter().filter_map(|queue| match queue {
        Address::PubSub {
            project,
            subscription: name,
        } => {
            let words = format!("{} --project {}", shell_word(name), shell_word(project));
            Some(subscription(
                &queue.to_string(),
                &words,
                "this subscription",
            ))
        }
        Address::Sqs { .. } | Address::AzureQueue { .. } => None,
    });
    commands.collect()
}

fn subscription(which: &str, words: &str, owned: &str) -> String {
    let grant = |role: &str| {
        format!(
            "gcloud pubsub subscriptions add-iam-policy-binding {words} --member \"$MEMBER\" --role {role}\n"
        )
    };
    format!(
        "\n# Only needed for `events`, for {which}:
{}{}
# The owner of {owned}: this cluster.
gcloud pubsub subscriptions update {words} --update-labels \"eso-sync-cluster={UID}\"
",
        grant("roles/pubsub.subscriber"),
        grant("roles/pubsub.viewer")
    )
}

const AZURE: &str = r#"
# Only needed for `events`, for each queue, and for its poison queue:
QUEUES="/subscriptions/$SUBSCRIPTION/resourceGroups/$GROUP/providers/Microsoft.Storage/storageAccounts/$ACCOUNT/queueServices/default/queues"
az role assignment create --role "Storage Queue Data Contributor" --assignee "$PRINCIPAL_ID" --scope "$QUEUES/$QUEUE"
az role assignment create --role "Storage Queue Data Message Sender" --assignee "$PRINCIPAL_ID" --scope "$QUEUES/$POISON_QUEUE"
az role assignment create --role "Storage Queue Data Reader" --assignee "$PRINCIPAL_ID" --scope "$QUEUES/$POISON_QUEUE"

# The owner of the queue: this cluster.
az storage queue metadata update --auth-mode login --account-name "$ACCOUNT" --name "$QUEUE" --metadata "eso_sync_cluster=$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}')"
"#;

#[cfg(test)]
mod tests {
    use super::{super::rights, *};

    fn queues() -> Vec<Address> {
        let azure: Address = "https://shop.queue.core.windows.net/events-shop"
            .parse()
            .unwrap();
        let all = [
            "https://sqs.eu-west-1.amazonaws.com/123456789012/rotations",
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/rotations.fifo",
            "projects/shop/subscriptions/rotations",
            "https://bank.queue.core.windows.net/events-bank",
        ];
        let mut all: Vec<Address> = all.into_iter().map(|one| one.parse().unwrap()).collect();
        all.push(azure.with_poison("events-poison").unwrap());
        all
    }

    #[test]
    fn statements_name_the_queues_of_the_policy() {
        let statements = statements(Some(&queues()));
        let resources = |at: usize| serde_json::to_string(&statements[at]["Resource"]).unwrap();
        assert_eq!(
            resources(0),
            r#"["arn:aws:sqs:eu-west-1:123456789012:rotations","arn:aws-cn:sqs:cn-north-1:123456789012:rotations.fifo"]"#
        );
        assert_eq!(
            resources(1),
            r#"["arn:aws:sqs:eu-west-1:123456789012:rotations-dead","arn:aws-cn:sqs:cn-north-1:123456789012:rotations-dead.fifo"]"#
        );
        let hints = hints(Side::Aws, &queues());
        assert_eq!(
            hints[0],
            "to make this cluster the owner of the queue: aws sqs tag-queue --region eu-west-1 --queue-url https://sqs.eu-west-1.amazonaws.com/123456789012/rotations --tags \"eso-sync-cluster=$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}')\""
        );
        assert_eq!(hints.len(), 3);
    }

    #[test]
    fn commands_name_the_queues_of_the_policy() {
        let of_queues = |side| {
            let text = rights(side, Some(&queues()));
            let start = text.find("# Only needed for `events`").unwrap();
            text[start..].to_owned()
        };
        insta::assert_snapshot!(of_queues(Side::Azure), @r#"
        # Only needed for `events`: https://bank.queue.core.windows.net/events-bank
        QUEUES="$(az storage account show --name bank --query id --output tsv)/queueServices/default/queues"
        az role assignment create --role "Storage Queue Data Contributor" --assignee "$PRINCIPAL_ID" --scope "$QUEUES"/events-bank

        # The owner of this queue: this cluster.
        az storage queue metadata update --auth-mode login --account-name bank --name events-bank --metadata "eso_sync_cluster=$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}')"

        # Only needed for `events`: https://shop.queue.core.windows.net/events-shop
        QUEUES="$(az storage account show --name shop --query id --output tsv)/queueServices/default/queues"
        az role assignment create --role "Storage Queue Data Contributor" --assignee "$PRINCIPAL_ID" --scope "$QUEUES"/events-shop
        az role assignment create --role "Storage Queue Data Message Sender" --assignee "$PRINCIPAL_ID" --scope "$QUEUES"/events-poison
        az role assignment create --role "Storage Queue Data Reader" --assignee "$PRINCIPAL_ID" --scope "$QUEUES"/events-poison

        # The owner of this queue: this cluster.
        az storage queue metadata update --auth-mode login --account-name shop --name events-shop --metadata "eso_sync_cluster=$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}')"
        "#);
        insta::assert_snapshot!(of_queues(Side::Gcp), @r#"
        # Only needed for `events`, for projects/shop/subscriptions/rotations:
        gcloud pubsub subscriptions add-iam-policy-binding rotations --project shop --member "$MEMBER" --role roles/pubsub.subscriber
        gcloud pubsub subscriptions add-iam-policy-binding rotations --project shop --member "$MEMBER" --role roles/pubsub.viewer

        # The owner of this subscription: this cluster.
        gcloud pubsub subscriptions update rotations --project shop --update-labels "eso-sync-cluster=$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}')"
        "#);
    }

    #[test]
    fn policy_without_queues_of_a_cloud_needs_no_rights_for_events() {
        for side in [Side::Aws, Side::Azure, Side::Gcp, Side::Vault] {
            let text = rights(side, Some(&[]));
            assert!(!text.contains("vents"), "{side:?}: {text}");
            assert!(hints(side, &[]).is_empty());
        }
    }
}
