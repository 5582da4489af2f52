"""Registries that want to know who asks: passwords, tokens, TLS. The password is nowhere in what is printed."""
import samples
from registries import Registry


def case_plain_http_on_loopback(t):
    lay = samples.hello(t)
    r = Registry(t)
    digest = r.push(lay)
    by_tag = t.morsel("ls", "-lR", r.ref()).text
    t.equal(t.morsel("ls", "-lR", r.ref(tag=digest)).text, by_tag, "by tag and by digest")


def case_htpasswd(t):
    lay = samples.hello(t)
    r = Registry(t, auth="htpasswd")
    r.push(lay)
    t.refused(4, "ls", r.ref(), says="log in")
    t.refused(4, "ls", "--authfile", r.authfile("wrong"), r.ref())
    t.morsel("ls", "--authfile", r.authfile(), r.ref())


def case_tls(t):
    lay = samples.hello(t)
    r = Registry(t, tls=True)
    r.push(lay)
    t.refused(5, "ls", r.ref(), says="certificate")
    t.morsel("ls", "--tls-verify=false", r.ref())


def case_tls_and_htpasswd(t):
    lay = samples.hello(t)
    r = Registry(t, tls=True, auth="htpasswd")
    r.push(lay)
    t.morsel("ls", "--tls-verify=false", "--authfile", r.authfile(), r.ref())


def case_token(t):
    lay = samples.hello(t)
    r = Registry(t, auth="token")
    r.push(lay)
    t.refused(4, "ls", r.ref(), says="log in")
    t.refused(4, "ls", "--authfile", r.authfile("wrong"), r.ref())
    t.morsel("ls", "-v", "--authfile", r.authfile(), r.ref())


def case_token_for_anybody(t):
    lay = samples.hello(t)
    r = Registry(t, auth="token", anonymous=True)
    r.push(lay)
    t.morsel("ls", "-v", r.ref())
