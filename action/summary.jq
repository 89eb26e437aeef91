# The report as Markdown, for the step summary. The texts come from the cluster, so no character of them may be Markdown or HTML. At most 200
# items, because a step summary has a limit of 1 MiB.
def plain: tostring | gsub("[\\r\\n\\t]"; " ") | .[0:300] | gsub("&"; "&amp;") | gsub("<"; "&lt;") | gsub(">"; "&gt;")
  | gsub("(?<c>[\\\\`*_{}\\[\\]()#+!|~@:$])"; "\\" + .c);
def row: "| " + (map(. // "" | plain) | join(" | ")) + " |";
def name: [.namespace, .name] | map(select(.)) | join("/");
[.items[] | if .secrets then . as $item | .secrets[] | .namespace = $item.name | .store = {name: $item.target} else . end] as $items
| ($items | map(select(((.outcome // .verdict // "") | IN("synced", "in-sync")) or .reason == "in-sync" | not))) as $shown
| (.summary | [.outcomes, .verdicts] | map(to_entries? // []) | add | map("\(.key | plain): \(.value)") | join(", ")),
  "",
  (if ($shown | length) > 0 then
    "| item | store | verdict | outcome | reason | message |", "|---|---|---|---|---|---|",
    ($shown[:200][] | [name, .store.name, .verdict, .outcome // .action, .reason, .message] | row)
  else "\($items | length) items, and nothing to report about them." end),
  (if ($shown | length) > 200 then "", "… and \(($shown | length) - 200) more: see the report." else empty end)
