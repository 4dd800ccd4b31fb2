package pgbackrest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/enginetest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestWhatEveryEngineMustDo(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(t *testing.T) *enginetest.Bench {
		b := newServer(t, pgtest.Options{})
		repo := filepath.Join(b.pg.Dir, "repo")
		if os.Geteuid() == 0 {
			enginetest.SmallDisk(t, repo, 192<<20)
		}
		b.stock(t)
		b.engine.Type = pgbackrest.Full
		return &enginetest.Bench{
			Server: b.pg, Job: b.job,
			FullDisk: failure.Dump,
			Damage: func(t *testing.T, x catalog.Backup) {
				b.engine.Options = []string{"--job-retry=0"} // damage does not heal
				files, err := filepath.Glob(filepath.Join(repo, "backup", stanza, x.Manifest.External.Label, "bundle", "*"))
				if err != nil || len(files) == 0 {
					t.Fatal(files, err)
				}
				content, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				for i := len(content) / 3; i < len(content)/3+100; i++ {
					content[i] ^= 0x55
				}
				if err := os.WriteFile(files[0], content, 0o640); err != nil {
					t.Fatal(err)
				}
			},
			Fill: func(t *testing.T) func() { return enginetest.FillDisk(t, repo) },
		}
	})
}
