package pgdump_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/enginetest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestWhatEveryEngineMustDo(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) *enginetest.Bench {
		pg := newServer(t, "CREATE DATABASE shop")
		exec(t, pg, "shop",
			"CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE)",
			"INSERT INTO customer (name) SELECT md5(i::text) FROM generate_series(1, 1000) i")
		b := newBench(t, pg, pgtest.Superuser)
		disk := t.TempDir()
		return &enginetest.Bench{
			Server: pg, Job: b.job,
			FullDisk: failure.Space,
			Damage: func(t *testing.T, x catalog.Backup) {
				path := filepath.Join(x.Dir, "databases", "shop.dump")
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for i := len(content) / 2; i < len(content)/2+50; i++ {
					content[i] ^= 0x55
				}
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			Fill: func(t *testing.T) func() {
				// More than the repository keeps in reserve.
				exec(t, pg, "shop", "CREATE TABLE noise AS SELECT md5(random()::text || i) AS v FROM generate_series(1, 50000) i")
				enginetest.SmallDisk(t, disk, 16<<20)
				dir := filepath.Join(disk, "repo")
				if err := os.CopyFS(dir, os.DirFS(b.repo.Dir())); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				repo, err := catalog.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				b.job.Repo, b.job.Verifier.Repo = repo, repo
				return enginetest.FillDisk(t, disk)
			},
		}
	})
}
