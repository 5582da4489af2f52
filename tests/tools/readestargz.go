// Reads an eStargz blob with the estargz library that Debian packages, a reader that is not ours: the table against its
// digest, every file against its digest, every chunk by the library's own verifier.
//
// usage: readestargz BLOB TOC-DIGEST
// Prints the number of entries, and on which byte the data to be prefetched ends (0: there is none).
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/containerd/stargz-snapshotter/estargz"
	digest "github.com/opencontainers/go-digest"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "readestargz:", err)
		os.Exit(1)
	}
}

func walk(r *estargz.Reader, v estargz.TOCEntryVerifier, e *estargz.TOCEntry, path string, n *int) {
	e.ForeachChild(func(base string, c *estargz.TOCEntry) bool {
		p := path + base
		*n++
		if c.Type == "reg" && c.Size > 0 {
			sr, err := r.OpenFile(p)
			check(err)
			h := sha256.New()
			_, err = io.Copy(h, sr)
			check(err)
			if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); got != c.Digest {
				check(fmt.Errorf("%s: digest %s, not %s", p, got, c.Digest))
			}
			off := int64(0)
			for off < c.Size {
				ce, ok := r.ChunkEntryForOffset(p, off)
				if !ok {
					check(fmt.Errorf("%s: no chunk at %d", p, off))
				}
				cv, err := v.Verifier(ce)
				check(err)
				_, err = io.Copy(cv, io.NewSectionReader(sr, ce.ChunkOffset, ce.ChunkSize))
				check(err)
				if !cv.Verified() {
					check(fmt.Errorf("%s: chunk at %d does not verify", p, off))
				}
				off = ce.ChunkOffset + ce.ChunkSize
			}
		}
		if c.Type == "dir" {
			walk(r, v, c, p+"/", n)
		}
		return true
	})
}

func main() {
	f, err := os.Open(os.Args[1])
	check(err)
	st, err := f.Stat()
	check(err)
	r, err := estargz.Open(io.NewSectionReader(f, 0, st.Size()))
	check(err)
	v, err := r.VerifyTOC(digest.Digest(os.Args[2]))
	check(err)
	root, ok := r.Lookup("")
	if !ok {
		check(fmt.Errorf("no root"))
	}
	n := 0
	walk(r, v, root, "", &n)
	prefetch := int64(0)
	if e, ok := r.Lookup(estargz.PrefetchLandmark); ok {
		prefetch = e.Offset
	}
	fmt.Println(n, prefetch)
}
