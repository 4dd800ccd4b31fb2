package offsite_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// hostileStore answers each list by the given function, and each other request by answer, where that is given.
func hostileStore(t *testing.T, list func(page int64) string, answer http.HandlerFunc) *offsite.Store {
	t.Helper()
	var pages atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("list-type") && list != nil {
			fmt.Fprint(w, `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>`,
				list(pages.Add(1)), "</ListBucketResult>")
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(server.Close)
	s, err := offsite.New(offsite.Options{URL: "s3://bucket/p", Endpoint: server.URL, Region: "us-east-1", AccessKey: "a", SecretKey: "b",
		Repository: newRepo(t), Retries: -1, Timeout: 40 * time.Second,
		Stall: min(pgtest.Patience(time.Second), 6*time.Second)}) // a loaded machine moves nothing for a second now and then
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(key string, size int) string {
	return fmt.Sprintf("<Contents><Key>%s</Key><Size>%d</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>", key, size)
}

const more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"

const ofACopy = "p/0123456789abcdef/20260101T000000Z-1/"

// drip sends a byte now and then, for ever.
func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, " "); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}

// TestAStoreThatNeverEndsIsGivenUp: no answer of a store, whatever is in it, holds the job for ever or takes its memory.
func TestAStoreThatNeverEndsIsGivenUp(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for block := bytes.Repeat([]byte(" "), 1<<20); r.Context().Err() == nil; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	oneIndex := func(int64) string { return entry(ofACopy+"copy.json", 100) }
	for _, tc := range []struct {
		name   string
		list   func(page int64) string
		answer http.HandlerFunc
		want   string // "" where the copy is left out and the list succeeds
	}{
		{"the same names again and again", func(int64) string { return entry(ofACopy+"copy.json", 1) + more }, nil, "twice"},
		{"no names, and always more", func(int64) string { return more }, nil, "nothing moved any more"},
		{"new names for ever", func(page int64) string {
			var s strings.Builder
			for i := range 5000 {
				s.WriteString(entry(fmt.Sprintf("%sdata/%d-%d", ofACopy, page, i), 1))
			}
			return s.String() + more
		}, nil, "more than 400000"},
		{"a list that drips", nil, drip, "nothing moved any more"},
		{"an error's text without end", nil, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			endless(w, r)
		}, "off-site: list bucket/p"},
		{"an index that drips", oneIndex, drip, ""},
		{"an index without end", oneIndex, endless, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := heap()
			began := time.Now()
			copies, err := hostileStore(t, tc.list, tc.answer).List(t.Context())
			switch {
			case tc.want == "" && (err != nil || len(copies) > 0):
				t.Errorf("%d copies, %v", len(copies), err)
			case tc.want != "":
				wantFailure(t, err, failure.Offsite, tc.want)
				if strings.Contains(fmt.Sprint(err), "longer than 40s") {
					t.Error("only the limit of the whole ended it: ", err)
				}
			}
			if took := time.Since(began); took > pgtest.Patience(30*time.Second) {
				t.Errorf("it took %s", took)
			}
			if grown := heap() - before; grown > 300<<20 {
				t.Errorf("%d MB were taken", grown>>20)
			}
		})
	}
}

// heap is how much memory the process has asked for, live or not.
func heap() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapSys - m.HeapReleased)
}

// TestTheWholeIsBounded: what moves, but never ends, is ended by --offsite-timeout, and that is no interruption by a person.
func TestTheWholeIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	store := b.newStore(t, func(o *offsite.Options) {
		o.Timeout = 300 * time.Millisecond
		o.Transport = &faulty{before: func(*http.Request) { time.Sleep(100 * time.Millisecond) }}
	})
	err := store.Copy(t.Context(), b.backup(t, usual()))
	t.Log(err)
	wantFailure(t, err, failure.Offsite, "it took longer than 300ms")
}

// TestAnIndexThatLiesIsNone: what an index says of itself has to agree.
func TestAnIndexThatLiesIsNone(t *testing.T) {
	const of = "0123456789abcdef"
	honest := func() offsite.Index {
		return offsite.Index{Format: 1, RepositoryID: of, ID: "20260101T000000Z-1", Bytes: 3, PlainBytes: 3,
			Files: []catalog.File{{Path: "a", Bytes: 1}, {Path: "manifest.json", Bytes: 2}}}
	}
	for name, lie := range map[string]func(*offsite.Index){
		"honest":             func(*offsite.Index) {},
		"a file twice":       func(x *offsite.Index) { x.Files[1].Path = "a" },
		"a size below zero":  func(x *offsite.Index) { x.Files[0].Bytes, x.Bytes = -1, 1 },
		"another sum":        func(x *offsite.Index) { x.Bytes = 4 },
		"more than is there": func(x *offsite.Index) { x.PlainBytes = 1 << 60 },
	} {
		t.Run(name, func(t *testing.T) {
			x := honest()
			lie(&x)
			text, err := json.Marshal(x)
			if err != nil {
				t.Fatal(err)
			}
			list := entry(ofACopy+"copy.json", len(text))
			for _, f := range x.Files {
				list += entry(ofACopy+f.Path, int(max(f.Bytes, 0)))
			}
			if name == "a file twice" {
				list = entry(ofACopy+"copy.json", len(text)) + entry(ofACopy+"a", 1)
			}
			store := hostileStore(t, func(int64) string { return list }, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
				w.Header().Set("ETag", `"x"`)
				_, _ = w.Write(text)
			})
			copies, err := store.List(t.Context())
			if want := map[bool]int{true: 1}[name == "honest"]; err != nil || len(copies) != want {
				t.Errorf("%d copies, %v, want %d", len(copies), err, want)
			}
		})
	}
}
