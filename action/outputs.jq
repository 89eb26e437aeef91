# The outputs of the Action, one NAME=VALUE on each line. An item is an ExternalSecret, or a secret of `publish`. `events` has a report for each
# round of its syncs; `publish` has its secrets and faults in its items, and the report of the syncs that follow in `sync`.
def failed: .outcome as $it | ["failed", "unproven", "not-reached"] | any(. == $it);
if type == "object" and (.kind | type) == "string" then
  (if .kind == "Events" then [.runs // [] | .[]] else [., (.sync // empty)] end) as $parts
  | [$parts[] | .items // [] | .[] | if .secrets and .target then .secrets[] else . end] as $items
  | [$parts[] | .restarts // [] | .[]] as $workloads
  | [$parts[] | .items // [] | .[] | .faults // [] | .[]] as $faults
  | "items=\($items | length)",
    "synced=\([$items[] | select(.outcome == "synced")] | length)",
    "failed=\(([($items + $workloads)[] | select(failed)] | length) + ($faults | length))",
    "drifted=\([$items[] | select(.verdict != null and .verdict != "in-sync" and .verdict != "unverifiable")] | length)",
    "unverifiable=\([$items[] | select(.verdict == "unverifiable")] | length)",
    "restarted=\([$workloads[] | select(.outcome == "restarted")] | length)",
    "behind=\([$workloads[] | select(.behind)] | length)",
    "summary=\(.summary // {} | tojson)"
else empty end
