package offsite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/minio/minio-go/v7"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
)

func counting(puts *int) http.RoundTripper {
	return &faulty{before: func(r *http.Request) {
		if r.Method == http.MethodPut {
			*puts++
		}
	}}
}

func reading(names *[]string) http.RoundTripper {
	return &faulty{before: func(r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "some/prefix/") {
			*names = append(*names, r.URL.Path)
		}
	}}
}

func wantFailure(t *testing.T, err error, reason failure.Reason, text string) {
	t.Helper()
	s := fmt.Sprint(err)
	if failure.Of(err) != reason || !strings.Contains(s, text) || strings.Contains(s, secretKey) {
		t.Errorf("error = %v (reason %s), want reason %s and %q", err, failure.Of(err), reason, text)
	}
}

// wantNone asserts that nobody takes what is stored for a copy.
func (b *bench) wantNone(t *testing.T) {
	t.Helper()
	copies, err := b.newStore(t, nil).List(context.Background())
	if err != nil || len(copies) != 0 {
		t.Errorf("copies = %+v, %v, want none", copies, err)
	}
}

func TestMistakesOfTheUserAreNamed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t, nil)
	backup := b.backup(t, usual())
	for _, tc := range []struct {
		name   string
		change func(*offsite.Options)
		text   string
	}{
		{"wrong secret", func(o *offsite.Options) { o.SecretKey = "wrong" }, "AWS_SECRET_ACCESS_KEY"},
		{"unknown key", func(o *offsite.Options) { o.AccessKey = "AKIANOSUCHKEY" }, "AWS_ACCESS_KEY_ID"},
		{"nobody listens", func(o *offsite.Options) { o.Endpoint = "http://127.0.0.1:1" }, "reachable"},
		{"this clock is off", func(o *offsite.Options) { o.Transport = skewed(-time.Hour) }, "clock"},
		{"missing bucket", func(o *offsite.Options) { o.URL = "s3://nosuch/prefix" }, "Make the bucket nosuch"}, // the last: another target
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := b.newStore(t, tc.change).Copy(ctx, b.fresh(t, backup.ID))
			t.Log(err)
			wantFailure(t, err, failure.Offsite, tc.text)
			st := b.fresh(t, backup.ID)
			if st.Status.Offsite == nil || st.Status.Offsite.Error == "" || st.Status.Offsite.Completed != nil {
				t.Errorf("status = %+v, want the failure in it", st.Status.Offsite)
			}
			if st.Health != catalog.Unverified {
				t.Errorf("the local backup is %s", st.Health)
			}
		})
	}
	// All of it made up for by the next backup's copy.
	if err := b.store.Copy(ctx, b.backup(t, usual())); err != nil {
		t.Fatal(err)
	}
	if copies, err := b.store.List(ctx); err != nil || len(copies) != 2 {
		t.Errorf("%d copies, %v, want two", len(copies), err)
	}
}

// skewed sends requests as a machine with a wrong clock does; the server looks at the time before
// the signature.
func skewed(by time.Duration) http.RoundTripper {
	return &faulty{before: func(r *http.Request) {
		at := time.Now().Add(by).UTC()
		auth := r.Header.Get("Authorization")
		r.Header.Set("Authorization", strings.Replace(auth, time.Now().UTC().Format("20060102"), at.Format("20060102"), 1))
		r.Header.Set("X-Amz-Date", at.Format("20060102T150405Z"))
	}}
}

// TestServerCutMidUpload kills the server while a large file is on its way, and goes on once it is back.
func TestServerCutMidUpload(t *testing.T) {
	t.Parallel()
	for name, recipients := range map[string][]string{"in clear": nil, "encrypted": {newKey(t).Recipient().String()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			b := newBench(t, nil)
			backup := b.backup(t, map[string][]byte{"a-small": noise(1000), "b-large": noise(40 << 20)})
			kill := func(r *http.Request, body io.ReadCloser) io.ReadCloser {
				if strings.Contains(r.URL.Path, "b-large") && r.URL.Query().Get("partNumber") == "2" {
					return &cutBody{ReadCloser: body, after: 1 << 20, cut: b.s3.Kill}
				}
				return body
			}
			store := b.newStore(t, func(o *offsite.Options) { o.Transport, o.Recipients = &faulty{body: kill}, recipients })
			err := store.Copy(ctx, backup)
			t.Log(err)
			wantFailure(t, err, failure.Offsite, "reachable")
			b.s3.Start(t)
			b.wantNone(t)
			st := b.fresh(t, backup.ID).Status.Offsite
			if st == nil || len(st.Files) != 1 || st.Completed != nil {
				t.Fatalf("status = %+v, want one file stored", st)
			}
			puts := 0
			store = b.newStore(t, func(o *offsite.Options) { o.Transport, o.Recipients = counting(&puts), recipients })
			if err := store.Copy(ctx, b.fresh(t, backup.ID)); err != nil {
				t.Fatal(err)
			}
			if puts != 3+3 { // three parts, sums, manifest, index: the small file was there
				t.Errorf("%d writes for the rest, want 6", puts)
			}
			for u := range b.s3.client(t).ListIncompleteUploads(ctx, bucket, "", true) {
				t.Errorf("an unfinished upload is left: %s", u.Key)
			}
			if copies, err := store.List(ctx); err != nil || len(copies) != 1 {
				t.Errorf("copies = %+v, %v, want one", copies, err)
			}
		})
	}
}

// cutBody calls cut once so many bytes were read of it.
type cutBody struct {
	io.ReadCloser
	after int
	cut   func()
}

func (c *cutBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.after -= n; c.after <= 0 && c.cut != nil {
		c.cut()
		c.cut = nil
	}
	return n, err
}

// Seek makes the client believe that a body can be sent again.
func (c *cutBody) Seek(offset int64, whence int) (int64, error) {
	if s, ok := c.ReadCloser.(io.Seeker); ok {
		return s.Seek(offset, whence)
	}
	return 0, errors.ErrUnsupported
}

// TestKilledAtEveryWrite ends the copy before each of its writes in turn: never a copy that is not
// whole, and the next attempt completes it.
func TestKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t, nil)
	backup := b.backup(t, map[string][]byte{"a": noise(1000), "b": noise(2000)})
	for at := 1; ; at++ {
		run, cancel := context.WithCancel(ctx)
		var puts int
		store := b.newStore(t, func(o *offsite.Options) {
			o.Transport = &faulty{before: func(r *http.Request) {
				if r.Method == http.MethodPut {
					if puts++; puts == at {
						cancel()
					}
				}
			}}
		})
		err := store.Copy(run, b.fresh(t, backup.ID))
		cancel()
		if err == nil {
			if at != 6 { // a, b, sums, manifest, index
				t.Errorf("done before write %d, want 5 writes", at)
			}
			break
		}
		wantFailure(t, err, failure.Interrupted, "off-site")
		b.wantNone(t)
		// The status is lost as well when the machine dies: all is sent again then.
		if err := b.repo.UpdateStatus(ctx, backup.ID, func(s *catalog.Status) { s.Offsite = nil }); err != nil {
			t.Fatal(err)
		}
	}
	copies, err := b.store.List(ctx)
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies = %+v, %v", copies, err)
	}
	b.repo = newRepo(t)
	if _, err := b.newStore(t, nil).Fetch(ctx, copies[0], nil); err != nil {
		t.Error(err)
	}
}

// TestCorruptedInTheStore changes what is stored, at every time and place that matters.
func TestCorruptedInTheStore(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	key := newKey(t)
	b := newBench(t, nil)
	backup := b.backup(t, usual())
	flip := func(name string) {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(b.s3.Dir, bucket, "some/prefix", b.repo.ID(), backup.ID, name))
		if err != nil || len(paths) != 1 {
			t.Fatal(name, paths, err)
		}
		f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt([]byte("\x00X\x01"), 5)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Between writing and reading back.
	var flipped atomic.Bool
	store := b.newStore(t, func(o *offsite.Options) {
		o.Recipients = []string{key.Recipient().String()}
		o.Transport = &faulty{before: func(r *http.Request) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "shop.dump.age") && flipped.CompareAndSwap(false, true) {
				flip("databases/shop.dump.age")
			}
		}}
	})
	err := store.Copy(ctx, backup)
	t.Log(err)
	wantFailure(t, err, failure.Offsite, "not what was stored")
	b.wantNone(t)
	if err := store.Copy(ctx, b.fresh(t, backup.ID)); err != nil { // sent again
		t.Fatal(err)
	}
	copies, err := store.List(ctx)
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies = %+v, %v", copies, err)
	}
	// After the copy was complete, before it is fetched.
	origin := b.repo
	fetch := func(identities ...age.Identity) error {
		t.Helper()
		b.repo = newRepo(t)
		_, err := b.newStore(t, nil).Fetch(ctx, copies[0], identities)
		if all, lerr := b.repo.List(); lerr != nil || err != nil && len(all) != 0 {
			t.Errorf("repository = %+v, %v, want nothing in it", all, lerr)
		}
		if left, _ := os.ReadDir(filepath.Join(b.repo.Dir(), "tmp")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		b.repo = origin
		return err
	}
	wantFailure(t, fetch(), failure.Config, "--offsite-identity")
	wantFailure(t, fetch(newKey(t)), failure.Config, "none of the given keys")
	if err := fetch(key); err != nil {
		t.Error(err)
	}
	flip("databases/shop.dump.age")
	wantFailure(t, fetch(key), failure.Verify, "fetch an older copy")
	// An object that is gone makes the copy no copy.
	name := b.repo.ID() + "/" + backup.ID + "/globals/roles.sql.age"
	if err := b.s3.client(t).RemoveObject(ctx, bucket, "some/prefix/"+name, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantNone(t)
}

// TestDamagedLocalBackupIsNotCopied: what differs from its manifest never becomes a copy.
func TestDamagedLocalBackupIsNotCopied(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	backup := b.backup(t, usual())
	content := noise(3 << 20)
	content[1000] ^= 1
	if err := os.WriteFile(filepath.Join(backup.Dir, "databases/shop.dump"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	err := b.store.Copy(context.Background(), backup)
	wantFailure(t, err, failure.Offsite, "the local backup is damaged")
	b.wantNone(t)
}

// TestStalledStore: a store that stops taking bytes, or never answers, does not hold the job for ever.
func TestStalledStore(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	backup := b.backup(t, map[string][]byte{"a": noise(40 << 20)})
	stalls := func(text string, transport http.RoundTripper) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		store := b.newStore(t, func(o *offsite.Options) {
			if o.Stall = time.Second; transport != nil {
				o.Transport = transport
			}
		})
		err := store.Copy(ctx, b.fresh(t, backup.ID))
		b.s3.Thaw()
		t.Log(err)
		wantFailure(t, err, failure.Offsite, text)
	}
	stalls("nothing moved any more", &faulty{body: func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if r.URL.Query().Get("partNumber") == "2" {
			return &cutBody{ReadCloser: body, after: 1 << 20, cut: b.s3.Freeze}
		}
		return body
	}})
	b.s3.Freeze()
	stalls("", nil)
	if err := b.store.Copy(context.Background(), b.fresh(t, backup.ID)); err != nil {
		t.Error(err)
	}
}

// TestUploadThatIsGone: an unfinished upload that somebody else ends at the same moment is ended, too.
func TestUploadThatIsGone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t, nil)
	backup := b.backup(t, usual())
	core := minio.Core{Client: b.s3.client(t)}
	key := strings.TrimPrefix(b.store.Target(b.repo.ID()), "s3://"+bucket+"/") + "/" + backup.ID + "/empty"
	if _, err := core.NewMultipartUpload(ctx, bucket, key, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	var ended atomic.Int32
	store := b.newStore(t, func(o *offsite.Options) {
		o.Transport = &faulty{before: func(r *http.Request) {
			if id := r.URL.Query().Get("uploadId"); id != "" && r.Method == http.MethodDelete {
				ended.Add(1)
				if err := core.AbortMultipartUpload(ctx, bucket, key, id); err != nil {
					t.Error(err)
				}
			}
		}}
	})
	if err := store.Copy(ctx, backup); err != nil {
		t.Error(err)
	}
	if ended.Load() != 1 {
		t.Errorf("%d uploads were ended, want 1", ended.Load())
	}
}

func TestTransfersAreTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	var failures atomic.Int32
	store := b.newStore(t, func(o *offsite.Options) {
		o.Retries = 3
		o.Transport = &faulty{after: func(r *http.Request, resp *http.Response) {
			if strings.HasSuffix(r.URL.Path, "shop.dump") && failures.Add(1) <= 2 {
				_ = resp.Body.Close()
				resp.StatusCode, resp.Status = http.StatusServiceUnavailable, "503 Service Unavailable"
				resp.Body = io.NopCloser(bytes.NewReader([]byte(`<Error><Code>SlowDown</Code><Message>slow down</Message></Error>`)))
			}
		}}
	})
	if err := store.Copy(context.Background(), b.backup(t, usual())); err != nil {
		t.Fatal(err)
	}
	if failures.Load() < 3 {
		t.Errorf("%d answers seen, want the failures and a success", failures.Load())
	}
}

// TestLeftoversGo: what a killed copy left of a backup that was pruned meanwhile is removed.
func TestLeftoversGo(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t, nil)
	backup := b.backup(t, usual())
	run, cancel := context.WithCancel(ctx)
	store := b.newStore(t, func(o *offsite.Options) {
		o.Transport = &faulty{after: func(r *http.Request, _ *http.Response) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "roles.sql") {
				cancel()
			}
		}}
	})
	if err := store.Copy(run, backup); err == nil {
		t.Fatal("the copy was not interrupted")
	}
	if n := len(b.s3.objects(t)); n == 0 {
		t.Fatal("nothing was left to remove")
	}
	if err := b.store.Prune(ctx, nil, ""); err != nil {
		t.Fatal(err)
	}
	if n := len(b.s3.objects(t)); n == 0 {
		t.Error("the parts of a backup that is here were removed: it could not be resumed")
	}
	if err := b.repo.Remove(backup.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Prune(ctx, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := b.s3.objects(t); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}
