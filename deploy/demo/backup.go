package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	backupPort = 9188
	backupRole = "reliability_backup"
	// backupEvery is a day for the impatient.
	backupEvery = 30 * time.Second
	// firstWithReadAll is the first major version with pg_read_all_data; before, the job needs a superuser.
	firstWithReadAll = 14
)

// backups is pg_reliability_backup, which backs the server up, and restores each backup to see that it is one.
type backups struct {
	child
	// missing says why there is none; empty when there is.
	missing string
	// program and repository as a user can name them.
	program, repository string
}

func startBackups(ctx context.Context, program string, r *room, db *database) (*backups, error) {
	b := &backups{program: program, repository: filepath.Join(db.Dir, "backups")}
	switch {
	case program == "":
		b.missing = "switched off"
	case !db.Install.HasClients:
		b.missing = fmt.Sprintf("there is no pg_dump of version %d on this machine", db.Install.Major)
	case db.Install.Major < firstWithReadAll:
		b.missing = fmt.Sprintf("the demo's role for them needs PostgreSQL %d", firstWithReadAll)
	}
	if b.missing != "" {
		return b, nil
	}
	err := db.Exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE pg_read_all_data, pg_monitor", backupRole, db.password))
	if err != nil {
		return nil, err
	}
	if program, err = r.copyProgram(program); err != nil {
		return nil, fmt.Errorf("copy the backup job: %w", err)
	}
	// Throwaway servers in the demo's own directory, so that nothing of them is left behind.
	scratch := filepath.Join(db.Dir, "scratch")
	for _, prepare := range []*exec.Cmd{
		pgtest.Command("mkdir", "-p", scratch),
		pgtest.Command(program, "--repository="+b.repository, "init"),
	} {
		if out, err := prepare.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("prepare the backups: %w: %s", err, out)
		}
	}
	b.child = child{name: "backup job", port: backupPort, ready: "/metrics", command: func(address string) *exec.Cmd {
		cmd := pgtest.Command(program, "schedule",
			"--repository="+b.repository,
			"--cron=@every "+backupEvery.String(),
			"--scratch-dir="+scratch,
			"--client-dir="+db.Install.BinDir,
			"--max-age=5m",
			"--retry-delay=5s",
			"--web.listen-address="+address,
		)
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"),
			fmt.Sprintf("DATA_SOURCE_URI=127.0.0.1:%d/postgres?sslmode=disable", db.Port),
			"DATA_SOURCE_USER=" + backupRole,
			"DATA_SOURCE_PASS=" + db.password,
		}
		return cmd
	}}
	return b, b.launch(ctx, r)
}

// introduce says what there is to see.
func (b *backups) introduce(c *console) {
	if b.missing != "" {
		c.print("  Backups     none: %s", b.missing)
		return
	}
	c.print("  Backups     http://%s/metrics (one each %s, the newest 7 kept, each restored and compared)", b.address, backupEvery)
}
