"""Prints the results of Google's own client for the Secret Manager at the given address."""

import json
import sys

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.oauth2.credentials import Credentials

rest = SecretManagerServiceClient.get_transport_class("rest")
secrets = SecretManagerServiceClient(transport=rest(host=sys.argv[1], url_scheme="http", credentials=Credentials("token")))
project = "projects/project"


def access(name):
    try:
        payload = secrets.access_secret_version(name=name).payload
    except GoogleAPICallError as error:
        return [type(error).__name__, error.code]
    return [payload.data.decode(), payload.data_crc32c]


def listed(**request):
    return [secret.name for secret in secrets.list_secrets(request={"parent": project, **request})]


def refused(call, **request):
    try:
        call(request=request)
    except GoogleAPICallError as error:
        return [type(error).__name__, error.code]
    return None


def written():
    """The write side: what the double says to each call, without etags."""
    create = {"parent": project, "secret_id": "new", "secret": {"replication": {"automatic": {}}, "annotations": {"owner": "team"}}}
    created = secrets.create_secret(request=create)
    payload = {"data": b"one", "data_crc32c": 0x0F6F2F8B}
    first = secrets.add_secret_version(request={"parent": created.name, "payload": {"data": b"one"}})
    second = secrets.add_secret_version(request={"parent": created.name, "payload": {"data": b"two"}})
    mask = {"paths": ["annotations"]}
    update = {"name": created.name, "etag": created.etag, "annotations": {"owner": "other"}}
    updated = secrets.update_secret(request={"secret": update, "update_mask": mask})
    disabled = secrets.disable_secret_version(request={"name": first.name, "etag": first.etag})
    destroyed = secrets.destroy_secret_version(request={"name": first.name, "etag": disabled.etag})
    result = {
        "created": created.name,
        "twice": refused(secrets.create_secret, **create),
        "without replication": refused(secrets.create_secret, parent=project, secret_id="other", secret={}),
        "wrong checksum": refused(secrets.add_secret_version, parent=created.name, payload=payload),
        "numbers": [version.name.rsplit("/", 1)[1] for version in (first, second)],
        "annotations": dict(updated.annotations),
        "old etag": refused(secrets.update_secret, secret=update, update_mask=mask),
        "old etag of a deletion": refused(secrets.delete_secret, name=created.name, etag=created.etag),
        "states": [disabled.state.name, destroyed.state.name],
        "old etag of a version": refused(secrets.disable_secret_version, name=second.name, etag=first.etag),
    }
    secrets.delete_secret(request={"name": created.name, "etag": updated.etag})
    result["deleted"] = refused(secrets.get_secret, name=created.name)
    return result


db = secrets.get_secret(name=f"{project}/secrets/db")
versions = secrets.list_secret_versions(request={"parent": f"{project}/secrets/db", "filter": "state:ENABLED"})
print(
    json.dumps(
        {
            "latest": access(f"{project}/secrets/db/versions/latest"),
            "first": access(f"{project}/secrets/db/versions/1"),
            "regional": access(f"{project}/locations/europe-west1/secrets/db/versions/latest"),
            "disabled": access(f"{project}/secrets/off/versions/latest"),
            "none": access(f"{project}/secrets/none/versions/latest"),
            "other": access("projects/other/secrets/db/versions/latest"),
            "labels": dict(db.labels),
            "annotations": dict(db.annotations),
            "versions": [version.name.rsplit("/", 1)[1] for version in versions],
            "all": listed(),
            "labelled": listed(filter="labels.tier=1"),
            "written": written(),
        }
    )
)
