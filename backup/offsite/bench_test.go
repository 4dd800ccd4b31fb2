package offsite_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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
	accessKey = "AKIATESTTESTTEST"
	secretKey = "very/secret+key=of-the-test"
	bucket    = "backups"
)

// s3 is a server that speaks S3, a process of its own on a directory.
type s3 struct {
	dir  string // objects are files below dir/bucket
	port int
	cmd  *exec.Cmd
}

func startS3(t *testing.T) *s3 {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &s3{dir: t.TempDir(), port: port}
	for _, d := range []string{"root", "meta"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.start(t)
	t.Cleanup(s.kill)
	if err := s.client(t).MakeBucket(context.Background(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *s3) start(t *testing.T) {
	t.Helper()
	path, err := pgtest.Tool("versitygw", "s3")
	if err != nil {
		t.Fatal(err)
	}
	// Metadata beside the objects: not every file system has extended attributes.
	s.cmd = exec.Command(path, "--port", s.addr(), "--quiet", "posix", "--sidecar", filepath.Join(s.dir, "meta"), filepath.Join(s.dir, "root"))
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() error {
		c, err := net.Dial("tcp", s.addr())
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

func (s *s3) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *s3) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// client is a plain client, for what a test does behind the back of ours.
func (s *s3) client(t *testing.T) *minio.Client {
	t.Helper()
	c, err := minio.New(s.addr(), &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, "")})
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
		URL: "s3://" + bucket + "/some/prefix", Endpoint: "http://" + s.addr(), Region: "us-east-1", AccessKey: accessKey, SecretKey: secretKey,
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

// Signals that freeze the server and let it go on.
const (
	stop = syscall.SIGSTOP
	cont = syscall.SIGCONT
)
