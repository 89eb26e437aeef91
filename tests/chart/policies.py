"""Fails unless each CronJob of a rendered kustomization finds the ConfigMap with its policy, and the rights of its ServiceAccount.

usage: policies.py FILE [TEXT]    with TEXT each policy must have this text, and the rights must be gone, but those of `eso-sync-events`, which are others
"""

import sys

import yaml

EXPECTED = {"eso-sync", "eso-sync-events", "eso-sync-publish"}


def main(path, text=None):
    with open(path, encoding="utf-8") as file:
        objects = [one for one in yaml.safe_load_all(file) if one]
    place = lambda one: (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
    by_place = {place(one): one for one in objects}
    jobs = [one for one in objects if one["kind"] == "CronJob"]
    assert {job["metadata"]["name"] for job in jobs} == EXPECTED, jobs
    for job in jobs:
        namespace = job["metadata"]["namespace"]
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        for volume in pod["volumes"]:
            if name := volume.get("configMap", {}).get("name"):
                assert ("ConfigMap", namespace, name) in by_place, (job["metadata"]["name"], name, sorted(by_place))
                policy = by_place[("ConfigMap", namespace, name)]["data"]["config.yaml"]
                if text is not None:
                    assert policy.strip() == text, policy
        account = pod["serviceAccountName"]
        assert ("ServiceAccount", namespace, account) in by_place, account
        has_rights = any(kind in ("RoleBinding", "ClusterRoleBinding") and name == account for kind, _, name in by_place)
        # The layers remove the rights of the base and its components. In place of one of them, the test has others.
        is_removed = text is not None and account != "eso-sync-events"
        assert has_rights != is_removed, (account, has_rights)


if __name__ == "__main__":
    main(*sys.argv[1:])
