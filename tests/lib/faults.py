"""The fault registry for cases: a FaultServer with one layout, ended with the case."""
import faultregistry


REPO = "test/image"


class FaultRegistry(faultregistry.FaultServer):
    def __init__(self, t, layout, **kw):
        super().__init__({REPO: layout.path}, **kw)
        self.t, self.layout, self.running = t, layout, True
        t.defer(self.end)

    def end(self):
        """Nobody answers on the port any more."""
        if self.running:
            self.running = False
            self.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def ref(self, tag="latest"):
        return f"{self.host}/{REPO}{'@' if tag.startswith('sha256:') else ':'}{tag}"

    @property
    def digest(self):
        return self.layout.manifests[0]["digest"]

    def blob_bytes(self):
        """Bytes of blobs sent since forget()."""
        return sum(r["sent"] for r in self.requests("/blobs/")) + sum(r["sent"] for r in self.requests("/storage/"))
