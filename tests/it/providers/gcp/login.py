"""Prints the tokens that Google's own client gets: for the key in a file, for a user's login, and for the machine."""

import json
import sys

from google.auth.compute_engine import Credentials as OfMachine
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials as OfUser
from google.oauth2.service_account import Credentials as OfKey

file, address = sys.argv[1:]
scopes = ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"]


def token(credentials):
    credentials.refresh(Request())
    assert not credentials.expired
    return credentials.token


print(
    json.dumps(
        [
            token(OfKey.from_service_account_file(file, scopes=scopes)),
            token(OfUser(None, refresh_token="refresh", token_uri=address, client_id="gcloud", client_secret="s")),
            token(OfMachine(scopes=scopes)),
        ]
    )
)
