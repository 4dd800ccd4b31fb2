package alerts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// backupFaults are of the job and its repository, which the exporter of the server watches.
func backupFaults() []fault {
	return []fault{
		{
			name: "backup-job-killed", about: "SIGKILL of the backup job, whose metrics Prometheus scrapes, started again after the page",
			build:  jobBesideServer,
			inject: func(s *scene) { s.job.Kill() },
			heal:   func(s *scene) { s.job.Start(s) },
			want:   []alarm{{name: "PostgresBackupJobSilent", severity: "critical", instance: "backup-job-killed-job"}},
		},
		{
			name: "backup-job-stopped", about: "the backup job, known from its repository alone, is stopped before a run that it announced; " +
				"timed from when that was due",
			build: repository, inject: stopBeforeTheRun,
			heal: func(s *scene) { s.job.Start(s) }, // it makes up for the run
			want: []alarm{{name: "PostgresBackupJobSilent", severity: "critical"}},
		},
		{
			name: "backup-corrupted", about: "bytes of the newest of two backups flip, which `verify` finds; then two good ones are made",
			build: repository, inject: corrupt,
			heal: func(s *scene) { s.backup("run", "--verify", "--keep=2"); s.backup("run", "--verify", "--keep=2") },
			want: []alarm{{name: "PostgresBackupDamaged", severity: "warning"}, {name: "PostgresBackupTooFew", severity: "warning"}},
		},
		{
			name: "table-dropped", about: "a small table is dropped before the next backup, which is accepted after the ticket",
			build: repository, inject: dropTable,
			heal: func(s *scene) { s.backup("accept", filepath.Base(s.newestBackup())) },
			want: []alarm{{name: "PostgresBackupSuspect", severity: "warning"}},
		},
		{
			name: "server-emptied", about: "a server comes up empty and is filled from its backup automatically",
			build:  emptyServer,
			inject: func(s *scene) { s.backup("bootstrap") },
			want:   []alarm{{name: "PostgresAutoRestored", severity: "critical"}},
			lasts:  map[string]string{"PostgresAutoRestored": "after 6 h"},
		},
	}
}

// repository is a server with two verified backups, as many as are kept.
func repository(s *scene) {
	s.pg = newCluster(s, nil)
	s.must(s.pg.Exec(context.Background(), "CREATE TABLE orders AS SELECT g, repeat('x', 100) AS note FROM generate_series(1, 10000) AS g"))
	s.must(s.pg.Exec(context.Background(), "CREATE TABLE customers AS SELECT generate_series(1, 100) AS id"))
	s.store = filepath.Join(s.TempDir(), "repository")
	s.must(os.Mkdir(s.store, 0o755))
	s.args = append(s.args, "--backup.catalog="+s.store)
	s.backup("init")
	s.backup("run", "--verify", "--keep=2")
	s.backup("run", "--verify", "--keep=2")
}

func (s *scene) backupCommand(args ...string) *exec.Cmd {
	s.Helper()
	cmd := exec.Command(program(s, "pg_reliability_backup"), append(args, "--repository="+s.store)...)
	cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+s.pg.DSN(pgtest.Superuser, "postgres"))
	return cmd
}

// backup runs the backup program.
func (s *scene) backup(args ...string) {
	s.Helper()
	if out, err := s.backupCommand(args...).CombinedOutput(); err != nil {
		s.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// schedule starts the backup job.
func (s *scene) schedule(cron string) {
	s.Helper()
	address := freeAddress(s)
	s.job = stack.Run(s, "backup job", "http://"+address, "/-/healthy", func() *exec.Cmd {
		return s.backupCommand("schedule", "--cron="+cron, "--keep=2", "--web.listen-address="+address)
	})
}

func jobBesideServer(s *scene) {
	repository(s)
	s.schedule("@every 24h")
}

// stopBeforeTheRun has a job announce a run and be gone when it is due.
func stopBeforeTheRun(s *scene) {
	due := time.Now().UTC().Add(20 * time.Second).Truncate(time.Second)
	s.schedule(fmt.Sprintf("%d %d %d * * *", due.Second(), due.Minute(), due.Hour()))
	s.metric("pg_reliability_backup_next_run_timestamp_seconds", float64(due.Unix()))
	s.job.Kill()
	s.began = due
}

// corrupt flips a byte in the middle of the newest backup's largest file.
func corrupt(s *scene) {
	// That there were enough must have been recorded, which is once a minute.
	s.watch.holds(s, 3*time.Minute, 1, fmt.Sprintf(`pgr:backup_good:count{instance=%q} == 2`, s.fault.name))
	s.began = time.Now()
	newest := s.newestBackup()
	var largest string
	var size int64
	s.must(filepath.Walk(newest, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	}))
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	s.must(err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, size/2)
	s.must(err)
	_, err = f.WriteAt([]byte{^b[0]}, size/2)
	s.must(errors.Join(err, f.Close()))
	if out, err := s.backupCommand("verify", "latest").CombinedOutput(); err == nil {
		s.Fatalf("verify passed what is corrupt:\n%s", out)
	}
}

// newestBackup is its directory.
func (s *scene) newestBackup() string {
	s.Helper()
	all, err := filepath.Glob(filepath.Join(s.store, "backups", "*")) // named after their time
	s.must(err)
	return all[len(all)-1]
}

// dropTable loses a hundredth of the rows: too few for PostgresBackupTooSmall.
func dropTable(s *scene) {
	s.must(s.pg.Exec(context.Background(), "DROP TABLE customers"))
	s.backup("run", "--keep=2")
}

func emptyServer(s *scene) {
	repository(s)
	s.pg = pgtest.New(s, pgtest.Options{Port: freePort(s), NoMonitorRole: true})
	s.dsn = s.pg.DSN(pgtest.Superuser, "postgres")
}
