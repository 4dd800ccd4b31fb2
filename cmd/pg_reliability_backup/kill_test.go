package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// kills is how many times a test kills.
func kills() int {
	if long() {
		return 20
	}
	return 4
}

// clone makes a backup of a later run out of another's directory.
func (b *bench) clone(from string, of catalog.Backup, sequence uint64) {
	b.t.Helper()
	id := fmt.Sprintf("%s-%d", strings.Split(of.ID, "-")[0], sequence)
	to := filepath.Join(b.repo, "backups", id)
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	b.rewrite(to, func(m map[string]any) { m["id"], m["sequence"] = id, sequence })
}

// rewrite changes the manifest in a backup's directory, and its digest, also in what its status says that it is of.
func (b *bench) rewrite(dir string, change func(m map[string]any)) {
	b.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(read(b.t, filepath.Join(dir, "manifest.json")), &m); err != nil {
		b.t.Fatal(err)
	}
	change(m)
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	write(b.t, filepath.Join(dir, "manifest.json"), text)
	var sums strings.Builder
	for _, line := range strings.Split(string(read(b.t, filepath.Join(dir, "SHA256SUMS"))), "\n") {
		if line != "" && !strings.HasSuffix(line, "  manifest.json") {
			sums.WriteString(line + "\n")
		}
	}
	sum := sha256.Sum256(text)
	write(b.t, filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()+hex.EncodeToString(sum[:])+"  manifest.json\n"))

	status := filepath.Join(dir, "status.json")
	said, err := os.ReadFile(status)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var st map[string]any
	if err == nil {
		err = json.Unmarshal(said, &st)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if st["of"] != nil {
		st["of"] = hex.EncodeToString(sum[:])
	}
	if said, err = json.Marshal(st); err != nil {
		b.t.Fatal(err)
	}
	write(b.t, status, said)
}

// killed runs the program and kills it after a while; it says how long the program lived, and whether it was killed.
func (b *bench) killed(after time.Duration, args ...string) (time.Duration, bool) {
	b.t.Helper()
	began := time.Now()
	cmd := b.cmd(args...)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	return time.Since(began), cmd.ProcessState.ExitCode() < 0
}

// wantClean expects nothing of a killed command in the repository.
func (b *bench) wantClean() {
	b.t.Helper()
	for _, dir := range []string{"tmp", "trash"} {
		if left, err := os.ReadDir(filepath.Join(b.repo, dir)); err != nil || len(left) > 0 {
			b.t.Errorf("%s holds %v, %v", dir, left, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(b.repo, "*.new")); len(left) > 0 {
		b.t.Errorf("left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(b.repo, "index.json.*")); len(left) > 0 {
		b.t.Errorf("left: %v", left)
	}
}

func TestPruneKilledAtRandomMoments(t *testing.T) {
	b := newBench(t)
	b.run("--verify")
	first := b.list()[0]
	model := filepath.Join(t.TempDir(), "model") // the first will be pruned
	if out, err := exec.Command("cp", "-a", filepath.Join(b.repo, "backups", first.ID), model).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sequence := first.Sequence
	grow := func() {
		for range 40 {
			sequence++
			b.clone(model, first, sequence)
		}
	}
	grow()
	took, _ := b.killed(time.Minute, "prune", "--keep=3")
	if n := len(b.list()); n != 3 {
		t.Fatalf("%d backups are left, want 3", n)
	}
	hits := 0
	for i := range kills() {
		grow()
		after := time.Duration(rand.Int64N(int64(took)))
		lived, hit := b.killed(after, "prune", "--keep=3")
		if hit {
			hits++
		} else {
			took = max(min(took, lived), 2*time.Millisecond) // it was quicker than the first one
		}
		all := b.list()
		t.Logf("kill %d after %s of %s: %d backups are left", i+1, lived.Round(time.Millisecond), took.Round(time.Millisecond), len(all))
		if len(all) < 3 || all[0].Sequence != sequence || all[2].Sequence != sequence-2 {
			t.Fatalf("kill %d: the newest are gone", i+1)
		}
		for _, x := range all {
			if !x.Health.Good() {
				t.Fatalf("kill %d: %s is %s (%s)", i+1, x.ID, x.Health, x.Problem)
			}
		}
		b.must("prune", "--keep=3")
		b.wantClean()
	}
	b.must("verify", "--all", "--level=1")
	if hits == 0 {
		t.Error("nothing was killed: this tests nothing")
	}
}

// TestUploadKilledWithAPartOnTheWire: SIGKILL comes while the store has parts of a file and no file. What was sent is no copy to anybody;
// the next run makes the copy, and no part that nobody will ever see is left in the store.
func TestUploadKilledWithAPartOnTheWire(t *testing.T) {
	b := newBench(t)
	store := pgtest.NewS3(t, "backups")
	b.fill(40)
	id := b.run("--compress=0")
	b.env = []string{
		"PG_RELIABILITY_BACKUP_OFFSITE_URL=s3://backups/db1", "AWS_ENDPOINT_URL=http://" + store.Addr, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + pgtest.S3AccessKey, "AWS_SECRET_ACCESS_KEY=" + pgtest.S3SecretKey,
	}
	client, err := minio.New(store.Addr, &minio.Options{Creds: credentials.NewStaticV4(pgtest.S3AccessKey, pgtest.S3SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	unfinished := func() (n int) {
		for u := range client.ListIncompleteUploads(t.Context(), "backups", "db1/", true) {
			if u.Err == nil {
				n++
			}
		}
		return n
	}
	cmd := b.cmd("offsite", "copy", id)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for unfinished() == 0 {
		select {
		case err := <-ended:
			t.Fatalf("the copy was made before a part was seen (%v): this tests nothing", err)
		case <-time.After(time.Millisecond):
		}
	}
	_ = cmd.Process.Kill()
	<-ended
	if n := unfinished(); n == 0 {
		t.Fatal("no upload was left unfinished: this tests nothing")
	}
	copies := func() (ids []string) {
		t.Helper()
		var list []struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(b.must("offsite", "list", "--json")), &list); err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			ids = append(ids, c.ID)
		}
		return ids
	}
	if got := copies(); len(got) != 0 {
		t.Errorf("half a copy counts as one: %v", got)
	}
	next := b.run()
	if got := copies(); !slices.Equal(got, []string{next, id}) {
		t.Errorf("copies of %v after the next run, want %s and %s", got, next, id)
	}
	if n := unfinished(); n != 0 {
		t.Errorf("%d uploads are unfinished after the next run", n)
	}
	b.wantClean()
}

func TestUploadKilledAtRandomMomentsIsMadeUpFor(t *testing.T) {
	b := newBench(t)
	store := pgtest.NewS3(t, "backups")
	b.fill(20)
	// The catalogue is to say what lacks a copy: this backup's run knew of no other place.
	b.run()
	b.env = []string{
		"PG_RELIABILITY_BACKUP_OFFSITE_URL=s3://backups/db1", "AWS_ENDPOINT_URL=http://" + store.Addr, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + pgtest.S3AccessKey, "AWS_SECRET_ACCESS_KEY=" + pgtest.S3SecretKey,
	}
	took, _ := b.killed(time.Minute, "offsite", "copy", "latest")
	hits := 0
	for i := range kills() {
		b.env = append(b.env[:5:5], "PG_RELIABILITY_BACKUP_OFFSITE_URL=")
		b.must("run", "--no-prune")
		b.env = b.env[:5]
		lived, hit := b.killed(time.Duration(rand.Int64N(int64(took))), "offsite", "copy", "latest")
		t.Logf("kill %d after %s of %s", i+1, lived.Round(time.Millisecond), took.Round(time.Millisecond))
		if hit {
			hits++
		}
	}
	b.must("run", "--no-prune", "--keep=100")
	for _, x := range b.list() {
		if o := x.Status.Offsite; o == nil || o.Completed == nil {
			t.Errorf("%s has no complete copy: %+v", x.ID, o)
		}
	}
	var copies []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(b.must("offsite", "list", "--json")), &copies); err != nil || len(copies) != len(b.list()) {
		t.Errorf("%d copies of %d backups, %v", len(copies), len(b.list()), err)
	}
	b.wantClean()
	b.must("run", "--keep=1")
	if err := json.Unmarshal([]byte(b.must("offsite", "list", "--json")), &copies); err != nil || len(copies) != 1 {
		t.Errorf("%d copies are left, %v", len(copies), err)
	}
	if hits == 0 {
		t.Error("nothing was killed: this tests nothing")
	}
}
