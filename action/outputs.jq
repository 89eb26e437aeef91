# The outputs of the Action, one NAME=VALUE on each line. `publish` has secrets in its items.
def items: [.items[] | if .secrets then .secrets[] else . end];
def count(f): [items[] | select(f)] | length;
if type == "object" and (.items | type) == "array" then
  "items=\(items | length)",
  "synced=\(count(.outcome == "synced"))",
  "failed=\(count(.outcome as $it | ["failed", "unproven", "not-reached"] | index($it)))",
  "drifted=\(count(.verdict != null and .verdict != "in-sync" and .verdict != "unverifiable"))",
  "unverifiable=\(count(.verdict == "unverifiable"))",
  "summary=\(.summary // {} | tojson)"
else empty end
