package offsite_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	accessKey = pgtest.S3AccessKey
	secretKey = pgtest.S3SecretKey
	bucket    = "backups"
)

// s3 is a server that speaks S3.
type s3 struct{ *pgtest.S3 }

func startS3(t *testing.T) *s3 {
	t.Helper()
	return &s3{pgtest.NewS3(t, bucket)}
}

// client is a plain client, for what a test does behind the back of ours.
func (s *s3) client(t *testing.T) *minio.Client {
	t.Helper()
	c, err := minio.New(s.Addr, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// objects lists what is stored, by name.
func (s *s3) objects(t *testing.T) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for o := range s.client(t).ListObjects(context.Background(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		all[o.Key] = o.Size
	}
	return all
}

// bench is a repository and a store for its copies.
type bench struct {
	s3    *s3
	repo  *catalog.Repository
	store *offsite.Store
}

func (s *s3) options(t *testing.T, repo *catalog.Repository) offsite.Options {
	return offsite.Options{
		URL: "s3://" + bucket + "/some/prefix", Endpoint: "http://" + s.Addr, Region: "us-east-1", AccessKey: accessKey, SecretKey: secretKey,
		Repository: repo, Log: log.NewLogfmtLogger(testWriter{t}), Stall: 20 * time.Second, Retries: -1,
	}
}

func newBench(t *testing.T, change func(*offsite.Options)) *bench {
	t.Helper()
	b := &bench{s3: startS3(t), repo: newRepo(t)}
	b.store = b.newStore(t, change)
	return b
}

func newRepo(t *testing.T) *catalog.Repository {
	t.Helper()
	repo, err := catalog.Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func (b *bench) newStore(t *testing.T, change func(*offsite.Options)) *offsite.Store {
	t.Helper()
	o := b.s3.options(t, b.repo)
	if change != nil {
		change(&o)
	}
	s, err := offsite.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// backup publishes a backup with some files.
func (b *bench) backup(t *testing.T, files map[string][]byte) catalog.Backup {
	t.Helper()
	d, err := b.repo.Begin(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d.Manifest.Engine, d.Manifest.Set, d.Manifest.RecoveryPoint = "pg_dump", "all", time.Now().UTC()
	d.Manifest.Databases = []catalog.Database{{Name: "secret_customer"}}
	for name, content := range files {
		path := filepath.Join(d.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Seal(); err != nil {
		t.Fatal(err)
	}
	backup, err := d.Publish(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return backup
}

// usual are files of the sizes at which encryption and uploads change.
func usual() map[string][]byte {
	return map[string][]byte{
		"empty": nil, "globals/roles.sql": []byte("CREATE ROLE secret_customer;"), "databases/shop.dump": noise(3 << 20),
		"databases/chunk": noise(64 << 10), "databases/chunk-1": noise(64<<10 - 1), "databases/chunk+1": noise(64<<10 + 1),
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func (b *bench) fresh(t *testing.T, id string) catalog.Backup {
	t.Helper()
	got, err := b.repo.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// faulty is HTTP that goes wrong as a test says.
type faulty struct {
	before func(*http.Request)
	body   func(*http.Request, io.ReadCloser) io.ReadCloser
	after  func(*http.Request, *http.Response)
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.before != nil {
		f.before(r)
	}
	if f.body != nil && r.Body != nil {
		r.Body = f.body(r, r.Body)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && f.after != nil {
		f.after(r, resp)
	}
	return resp, err
}
