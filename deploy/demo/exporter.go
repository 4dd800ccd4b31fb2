package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const exporterPort = 9187

// exporter is pg_reliability_exporter, run as the server's user: it needs no rights beyond those.
type exporter struct{ child }

func startExporter(ctx context.Context, program string, r *room, db *database, backups *backups, fleet *fleet) (*exporter, error) {
	program, err := r.copyProgram(program)
	if err != nil {
		return nil, fmt.Errorf("copy the exporter: %w", err)
	}
	e := &exporter{child{name: "exporter", port: exporterPort, ready: "/api/health/ready", command: func(address string) *exec.Cmd {
		cmd := pgtest.Command(program,
			"--web.listen-address="+address,
			"--state.dir="+filepath.Join(db.Dir, "exporter"),
			"--volume=data="+db.DataDir(),
			"--log.file="+db.LogFile(),
		)
		if backups.missing == "" {
			cmd.Args = append(cmd.Args, "--backup.catalog="+backups.repository)
		}
		if fleet.config != "" {
			cmd.Args = append(cmd.Args, "--config.file="+fleet.config)
		}
		// Nothing of the user's environment may lead the exporter to another server.
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"),
			fmt.Sprintf("DATA_SOURCE_URI=127.0.0.1:%d/%s?sslmode=disable", db.Port, appDatabase),
			"DATA_SOURCE_USER=" + pgtest.Monitor,
			"DATA_SOURCE_PASS=" + db.password,
		}
		return cmd
	}}}
	return e, e.launch(ctx, r)
}
