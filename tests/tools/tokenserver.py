#!/usr/bin/env python3
"""A token server for docker-registry's "auth: token", as small as it can be.

Signs RS256 JWTs with openssl(1) and names its own certificate in the x5c header; the registry trusts that certificate
as rootcertbundle. Answers GET /token?service=...&scope=... with Basic credentials, or without any for pull when
anonymous is allowed; POST with grant_type=refresh_token for the refresh token it knows. Counts what it was asked.

usage: tokenserver.py DIR USER PASSWORD [--port N] [--lifetime SECONDS] [--anonymous]
Prints "ready PORT" and serves until it is ended.
"""
import argparse
import base64
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse

ISSUER = "morsel-test-issuer"
SERVICE = "morsel-test-registry"


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    def __init__(self, directory, user, password, port=0, lifetime=300, anonymous=False, refresh=None):
        self.key, self.cert = f"{directory}/token.key", f"{directory}/token.crt"
        self.basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.lifetime, self.anonymous, self.refresh = lifetime, anonymous, refresh
        self.asked = []  # (method, scope, how): how is "basic", "anonymous", "refresh" or "refused"
        os.makedirs(directory, exist_ok=True)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=morsel test tokens", "-keyout", self.key, "-out", self.cert], check=True,
                       stderr=subprocess.DEVNULL)
        der = subprocess.run(["openssl", "x509", "-in", self.cert, "-outform", "DER"], check=True,
                             capture_output=True).stdout
        self.header = b64url(json.dumps({"typ": "JWT", "alg": "RS256",
                                         "x5c": [base64.b64encode(der).decode()]}).encode())
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        self.port = self.server.server_address[1]
        self.realm = f"http://127.0.0.1:{self.port}/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def sign(self, claims):
        body = self.header + "." + b64url(json.dumps(claims).encode())
        sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=body.encode(), check=True,
                             capture_output=True).stdout
        return body + "." + b64url(sig)

    def token(self, scopes, pull_only=False):
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            wanted = [a for a in actions.split(",") if a == "pull" or not pull_only]
            access.append({"type": kind, "name": name, "actions": wanted})
        return self.sign({"iss": ISSUER, "sub": "", "aud": SERVICE, "exp": now + self.lifetime, "nbf": now - 60,
                          "iat": now, "jti": os.urandom(8).hex(), "access": access})

    def answer(self, method, query, authorization):
        """(status, JSON object)"""
        scopes = [s for value in query.get("scope", []) for s in value.split()]
        if authorization == self.basic:
            how = "basic"
        elif method == "POST" and self.refresh and query.get("refresh_token") == [self.refresh]:
            how = "refresh"
        elif self.anonymous and method == "GET" and not authorization:
            how = "anonymous"
        else:
            how = "refused"
        self.asked.append((method, " ".join(scopes), how))
        if how == "refused":
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]}
        text = self.token(scopes, pull_only=how == "anonymous")
        return 200, {"token": text, "access_token": text, "expires_in": self.lifetime}

    def handler(self):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, query):
                status, obj = owner.answer(self.command, query, self.headers.get("Authorization"))
                body = json.dumps(obj).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.reply(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query))

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.reply(urllib.parse.parse_qs(body.decode()))

        return Handler


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("user")
    p.add_argument("password")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--lifetime", type=int, default=300)
    p.add_argument("--anonymous", action="store_true")
    a = p.parse_args()
    s = TokenServer(a.dir, a.user, a.password, a.port, a.lifetime, a.anonymous)
    print(f"ready {s.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
