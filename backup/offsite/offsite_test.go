package offsite_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

func newKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestCopyComesBackEqual is the whole way: there, complete, and back into an empty repository.
func TestCopyComesBackEqual(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for name, recipients := range map[string][]string{"in clear": nil, "encrypted": {key.Recipient().String()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			b := newBench(t, func(o *offsite.Options) { o.Recipients = recipients })
			backup := b.backup(t, usual())
			if err := b.store.Copy(ctx, backup); err != nil {
				t.Fatal(err)
			}
			st := b.fresh(t, backup.ID).Status.Offsite
			if st == nil || st.Completed == nil || st.Error != "" || len(st.Files) != 8 || (st.Encryption != nil) != (recipients != nil) {
				t.Fatalf("status = %+v", st)
			}
			objects := b.s3.objects(t)
			if len(objects) != 9 {
				t.Errorf("stored: %v, want 9 objects", slices.Sorted(maps.Keys(objects)))
			}
			if recipients != nil {
				b.wantNoPlaintext(t)
			}

			lost := b.repo
			b.repo = newRepo(t) // the machine is gone: another repository, and no recipient
			store := b.newStore(t, nil)
			copies, err := store.List(ctx)
			if err != nil || len(copies) != 1 || copies[0].ID != backup.ID || copies[0].RepositoryID != lost.ID() {
				t.Fatalf("copies = %+v, %v", copies, err)
			}
			chosen, err := offsite.Choose(copies, catalog.Latest)
			if err != nil {
				t.Fatal(err)
			}
			got, err := store.Fetch(ctx, chosen, []age.Identity{newKey(t), key})
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != backup.ID || got.Health != catalog.Unverified || !got.Manifest.RecoveryPoint.Equal(backup.Manifest.RecoveryPoint) {
				t.Errorf("fetched %+v", got)
			}
			for name, want := range usual() {
				if content, err := os.ReadFile(filepath.Join(got.Dir, name)); err != nil || !bytes.Equal(content, want) {
					t.Errorf("%s: %d bytes, %v, want %d", name, len(content), err, len(want))
				}
			}
			if err := b.repo.CheckSums(got.ID, nil); err != nil {
				t.Error(err)
			}
			if again, err := store.Fetch(ctx, chosen, nil); err != nil || again.ID != got.ID {
				t.Errorf("a second fetch = %+v, %v", again, err)
			}
		})
	}
}

// wantNoPlaintext looks for what the backup holds in everything that is stored.
func (b *bench) wantNoPlaintext(t *testing.T) {
	t.Helper()
	err := filepath.Walk(b.s3.Dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("secret_customer")) {
			t.Errorf("%s holds plain text", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCopyIsIdempotent(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	puts := 0
	b := newBench(t, nil)
	b.store = b.newStore(t, func(o *offsite.Options) { o.Transport = counting(&puts) })
	backup := b.backup(t, usual())
	for range 2 {
		if err := b.store.Copy(ctx, b.fresh(t, backup.ID)); err != nil {
			t.Fatal(err)
		}
	}
	if puts != 9 {
		t.Errorf("%d objects were written in two copies, want 9", puts)
	}
	// The status is lost, the copy is not.
	if err := b.repo.UpdateStatus(ctx, backup.ID, func(s *catalog.Status) { s.Offsite = nil }); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Copy(ctx, b.fresh(t, backup.ID)); err != nil {
		t.Fatal(err)
	}
	if st := b.fresh(t, backup.ID).Status.Offsite; puts != 9 || st == nil || st.Completed == nil {
		t.Errorf("%d objects were written, status = %+v, want nothing new and complete", puts, st)
	}
	// A store with another recipient writes it anew.
	other := b.newStore(t, func(o *offsite.Options) { o.Recipients = []string{newKey(t).Recipient().String()} })
	if err := other.Copy(ctx, b.fresh(t, backup.ID)); err != nil {
		t.Fatal(err)
	}
	copies, err := other.List(ctx)
	if err != nil || len(copies) != 1 || copies[0].Encryption == nil {
		t.Errorf("copies = %+v, %v, want an encrypted one", copies, err)
	}
}

func TestCheapReadsOnlyTheManifestBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t, nil)
	var read []string
	b.store = b.newStore(t, func(o *offsite.Options) { o.Cheap, o.Transport = true, reading(&read) })
	if err := b.store.Copy(ctx, b.backup(t, usual())); err != nil {
		t.Fatal(err)
	}
	if len(read) != 2 || !strings.HasSuffix(read[0], "manifest.json") || !strings.HasSuffix(read[1], "copy.json") {
		t.Errorf("read back: %v, want the manifest and the index", read)
	}
}

func TestPruneFollowsThePolicyAndKeepsWhatIsHere(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t, func(o *offsite.Options) { o.Policy = retention.Policy{Keep: 2} })
	var all []catalog.Backup
	for i := range 5 {
		backup := b.backup(t, map[string][]byte{"databases/shop.dump": noise(1000 + i)})
		if err := b.store.Copy(ctx, backup); err != nil {
			t.Fatal(err)
		}
		all = append(all, backup)
	}
	// The second is the only verified one.
	err := b.repo.UpdateStatus(ctx, all[1].ID, func(s *catalog.Status) { s.Verified = &catalog.Verification{At: time.Now(), Level: 3} })
	if err != nil {
		t.Fatal(err)
	}
	ids := func(store *offsite.Store) string {
		t.Helper()
		copies, err := store.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, c := range copies {
			s = append(s, fmt.Sprint(c.Sequence))
		}
		return strings.Join(s, " ")
	}
	if err := b.store.Prune(ctx, []catalog.Backup{all[2]}, ""); err != nil {
		t.Fatal(err)
	}
	if got := ids(b.store); got != "5 4 3 2" {
		t.Errorf("copies = %s, want 5 4 (newest), 3 (kept here) and 2 (verified)", got)
	}
	if st := b.fresh(t, all[0].ID).Status.Offsite; st != nil {
		t.Errorf("the status of a backup whose copy was removed still has %+v", st)
	}
	// A repository that lost its backups, and another one, take nothing along.
	for _, backup := range all {
		if err := b.repo.Remove(backup.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.newStore(t, nil).Prune(ctx, nil, ""); err != nil {
		t.Fatal(err)
	}
	b.repo = newRepo(t)
	stranger := b.newStore(t, func(o *offsite.Options) { o.Policy = retention.Policy{Keep: 1} })
	if err := stranger.Prune(ctx, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := ids(b.store); got != "5 4 3 2" {
		t.Errorf("copies = %s after local losses, want 5 4 3 2", got)
	}
}

// TestAStoreThatKeepsWhatItSaidItDeleted: each run would say that it removed the same copies.
func TestAStoreThatKeepsWhatItSaidItDeleted(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	for i := range 2 {
		if err := b.store.Copy(t.Context(), b.backup(t, map[string][]byte{"databases/shop.dump": noise(1000 + i)})); err != nil {
			t.Fatal(err)
		}
	}
	keepOne := func(o *offsite.Options) { o.Policy = retention.Policy{Keep: 1} }
	lying := b.newStore(t, func(o *offsite.Options) {
		keepOne(o)
		target, err := url.Parse(o.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		behind := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which the signature is of
		}}
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			behind.ServeHTTP(w, r)
		}))
		t.Cleanup(proxy.Close)
		o.Endpoint = proxy.URL
	})
	err := lying.Prune(t.Context(), nil, "")
	if failure.Of(err) != failure.Offsite || !strings.Contains(err.Error(), "still has them: ") {
		t.Errorf("a store that deletes nothing: %v", err)
	}
	if err := b.newStore(t, keepOne).Prune(t.Context(), nil, ""); err != nil {
		t.Errorf("one that does: %v", err)
	}
}

func TestOptionsThatCantBeMeant(t *testing.T) {
	for name, change := range map[string]func(*offsite.Options){
		"no scheme":             func(o *offsite.Options) { o.URL = "backups/prefix" },
		"credentials in URL":    func(o *offsite.Options) { o.URL = "s3://key:" + secretKey + "@backups" },
		"no bucket":             func(o *offsite.Options) { o.URL = "s3:///prefix" },
		"endpoint with a path":  func(o *offsite.Options) { o.Endpoint = "https://host/backups" },
		"endpoint without http": func(o *offsite.Options) { o.Endpoint = "host:9000" },
		"half of a key":         func(o *offsite.Options) { o.SecretKey = "" },
		"secret recipient":      func(o *offsite.Options) { o.Recipients = []string{newKey(t).String()} },
		"no recipient":          func(o *offsite.Options) { o.Recipients = []string{"age1nonsense"} },
		"policy":                func(o *offsite.Options) { o.Policy = retention.Policy{Keep: -1} },
	} {
		o := offsite.Options{URL: "s3://backups/prefix", Endpoint: "https://host:9000", AccessKey: accessKey, SecretKey: secretKey}
		change(&o)
		_, err := offsite.New(o)
		if failure.Of(err) != failure.Config || strings.Contains(fmt.Sprint(err), secretKey) ||
			strings.Contains(fmt.Sprint(err), "AGE-SECRET-KEY-1") {
			t.Errorf("%s: error = %v, want reason config and no secret", name, err)
		}
	}
}

func TestChoose(t *testing.T) {
	at := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	var copies []offsite.Copy
	for i := range 3 {
		copies = append(copies, offsite.Copy{Index: offsite.Index{ID: fmt.Sprintf("20261123T020000Z-%d", 3-i),
			RecoveryPoint: at.Add(-time.Duration(i) * time.Hour)}})
	}
	for name, want := range map[string]string{
		"latest": "20261123T020000Z-3", "20261123T020000Z-1": "20261123T020000Z-1", "2026-11-23T01:30:00Z": "20261123T020000Z-2",
	} {
		if got, err := offsite.Choose(copies, name); err != nil || got.ID != want {
			t.Errorf("%s = %s, %v, want %s", name, got.ID, err, want)
		}
	}
	for _, name := range []string{"20261123T020000Z-9", "2026-11-22T00:00:00Z", "yesterday"} {
		if _, err := offsite.Choose(copies, name); failure.Of(err) != failure.Nothing {
			t.Errorf("%s = %v, want reason nothing", name, err)
		}
	}
}
