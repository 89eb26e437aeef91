//! What to do about words that have no next step in a report, because there they follow from the reason beside them or need nothing.

mod documents;

/// The advice for a word of this kind.
pub(super) fn of(what: &str, word: &str) -> Option<&'static str> {
    match what {
        "verdict" => verdict(word),
        "outcome" => outcome(word),
        "outcome of a workload" => workload(word),
        "state" => state(word),
        "exit code" => exit(word),
        "reason" => sync_reason(word).or_else(|| restart_reason(word)),
        _ => documents::of(what, word),
    }
}

fn verdict(word: &str) -> Option<&'static str> {
    Some(match word {
        "in-sync" => "nothing",
        "stale" => {
            "`eso-sync sync NAME` takes the new data now. The operator takes it at its next refresh; `eso-sync advise` says whether \
             `refreshInterval` fits"
        }
        "tampered" => {
            "find out who edited the Secret: `kubectl get secret NAME -o yaml --show-managed-fields`. `eso-sync sync NAME` writes the \
             operator's data again, and the edit is lost"
        }
        "partial" => {
            "`eso-sync diagnose NAME` names the keys. `eso-sync sync NAME` writes them again; if they are still missing, somebody else owns \
             a part of the Secret"
        }
        "missing" => {
            "`eso-sync sync NAME` creates the Secret, unless `creationPolicy` is `Merge` or `None`: then somebody else has to create it"
        }
        "unverifiable" => {
            "the word beside it says why: `eso-sync explain` that word. Unknown is never taken for good"
        }
        _ => return None,
    })
}

fn outcome(word: &str) -> Option<&'static str> {
    Some(match word {
        "synced" => "nothing",
        "unproven" => {
            "run again with a longer `--timeout` or deadline. Until it is proven, the Secret may have the old data"
        }
        "failed" => {
            "the reason beside it says why: `eso-sync explain` that reason, or `eso-sync diagnose NAME`"
        }
        "skipped" => "the reason beside it says why. A skipped ExternalSecret was not touched",
        "not-reached" => {
            "nothing was done to it: run again, with a longer `deadline` if the time was too short"
        }
        _ => return None,
    })
}

fn workload(word: &str) -> Option<&'static str> {
    Some(match word {
        "restarted" | "adopted" | "renewed" => "nothing",
        "unproven" => {
            "look at its pods: `kubectl rollout status`. The next run checks them again and does not restart it a second time"
        }
        "left" => "the reason beside it says why. If it is `behind`, its pods still have old data",
        "failed" => {
            "look at its pods and events; a later run restarts nothing else of its rule and namespace until it is healthy"
        }
        "not-reached" => "nothing was done to it: the next run does the pending restart",
        _ => return None,
    })
}

fn state(word: &str) -> Option<&'static str> {
    Some(match word {
        "ready" => "nothing",
        "failed" => {
            "`eso-sync diagnose NAME` says why its last sync failed; `eso-sync sync --failed` tries all of them again"
        }
        "never-synced" => {
            "`eso-sync diagnose NAME` says why: often its store is not ready, or the operator does not run"
        }
        "overdue" => {
            "`eso-sync sync NAME`. If many are overdue, look at the operator: it may be too slow or not running"
        }
        _ => return None,
    })
}

fn exit(word: &str) -> Option<&'static str> {
    Some(match word {
        "0" => "nothing",
        "1" => {
            "look at what differs, then `eso-sync sync` or `eso-sync run`. Only commands that compare end with it: `drift`, `diagnose`, `publish status`, and with `--exit-code` `plan` and `publish --dry-run`"
        }
        "2" => {
            "correct the flag or the policy that the error names. `eso-sync validate` checks a policy without a cluster"
        }
        "3" => {
            "look at the rows that failed or are unknown: each has a reason, and `eso-sync explain REASON` says what to do"
        }
        "4" => {
            "check the kubeconfig or the ServiceAccount. `eso-sync rbac` prints the rights that are needed"
        }
        "5" => {
            "look at the plan: is the number right? Then raise the limit that the message names, for this run by its flag"
        }
        "6" => {
            "wait for the other run, or use `--wait-lock`. A Lease whose run has died is taken over after its duration"
        }
        "7" => {
            "run again, with a longer `deadline` if it ended the run. What was started is in the report"
        }
        _ => return None,
    })
}

/// Reasons beside an ExternalSecret.
fn sync_reason(word: &str) -> Option<&'static str> {
    Some(match word {
        "selected" | "never-synced" | "overdue" | "stale" | "tampered" | "partial" | "missing"
        | "published" => "nothing: it is the reason for the sync",
        "last-sync-failed" => {
            "`eso-sync diagnose NAME` shows the operator's error; the sync only tries again"
        }
        "ignored" => "remove the annotation `eso-sync/ignore` if it is to be synced again",
        "excluded" => "change `exclude` in the policy if it is to be synced",
        "not-due" => {
            "nothing. `sync.when` decides which states are synced; `eso-sync sync NAME` syncs it now"
        }
        "refresh-created-once" => {
            "use another `refreshPolicy`, or delete the Secret: then the operator creates it with the current data"
        }
        "refresh-interval-zero" => {
            "give it a `refreshInterval`, for example 24h: then a force-sync works, too"
        }
        "no-source" => {
            "give it a `secretStoreRef` or a generator: the operator cannot sync it either"
        }
        "foreign-class" => {
            "another controller syncs it: use that controller's own means, or change `spec.controller` of the store"
        }
        "generator" => "allow it with `sync.generators`, if a new credential may be created",
        "being-deleted" | "deleted" => "nothing",
        "replaced" => "run again: the new object was not planned for",
        _ => return None,
    })
}

/// Reasons beside a workload.
fn restart_reason(word: &str) -> Option<&'static str> {
    Some(match word {
        "data-changed" | "data-may-change" | "always" => {
            "nothing: it is the reason for the restart"
        }
        "in-sync" | "current" | "adopted" | "stamp-copied" | "secret-added" | "pods-are-newer" => {
            "nothing"
        }
        "pods-unproven" => {
            "`kubectl rollout restart`, or `eso-sync sync NAME --restart` for a Secret that it uses: then its data is known"
        }
        "no-reference" => {
            "nothing. If it reads the Secret by another way, use a rule with `match: labels`"
        }
        "handled-by-reloader" | "handled-by-wave" => {
            "nothing here: look at that tool's log if the pods still have old data"
        }
        "paused" => "resume its rollout: `kubectl rollout resume`",
        "scaled-to-zero" => "nothing: new pods start with the current data",
        "on-delete" => "delete its pods, or use `strategy: evict` in the rule",
        _ => return None,
    })
}
