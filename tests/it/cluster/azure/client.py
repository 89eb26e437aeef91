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
        }
    )
)
