//! What to do about the words of `publish`, `events`, `advise` and `history`.

use publish::Reason;

const NOTHING: &str = "nothing";
const AGAIN: &str = "nothing: the queue delivers the message again. If it repeats, give the run more time: `deadline`, `events.listen`";

/// The advice for a word of this kind.
pub(super) fn of(what: &str, word: &str) -> Option<&'static str> {
    Some(match what {
        "reason of `publish`" | "why `publish` must not write a secret" => published(word),
        "outcome of `publish`" => match word {
            "left" | "failed" | "unknown" => {
                "the reason or the message beside it says why: `eso-sync explain` that word"
            }
            "unproven" => "`eso-sync publish status --verify` reads the value again",
            "raced" => {
                "nothing: the next run plans again. If it repeats, two jobs publish the same secret: give them other names, or stop one"
            }
            _ => NOTHING,
        },
        "end of the work for the key of an event" => ended(word),
        "reason of an event without effect" => NOTHING,
        "reason of an event with a warning" => match word {
            "near-expiry" => "renew it at the provider before it ends",
            _ => "look at the rotation at the provider: its log says why it ended",
        },
        "reason of an event that is not understood" => {
            "look at the message in the poison queue, or in the queue's own tools: something other than a known source writes to this queue"
        }
        "reason why nothing is received from a queue" => {
            "use a queue of this cluster's own, with its owner tag `eso-sync-cluster` (in Azure, the metadata `eso_sync_cluster`): the uid of \
             the namespace kube-system"
        }
        "verdict of `advise`" | "reason of `advise`" | "warning of `advise`" => advised(word),
        "rotation of a key in `advise`" => match word {
            "unknown" => {
                "the message says why. `eso-sync rbac --for aws`, `azure` or `gcp` prints the rights that `--rotation` needs"
            }
            _ => NOTHING,
        },
        "trend of `history`" => match word {
            "worse" => "`eso-sync history` lists what needs attention, and since when",
            "unknown" => "nothing: wait for the next run",
            _ => NOTHING,
        },
        _ => return None,
    })
}

fn published(word: &str) -> &'static str {
    Reason::advice_of(word).unwrap_or(match word {
        "collision" | "encrypted" | "empty-value" => {
            "the message beside it names the file and the key: correct them in the repository"
        }
        "source-incomplete" => "correct what the report says about the source, then run again",
        "unverifiable" => "the word beside it says why: `eso-sync explain` that word",
        "write-when-absent" => {
            "nothing. `write.when: changed` would write the values that differ, too"
        }
        "read-recently" | "prune-later" => "nothing: a later run deletes it",
        _ => NOTHING,
    })
}

fn ended(word: &str) -> &'static str {
    match word {
        "outside-selection" => "select them in the policy, if this job is to sync them",
        "gone" => {
            "restore the key at the provider, or remove it from the ExternalSecrets that use it: `eso-sync impact KEY` names them"
        }
        "warning" => "look at the key at the provider: its rotation failed, or it ends soon",
        "failed" | "skipped" | "unverifiable" => {
            "the reason beside each ExternalSecret says why: `eso-sync explain` that reason"
        }
        "unproven" | "not-reached" | "not-yet-visible" => AGAIN,
        "limit-exceeded" => {
            "find out why so much changed, then raise `safety.maxSyncs` (`--max-syncs`). The queue delivers the message again"
        }
        "scope-incomplete" => {
            "give the job the right that the report names: `eso-sync rbac` prints all of them"
        }
        _ => NOTHING,
    }
}

fn advised(word: &str) -> &'static str {
    match word {
        "good" => NOTHING,
        "interval-zero" | "created-once" => {
            "set a `refreshInterval` and a `refreshPolicy` that refreshes, if the value at the provider can change"
        }
        "unknown" | "store-unknown" => {
            "let the job read the store (`eso-sync rbac`), or set `advise.prices` for its provider"
        }
        "price-unknown" => "set `advise.prices` for the provider",
        "quota-share" | "operator-load" | "budget" | "limit-not-met" => {
            "use longer intervals (`eso-sync advise --patch`), or raise the limit: `advise.quotas`, `advise.operatorWorkers`, `advise.budget`"
        }
        "herd" => {
            "give some of them another interval, so that they are not refreshed at the same time"
        }
        "search-at-short-interval" => {
            "name the keys instead of searching, or search less often: each refresh lists and reads all that is found"
        }
        "rotation-outruns-refreshes" => {
            "let rotation events trigger the syncs (`eso-sync events`), or run `eso-sync sync NAME` at the end of the rotation. Rotations that alternate between two users leave time: `--rotation=two-users`"
        }
        "key-read-by-many" => {
            "read it once, and copy the Secret: with a ClusterExternalSecret, or a store of the provider `kubernetes`"
        }
        _ => {
            "use the suggested interval: `eso-sync advise --patch` prints a kustomize patch with all of them"
        }
    }
}
