"""morsel tags: registries page by page, layouts, archives."""
import json

import samples
from faults import REPO, FaultRegistry
from images import Layout
from registries import Registry


def many(t, n):
    lay = samples.hello(t)
    for i in range(n):
        lay.tag(lay.manifests[0], f"v{i:03}")
    return lay


def page(tags, link=None, **more):
    headers = {"Content-Type": "application/json"}
    if link:
        headers["Link"] = f'<{link}>; rel="next"'
    return {"status": 200, "headers": headers, "body": json.dumps({"name": REPO, "tags": tags}).encode(), **more}


def case_registry(t):
    """docker-registry with hundreds of tags, which it gives in the order of its directory and on one page."""
    reg = Registry(t)
    lay = many(t, 1)
    connection = reg.connect()
    names = sorted(f"v{i:03}" for i in range(300))
    for name in names:
        reg.push_document(connection, lay, "test/image", lay.manifests[0], name)
    connection.close()
    t.equal(sorted(t.morsel("tags", f"{reg.host}/test/image").text.splitlines()), names, "tags")
    t.equal(sorted(t.morsel("tags", "--format", "json", f"{reg.host}/test/image:whatever").json()), names, "as JSON")
    t.refused(3, "tags", f"{reg.host}/test/none", says="none")
    t.refused(3, "tags", "--offline", f"{reg.host}/test/image", says="--offline")


def case_registry_with_passwords(t):
    reg = Registry(t, auth="htpasswd")
    reg.push(samples.hello(t))
    t.refused(4, "tags", f"{reg.host}/test/image")
    t.equal(t.morsel("tags", "--authfile", reg.authfile(), f"{reg.host}/test/image").text, "latest\n", "tags")


def case_pages(t):
    """Relative and absolute links, in the registry's order."""
    lay = samples.hello(t)
    with FaultRegistry(t, lay) as reg:
        list_path = f"/v2/{REPO}/tags/list"
        links = (f"{list_path}?last=b&n=2", f"http://{reg.host}{list_path}?last=d", "?last=e", None)
        for tags, link in zip((["b", "a"], ["d", "c"], ["e"], ["f"]), links):
            reg.rule(path="/tags/list", times=1, **page(tags, link))
        t.equal(t.morsel("tags", f"{reg.host}/{REPO}").text.split(), ["b", "a", "d", "c", "e", "f"], "tags")
        t.equal([r["path"] for r in reg.requests("/tags/list")],
                [list_path, f"{list_path}?last=b&n=2", f"{list_path}?last=d", f"{list_path}?last=e"], "requests")


def case_no_tags(t):
    lay = samples.hello(t)
    with FaultRegistry(t, lay) as reg:
        reg.rule(path="/tags/list", times=1, **page(None))
        t.equal(t.morsel("tags", f"{reg.host}/{REPO}").text, "", "tags")
        reg.rule(path="/tags/list", times=1, **page([]))
        t.equal(t.morsel("tags", "--format", "json", f"{reg.host}/{REPO}").json(), [], "tags")
        reg.rule(path="/tags/list", status=200, body=b"[]")
        t.refused(6, "tags", f"{reg.host}/{REPO}")


def case_other_host(t):
    """A next page elsewhere is refused, and nobody is asked there."""
    lay = samples.hello(t)
    with FaultRegistry(t, lay) as reg, FaultRegistry(t, lay) as other:
        for link in (f"http://{other.host}/v2/{REPO}/tags/list?last=a", f"//{other.host}/v2/{REPO}/tags/list?last=a"):
            reg.rule(path="/tags/list", times=1, **page(["a"], link))
            t.refused(7, "tags", f"{reg.host}/{REPO}", says=("another host", other.host))
        t.equal(other.requests(), [], "requests at the other host")


def case_loops(t):
    """A list that leads back to itself ends with an error, soon."""
    lay = samples.hello(t)
    for cycle in (["?last=a"], ["?last=a", "?last=b"], ["?last=a", "?last=b", "?last=c", "?last=d", "?last=e"]):
        with FaultRegistry(t, lay) as reg:
            for i, query in enumerate(cycle):
                here = cycle[i - 1]
                reg.rule(path=f"/tags/list{here}", **page(["x"], f"/v2/{REPO}/tags/list{query}"))
            reg.rule(path="/tags/list", **page(["x"], f"/v2/{REPO}/tags/list{cycle[0]}"))
            t.refused(5, "tags", f"{reg.host}/{REPO}", says="never ends")
            t.check(len(reg.requests("/tags/list")) < 40, "too many requests")


def case_layouts_and_archives(t):
    lay = many(t, 3)
    names = ["latest", "v000", "v001", "v002"]
    t.equal(t.morsel("tags", f"oci:{lay.path}").text.split(), names, "a layout")
    t.run("tar", "-C", lay.path, "-cf", t.path("a.tar"), ".")
    t.equal(t.morsel("tags", f"oci-archive:{t.path('a.tar')}").text.split(), names, "an archive of it")
    t.refused(6, "tags", f"docker-archive:{t.path('a.tar')}", says="oci-archive:")
    with open(f"{lay.path}/manifest.json", "w", encoding="ascii") as f:
        json.dump([{"Config": "gone", "RepoTags": ["a:1", "b:2"], "Layers": []}, {"Config": "gone", "Layers": []},
                   {"Config": "gone", "RepoTags": ["c:3"], "Layers": []}], f)
    t.run("tar", "-C", lay.path, "-cf", t.path("d.tar"), "manifest.json")
    t.equal(t.morsel("tags", f"docker-archive:{t.path('d.tar')}").text.split(), ["a:1", "b:2", "c:3"], "a docker archive")
    t.refused(3, "tags", f"oci:{t.path('none')}")


def case_terminal(t):
    """Names cannot draw."""
    lay = Layout(t.path("img"))
    hello = samples.hello(t)
    lay.tag(hello.manifests[0], "\x1b[2Jred\n")
    t.equal(t.morsel("tags", f"oci:{lay.path}").text, "\\033[2Jred\\012\n", "as text")
    t.equal(t.morsel("tags", "--format", "json", f"oci:{lay.path}").json(), ["\x1b[2Jred\n"], "as JSON")
