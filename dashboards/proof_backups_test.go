package dashboards_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// backup is our program's command on a server, with a bucket for copies.
func (h *house) backup(dsn string, args ...string) *exec.Cmd {
	cmd := exec.Command(h.Program(h, "pg_reliability_backup"), append(args, "--repository="+h.repository)...)
	cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+dsn,
		"PG_RELIABILITY_BACKUP_OFFSITE_URL=s3://backups/db1", "AWS_ENDPOINT_URL=http://"+h.store.Addr, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID="+pgtest.S3AccessKey, "AWS_SECRET_ACCESS_KEY="+pgtest.S3SecretKey)
	return cmd
}

func (h *house) startBackups() {
	h.Helper()
	h.store = pgtest.NewS3(h, "backups")
	h.repository = filepath.Join(h.Dir, "repository")
	h.must(os.Mkdir(h.repository, 0o755))
	h.run(h.backup(h.superuser(), "init"))
}

func (h *house) superuser() string { return h.db1.DSN(pgtest.Superuser, "shop") }

func (h *house) run(cmd *exec.Cmd) {
	h.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Fatalf("%v: %v\n%s", cmd.Args[1:], err, out)
	}
}

func (h *house) fails(cmd *exec.Cmd) {
	h.Helper()
	if out, err := cmd.CombinedOutput(); err == nil {
		h.Fatalf("%v succeeded:\n%s", cmd.Args[1:], out)
	}
}

// backups are one that is restored and compared, a failed one, one that is damaged, a restore beside the original, and
// an empty server that is filled again.
func (h *house) backups() {
	h.tell("backups: verified, failed, damaged; a restore; an automatic restore")
	super := h.superuser()
	// The schedule begins with a backup, because there is none. One job at a time works on a repository.
	h.sees("the schedule's backup", `pg_reliability_backup_count{state="verified"} == 1`)
	h.run(h.backup(super, "run", "--database=shop"))
	h.damage()
	h.fails(h.backup(super, "verify"))
	h.run(h.backup(super, "run", "--verify", "--database=shop"))
	h.fails(h.backup("postgres://postgres@127.0.0.1:1/postgres?sslmode=disable", "run"))
	h.run(h.backup(super, "restore", "--database=shop", "--as=drill", "latest-verified"))
	empty := pgtest.New(h, pgtest.Options{Port: h.Port(h), NoMonitorRole: true})
	h.run(h.backup(empty.DSN(pgtest.Superuser, "postgres"), "bootstrap"))
	h.must(empty.Stop())
}

// damage flips a bit in the newest dump.
func (h *house) damage() {
	h.Helper()
	newest := ""
	h.must(filepath.WalkDir(h.repository, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "shop.dump" {
			newest = max(newest, path)
		}
		return err
	}))
	content, err := os.ReadFile(newest)
	h.must(err)
	content[len(content)/2] ^= 0x40
	h.must(os.WriteFile(newest, content, 0o600))
}

// backingUp leaves a backup running that waits for a table somebody has locked.
func (h *house) backingUp() {
	h.Helper()
	cmd := h.backup(h.superuser(), "run", "--database=shop")
	h.must(pgtest.Spawn(cmd))
	h.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}
