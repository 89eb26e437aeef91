#!/usr/bin/env python3
"""Compares what the chart renders with what kustomize renders. Exits with 1 if they differ in anything but the differences below.

usage: compare.py CHART.yaml KUSTOMIZE.yaml
"""

import copy
import difflib
import re
import sys

import yaml

# Labels that only Helm sets.
HELM_LABELS = {
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}


def main(chart, kustomize):
    ours, theirs = read(chart), read(kustomize)
    # Helm creates the namespace itself (--create-namespace).
    assert theirs.pop(("Namespace", "", "eso-sync"))
    compare_publisher_rights(ours, theirs)
    compare_accounts(ours, theirs)
    assert len(ours) > 10, sorted(ours)
    texts = [yaml.safe_dump(list(map(list, sorted(objects.items()))), width=1000).splitlines() for objects in (theirs, ours)]
    difference = list(difflib.unified_diff(*texts, "kustomize", "chart", lineterm="", n=8))
    print("\n".join(difference))
    return 1 if difference else 0


def read(path):
    with open(path, encoding="utf-8") as file:
        objects = [without_labels(it) for it in yaml.safe_load_all(file) if it]
    # The names of the ConfigMaps end with a hash. Each tool makes its own.
    text = yaml.safe_dump_all(objects, width=1000)
    objects = list(yaml.safe_load_all(re.sub(r"(eso-sync(-publish|-events)?-policy)-[a-z0-9]{10}\b", r"\1", text)))
    for it in objects:
        if "rules" in it:
            it["rules"] = single_rights(it["rules"])
    named = {key(it): it for it in objects}
    assert len(named) == len(objects), "two objects have the same name"
    return named


def key(it):
    # This version of kustomize does not know that admission policies have no namespace. The API server ignores it.
    if it["kind"].startswith("ValidatingAdmissionPolicy"):
        it["metadata"].pop("namespace", None)
    return it["kind"], it["metadata"].get("namespace", ""), it["metadata"]["name"]


def single_rights(rules):
    """Each right on its own: one rule may name several objects and verbs."""
    return sorted(
        [group, resource, name, verb]
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    )


def without_labels(it):
    """Removes the labels of Helm."""
    if isinstance(it, list):
        return [without_labels(part) for part in it]
    if not isinstance(it, dict):
        return it
    result = {name: without_labels(part) for name, part in it.items()}
    if isinstance(result.get("labels"), dict):
        result["labels"] = {name: text for name, text in result["labels"].items() if name not in HELM_LABELS}
    return result


def compare_publisher_rights(ours, theirs):
    """kustomize would move a Role to the namespace of the job, so the component grants the GitRepository in a ClusterRole."""
    name = "eso-sync-publish"
    source = ours.pop(("Role", "flux-system", name))["rules"]
    assert ours.pop(("RoleBinding", "flux-system", name))["subjects"][0]["namespace"] == "eso-sync"
    rules = theirs[("ClusterRole", "", name)]["rules"]
    assert all(right in rules for right in source), (source, rules)
    theirs[("ClusterRole", "", name)]["rules"] = [right for right in rules if right not in source]


def compare_accounts(ours, theirs):
    """The chart knows the namespace and the names of its accounts, so its admission policy names them."""
    place = ("ValidatingAdmissionPolicy", "", "eso-sync")
    conditions = [copy.deepcopy(them[place]["spec"].pop("matchConditions")) for them in (ours, theirs)]
    accounts = [f"system:serviceaccount:eso-sync:{name}" for name in ("eso-sync-events", "eso-sync-publish", "eso-sync")]
    expected = "request.userInfo.username in [" + ",".join(f'"{account}"' for account in accounts) + "]"
    assert conditions[0] == [{"name": "account", "expression": expected}], conditions[0]
    pattern = re.search(r"matches\('(.*)'\)", conditions[1][0]["expression"])[1]
    # With `then.sync`, the publisher syncs and restarts, too.
    assert all(re.match(pattern, account) for account in accounts), pattern


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
