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
        }
    )
)
