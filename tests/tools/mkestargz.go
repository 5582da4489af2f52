// Turns a tar archive into an eStargz or zstd:chunked blob with the estargz library that Debian packages: a producer that
// is not ours.
//
// usage: mkestargz -in TAR -out BLOB [-zstd] [-chunk-size N] [-level N] [-prioritized a,b,c]
// Prints one JSON object: tocDigest, diffID, uncompressedSize, annotations (of -zstd).
package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	"github.com/klauspost/compress/zstd"
)

type zstdCompression struct {
	*zstdchunked.Compressor
	*zstdchunked.Decompressor
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkestargz:", err)
		os.Exit(1)
	}
}

func decompressor(f io.Reader, isZstd bool) (io.Reader, error) {
	if isZstd {
		return zstd.NewReader(f)
	}
	return gzip.NewReader(f)
}

func main() {
	in := flag.String("in", "", "tar archive")
	out := flag.String("out", "", "eStargz blob")
	chunk := flag.Int("chunk-size", 0, "bytes of a chunk; 0 = the library's 4 MiB")
	level := flag.Int("level", gzip.BestSpeed, "compression level")
	first := flag.String("prioritized", "", "files that come first, separated by commas")
	isZstd := flag.Bool("zstd", false, "zstd:chunked")
	flag.Parse()

	f, err := os.Open(*in)
	check(err)
	st, err := f.Stat()
	check(err)
	opts := []estargz.Option{estargz.WithCompressionLevel(*level)}
	annotations := map[string]string{}
	if *isZstd {
		opts = append(opts, estargz.WithCompression(&zstdCompression{
			&zstdchunked.Compressor{CompressionLevel: zstd.EncoderLevelFromZstd(*level), Metadata: annotations},
			&zstdchunked.Decompressor{}}))
	}
	if *chunk > 0 {
		opts = append(opts, estargz.WithChunkSize(*chunk))
	}
	if *first != "" {
		opts = append(opts, estargz.WithPrioritizedFiles(strings.Split(*first, ",")))
	}
	blob, err := estargz.Build(io.NewSectionReader(f, 0, st.Size()), opts...)
	check(err)
	o, err := os.Create(*out)
	check(err)
	_, err = io.Copy(o, blob)
	check(err)
	check(blob.Close())
	check(o.Close())

	// The size of what it decompresses to, as the reference converter annotates it.
	o, err = os.Open(*out)
	check(err)
	z, err := decompressor(o, *isZstd)
	check(err)
	h := sha256.New()
	n, err := io.Copy(h, z)
	check(err)
	if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); got != blob.DiffID().String() {
		check(fmt.Errorf("the library says diffID %s, it is %s", blob.DiffID(), got))
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"tocDigest": blob.TOCDigest().String(), "diffID": blob.DiffID().String(), "uncompressedSize": n,
		"annotations": annotations}))
}
