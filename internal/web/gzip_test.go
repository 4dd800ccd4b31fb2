package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

var _ metric.Compressor = (*gzipWriter)(nil)

// Pages of random pieces, some of which were compressed for another page, come out of Go's reader and of gzip(1) as they went in.
func TestPiecesOfOtherPagesAreDecompressed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	piece := func() []byte {
		var b strings.Builder
		for i := range random.IntN(4000) {
			fmt.Fprintf(&b, "pg_stat_user_tables_n_tup_ins{datname=\"shop\",relname=\"t_%d\"} %d\n", i, random.IntN(1_000_000))
		}
		return []byte(b.String())
	}
	type kept struct {
		text       []byte
		compressed metric.Compressed
	}
	var pool []*kept
	for range 8 {
		pool = append(pool, &kept{text: piece()})
	}
	z := newGzipWriter()
	var pages, texts [][]byte
	for range 40 {
		var page, text bytes.Buffer
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(z.begin(&page))
		for range random.IntN(12) {
			if random.IntN(2) == 0 {
				p := piece()
				_, err := z.Write(p)
				must(err)
				text.Write(p)
				continue
			}
			p := pool[random.IntN(len(pool))]
			if p.compressed == nil {
				var err error
				p.compressed, err = z.WriteAlone(p.text[:len(p.text)/2], p.text[len(p.text)/2:])
				must(err)
			} else {
				must(z.WriteAgain(p.compressed))
			}
			text.Write(p.text)
		}
		must(z.end())
		pages, texts = append(pages, page.Bytes()), append(texts, text.Bytes())
	}
	for i, page := range pages {
		r, err := gzip.NewReader(bytes.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		r.Multistream(false)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, texts[i]) {
			t.Errorf("page %d: %d bytes instead of %d: %v", i, len(got), len(texts[i]), err)
		}
	}
	if _, err := exec.LookPath("gzip"); err != nil {
		t.Skip("no gzip(1)")
	}
	for i := range 5 {
		cmd := exec.Command("gzip", "-dc")
		cmd.Stdin = bytes.NewReader(pages[i])
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, texts[i]) {
			t.Errorf("gzip: page %d: %d bytes instead of %d: %v", i, len(got), len(texts[i]), err)
		}
	}
}
