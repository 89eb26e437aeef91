"""Prints what Azure's own clients read from the vault at kv.vault.azure.net. They reach the double through HTTPS_PROXY and trust
it through REQUESTS_CA_BUNDLE."""

import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientAssertionCredential, ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

tenant, client = sys.argv[1:]


def vault(credential):
    return SecretClient("https://kv.vault.azure.net", credential)


def refused(call):
    try:
        call()
    except HttpResponseError as error:
        code = error.error and (error.error.innererror or {}).get("code", error.error.code)
        return [type(error).__name__, error.status_code, code]
    return None


def written(secret):
    """What a write tells about a secret."""
    of = secret.properties
    return [of.version, of.tags, of.content_type, of.enabled]


def ended(poller):
    """The result of an operation, after the client has seen its end."""
    poller.wait()
    return poller.result()


def writes(secrets):
    """Writes secrets as eso-sync does it: versions with tags, tags of a version, deletion, and restoring."""
    tags = {"eso-sync-owner": "prod/item"}
    first = secrets.set_secret("New", "a", tags=tags, content_type="text/plain")
    second = secrets.set_secret("new", "b")
    tagged = secrets.update_secret_properties("new", first.properties.version, tags={"team": "x"})
    versions = list(secrets.list_properties_of_secret_versions("new"))
    deleted = ended(secrets.begin_delete_secret("new"))
    return {
        "first": written(first),
        "second": written(second),
        "tagged": [tagged.version, tagged.tags, tagged.content_type],
        "versions": sorted([of.version, of.tags, of.enabled] for of in versions),
        "deleted": [deleted.properties.version, deleted.scheduled_purge_date is not None],
        "gone": refused(lambda: secrets.get_secret("new")),
        "reserved": refused(lambda: secrets.set_secret("new", "c")),
        "purge": refused(lambda: secrets.purge_deleted_secret("new")),
        "recovered": ended(secrets.begin_recover_deleted_secret("new")).version,
        "current": secrets.get_secret("NEW").value,
        "too-long": refused(lambda: secrets.set_secret("new", "x" * 25601)),
        "too-many-tags": refused(lambda: secrets.set_secret("new", "x", tags={str(n): "x" for n in range(16)})),
        "certificate": [of.managed for of in secrets.list_properties_of_secrets() if of.name == "certificate"],
    }


secrets = vault(ClientSecretCredential(tenant, client, "s3cret"))
db = secrets.get_secret("db")
versions = [version.version for version in secrets.list_properties_of_secret_versions("db")]
print(
    json.dumps(
        {
            "value": db.value,
            "tags": db.properties.tags,
            "first": secrets.get_secret("db", versions[0]).value,
            "list": [[secret.name, secret.enabled] for secret in secrets.list_properties_of_secrets()],
            "off": refused(lambda: secrets.get_secret("off")),
            "doomed": refused(lambda: secrets.get_secret("doomed")),
            "none": refused(lambda: secrets.get_secret("none")),
            "recovery": secrets.get_deleted_secret("doomed").recovery_id,
            "wrong": refused(lambda: vault(ClientSecretCredential(tenant, client, "wrong")).get_secret("db"))[0],
            "assertion": vault(ClientAssertionCredential(tenant, client, lambda: "a.b.c")).get_secret("db").value,
            "managed": vault(ManagedIdentityCredential()).get_secret("db").value,
            "writes": writes(secrets),
        }
    )
)
