package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	var m map[string]any
	if err := json.Unmarshal(read(b.t, filepath.Join(from, "manifest.json")), &m); err != nil {
		b.t.Fatal(err)
	}
	m["id"], m["sequence"] = id, sequence
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	write(b.t, filepath.Join(to, "manifest.json"), text)
	var sums strings.Builder
	for _, line := range strings.Split(string(read(b.t, filepath.Join(from, "SHA256SUMS"))), "\n") {
		if line != "" && !strings.HasSuffix(line, "  manifest.json") {
			sums.WriteString(line + "\n")
		}
	}
	sum := sha256.Sum256(text)
	write(b.t, filepath.Join(to, "SHA256SUMS"), []byte(sums.String()+hex.EncodeToString(sum[:])+"  manifest.json\n"))
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
