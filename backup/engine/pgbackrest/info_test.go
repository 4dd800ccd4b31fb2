package pgbackrest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// The files of testdata were printed by pgBackRest 2.45 with PostgreSQL 15; paths are shortened.
func recorded(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRecordedInfo(t *testing.T) {
	for name, want := range map[string]struct {
		repo    int
		backups int
		reason  failure.Reason // "": readable
		text    string
	}{
		"no-backups.json":              {repo: 1},
		"one-full.json":                {repo: 1, backups: 1},
		"chain.json":                   {repo: 1, backups: 4},
		"backup-running.json":          {repo: 1, backups: 4},
		"second-repository-empty.json": {repo: 1, backups: 5},
		"missing-stanza.json":          {repo: 1, reason: failure.Repository, text: "missing stanza path"},
		"repository-gone.json":         {repo: 1, reason: failure.Repository, text: "stanza-create"},
		"unreadable.json":              {repo: 1, reason: failure.Repository, text: "Permission denied"},
		"damaged-info.json":            {repo: 1, reason: failure.Repository, text: "FormatError"},
	} {
		t.Run(name, func(t *testing.T) {
			i, err := ParseInfo([]byte(recorded(t, name)), "main")
			if err != nil {
				t.Fatal(err)
			}
			i, err = i.of(want.repo)
			if failure.Of(err) != want.reason || err != nil && (!strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error = %v, want reason %q and %q in one line", err, want.reason, want.text)
			}
			if err == nil && len(i.Backups) != want.backups {
				t.Errorf("%d backups, want %d", len(i.Backups), want.backups)
			}
		})
	}
	two, err := ParseInfo([]byte(recorded(t, "second-repository-empty.json")), "main")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.of(2); failure.Of(err) != failure.Repository {
		t.Errorf("repository 2 = %v, want reason repository", err)
	}
	if _, err := two.of(3); failure.Of(err) != failure.Repository || !strings.Contains(err.Error(), "not configured") {
		t.Errorf("repository 3 = %v, want that it is not configured", err)
	}
}

func TestRecordedBackupInFull(t *testing.T) {
	i, err := ParseInfo([]byte(recorded(t, "one-set.json")), "main")
	if err != nil || len(i.Backups) != 1 {
		t.Fatalf("%+v, %v", i, err)
	}
	s := i.Backups[0]
	if s.Type != Incremental || s.Prior != "20261123-025042F_20261123-025046I" || len(s.Reference) != 3 || s.Error ||
		s.Info.Repository.Size != 6058721 || s.Info.Repository.Delta != 1782203 || s.Stopped().Format("15:04:05") != "02:50:50" {
		t.Errorf("backup = %+v", s)
	}
	if len(s.Databases) != 2 || s.Databases[1].Name != "shop" {
		t.Errorf("databases = %+v, want postgres and shop", s.Databases)
	}
	if db := i.server(s.DB.ID); db.Version != "15" || db.SystemID.String() != "7711192614009892684" {
		t.Errorf("server = %+v", db)
	}
}

func TestInfoThatIsNoInfo(t *testing.T) {
	for _, text := range []string{"", "{", `{"name":"main"}`, `[{"name":"main","backup":[{"label":"../../etc","timestamp":{"stop":1}}]}]`,
		`[{"name":"main","backup":[{"label":"20261123-025042F","timestamp":{"stop":0}}]}]`} {
		if i, err := ParseInfo([]byte(text), "main"); err == nil {
			t.Errorf("%q was read as %+v", text, i)
		}
	}
	i, err := ParseInfo([]byte(`[]`), "main") // an empty repository
	if _, err2 := i.of(1); err != nil || failure.Of(err2) != failure.Repository {
		t.Errorf("an empty list = %v, %v", err, err2)
	}
}

func TestRecordedVerify(t *testing.T) {
	for label, v := range ParseVerify(recorded(t, "verify-ok.txt")) {
		if v.Status != "valid" {
			t.Errorf("%s is %s", label, v.Status)
		}
	}
	got := ParseVerify(recorded(t, "verify-damaged.txt"))
	if len(got) != 5 || got["20261123-025051F"].Status != "valid" {
		t.Errorf("verdicts = %+v", got)
	}
	if v := got["20261123-025042F"]; v.Status != "invalid" || !strings.Contains(v.Detail, "checksum invalid: 1") {
		t.Errorf("verdict = %+v", v)
	}
}
