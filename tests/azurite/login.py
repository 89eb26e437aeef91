"""Entra's token endpoint over TLS, for Azurite, which does not verify signatures.

usage: login.py CERTIFICATE KEY FILE     writes HOST:PORT to FILE
"""

import base64
import http.server
import json
import os
import ssl
import sys
import time

CERTIFICATE, KEY, PLACE = sys.argv[1:]


def part(of):
    return base64.urlsafe_b64encode(json.dumps(of).encode()).rstrip(b"=").decode()


def token():
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
    }
    return ".".join([part({"alg": "RS256", "typ": "JWT"}), part(claims), "c2lnbmF0dXJl"])


class Login(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"token_type": "Bearer", "expires_in": 3600, "access_token": token()}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Login)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(PLACE + ".new", "w") as file:
    print("127.0.0.1:%d" % server.server_address[1], file=file)
os.rename(PLACE + ".new", PLACE)
server.serve_forever()
