"""Where credentials come from: docker's and podman's files, helpers, tokens, the environment. -v names the place that
won and never the secret; a refusal names the places that were looked at."""
import base64
import json
import os

import samples
import tokenserver
from faults import FaultRegistry
from morseltest import SECRET, USER
from registries import Registry

AUTH = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()


def locked(t, **kw):
    """A docker-registry that wants the password, with a small image."""
    r = Registry(t, auth="htpasswd", **kw)
    r.push(samples.hello(t))
    return r


def write(t, path, obj):
    path = f"{t.work}/{path}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(obj if isinstance(obj, str) else json.dumps(obj))
    return path


def helper(t, name, username=USER, secret=SECRET, script=None):
    """docker-credential-NAME in $PATH, which writes down what it is asked: the path of that file."""
    asked = t.new_path("asked")
    reply = json.dumps({"ServerURL": "x", "Username": username, "Secret": secret})
    write(t, f"secret-{name}", reply)
    path = write(t, f"bin/docker-credential-{name}",
                 "#!/bin/sh\nread -r server\n"
                 f"echo \"$1 $server $(ls /proc/self/fd | tr '\\n' ' ')\" >>{asked}\n" +
                 (script or f"cat {t.work}/secret-{name}\n"))
    os.chmod(path, 0o755)
    t.env["PATH"] = f"{t.work}/bin:" + t.env["PATH"].removeprefix(f"{t.work}/bin:")
    return asked


def asked_of(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [line.split() for line in f]


def case_docker_cred_helpers(t):
    """The helper of one registry; it gets the registry's name and no file but its pipes."""
    r = locked(t)
    asked = helper(t, "fake")
    write(t, "home/.docker/config.json", {"credHelpers": {r.host: "fake"}, "credsStore": "other"})
    out = t.morsel("ls", "-v", r.ref())
    t.contains(out.err_text, "docker-credential-fake", "credHelpers", r.host, "config.json")
    got = asked_of(asked)
    t.check(got, "the helper was not asked")
    for line in got:
        t.equal(line[:2], ["get", r.host], "what the helper was asked")
        t.equal(line[2:], ["0", "1", "2", "3"], "open files in the helper (3 is ls's own)")


def case_docker_creds_store(t):
    r = locked(t)
    asked = helper(t, "store")
    write(t, "dc/config.json", {"auths": {r.host: {}}, "credsStore": "store"})
    out = t.morsel("ls", "-v", r.ref(), env={"DOCKER_CONFIG": t.path("dc")})
    t.contains(out.err_text, "docker-credential-store", "credsStore")
    t.equal({line[1] for line in asked_of(asked)}, {r.host}, "servers asked for")


def case_helper_that_fails(t):
    """One line: which helper, why, which file and key name it."""
    r = locked(t)
    helper(t, "bad", script="echo 'the keyring is locked'\nexit 1\n")
    config = write(t, "home/.docker/config.json", {"credHelpers": {r.host: "bad"}})
    t.refused(4, "ls", r.ref(), says=["docker-credential-bad", "the keyring is locked", config, r.host])
    helper(t, "bad", script="echo nonsense\n")
    t.refused(1, "ls", r.ref(), says=["docker-credential-bad", "JSON", config])
    helper(t, "bad", script="head -c 200000 /dev/zero\n")
    t.refused(7, "ls", r.ref(), says=["docker-credential-bad", "65536", config])
    write(t, "home/.docker/config.json", {"credHelpers": {r.host: "../bin/docker-credential-bad"}})
    t.refused(7, "ls", r.ref(), says=["no name of a credential helper", config])
    write(t, "home/.docker/config.json", {"credHelpers": {r.host: "absent"}})
    t.refused(4, "ls", r.ref(), says=["docker-credential-absent", "$PATH", config])


def case_helper_that_knows_nothing(t):
    """Is no error: what comes after it is asked."""
    r = locked(t)
    helper(t, "empty", script="echo 'credentials not found in native keychain'\nexit 1\n")
    config = write(t, "home/.docker/config.json", {"credsStore": "empty"})
    t.refused(4, "ls", r.ref(), says=["log in", config, "docker-credential-empty", r.host])
    write(t, "home/.docker/config.json", {"credsStore": "empty", "auths": {r.host: {"auth": AUTH}}})
    t.morsel("ls", r.ref())


def case_missing_creds_store_hurts_only_private_images(t):
    """What a removed desktop leaves behind."""
    config = write(t, "home/.docker/config.json", {"credsStore": "gone"})
    r = Registry(t, auth="token", anonymous=True)
    r.push(samples.hello(t))
    t.morsel("ls", r.ref())
    t.refused(4, "ls", locked(t).ref(), says=[config, "docker-credential-gone", "log in"])


def token_registry(t, server):
    r = FaultRegistry(t, samples.hello(t, f"img{server.port}"))
    t.defer(server.stop)
    r.rule(path="/v2/", authorized=False, status=401,
           headers={"WWW-Authenticate": f'Bearer realm="{server.realm}",service="s",scope="repository:test/image:pull"'})
    return r


class GetOnly(tokenserver.TokenServer):
    """Spends a refresh token only as a password."""

    def answer(self, method, query, authorization):
        if method == "POST":
            self.asked.append((method, "", "refused"))
            return 404, {}
        return super().answer(method, query, authorization)


def case_identity_tokens(t):
    """From auths and from a helper, by POST; where the server knows no POST by GET. It goes to the token server only."""
    for cls, user in ((tokenserver.TokenServer, USER), (GetOnly, "<token>")):
        server = cls(t.new_path("tokens"), user, SECRET, refresh=SECRET)
        r = token_registry(t, server)
        write(t, "home/.docker/config.json", {"auths": {r.host: {"identitytoken": SECRET}}})
        t.morsel("ls", "--insecure", r.ref())
        t.contains(str(server.asked), "refresh" if cls is tokenserver.TokenServer else "basic")
        server.asked.clear()
        helper(t, "ident", username="<token>")
        write(t, "home/.docker/config.json", {"credHelpers": {r.host: "ident"}})
        t.morsel("ls", "--insecure", "--cache-dir", t.new_path("cache"), r.ref())
        t.equal(server.asked[0][0], "POST", "the first try")
        t.check(server.asked[-1][2] in ("refresh", "basic"), server.asked)
        t.equal([x for x in r.log if SECRET in str(x) or AUTH in str(x)], [], "the identity token at the registry")


def case_identity_token_where_a_password_is_wanted(t):
    r = locked(t)
    config = write(t, "home/.docker/config.json", {"auths": {r.host: {"identitytoken": SECRET}}})
    t.refused(4, "ls", r.ref(), says=["identity token", config])


def case_registry_token(t):
    """Is used as it is."""
    lay = samples.hello(t)
    for challenge in ('Bearer realm="http://127.0.0.1:1/never",service="s"', 'Basic realm="x"'):
        r = FaultRegistry(t, lay)
        r.rule(path="/v2/", authorized=False, status=401, headers={"WWW-Authenticate": challenge})
        write(t, "home/.docker/config.json", {"auths": {r.host: {"registrytoken": SECRET}}})
        t.morsel("ls", "--insecure", "--cache-dir", t.new_path("cache"), r.ref())
        t.equal({x["authorization"] for x in r.log}, {None, f"Bearer {SECRET}"}, "Authorization headers")


def case_docker_auth_config(t):
    """The JSON of the environment goes before files; a broken one is named."""
    r = locked(t)
    write(t, "home/.docker/config.json", {"auths": {r.host: {"auth": base64.b64encode(b"x:wrong").decode()}}})
    env = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {r.host: {"auth": AUTH}}})}
    out = t.morsel("ls", "-v", r.ref(), env=env)
    t.contains(out.err_text, "$DOCKER_AUTH_CONFIG", f'key "{r.host}"')
    t.refused(1, "ls", r.ref(), says="DOCKER_AUTH_CONFIG", env={"DOCKER_AUTH_CONFIG": "{"})
    # one that knows another host only hides nothing
    t.refused(4, "ls", "--cache-dir", t.new_path("cache"), r.ref(), says=["refused", "config.json"],
              env={"DOCKER_AUTH_CONFIG": '{"auths":{"q.io":{"auth":"eDp5"}}}'})


def case_podman_auth_json(t):
    """The runtime directory's before the user's before docker's; the longest key wins; no credsStore there."""
    r = locked(t)
    wrong = {"auth": base64.b64encode(b"x:wrong").decode()}
    helper(t, "never", script="exit 3\n")
    write(t, "home/.docker/config.json", {"auths": {r.host: wrong}})
    write(t, "home/.config/containers/auth.json", {"auths": {r.host: wrong}})
    write(t, "run/containers/auth.json",
          {"auths": {r.host: wrong, f"{r.host}/test": {"auth": AUTH}}, "credsStore": "never"})
    out = t.morsel("ls", "-v", r.ref())
    t.contains(out.err_text, "run/containers/auth.json", f'key "{r.host}/test"')
    write(t, "run/containers/auth.json", {"auths": {r.host + "/other": {"auth": AUTH}}})
    write(t, "home/.config/containers/auth.json", {"auths": {f"{r.host}/test/image": {"auth": AUTH}}})
    t.morsel("ls", "--cache-dir", t.new_path("cache"), r.ref())
    named = write(t, "named.json", {"auths": {r.host: wrong}})
    t.refused(4, "ls", "--cache-dir", t.new_path("cache"), r.ref(), says=["refused", named],
              env={"REGISTRY_AUTH_FILE": named})
    t.refused(3, "ls", r.ref(), says="absent.json", env={"REGISTRY_AUTH_FILE": t.path("absent.json")})


def case_broken_files(t):
    """A default file that can't be used is named when nobody else knows the registry; one that is named is an error."""
    r = locked(t)
    broken = write(t, "home/.docker/config.json", '{"auths": {')
    t.refused(4, "ls", r.ref(), says=["log in", broken, "NOT USED"])
    t.refused(1, "ls", "--authfile", broken, r.ref(), says=broken)
    t.refused(1, "ls", "--authfile", t.work, r.ref(), says=[t.work, "directory"])
    key = write(t, "run/containers/auth.json", {"auths": {r.host: {"auth": "!!!"}}})
    t.refused(1, "ls", r.ref(), says=[key, r.host, "base64"])
