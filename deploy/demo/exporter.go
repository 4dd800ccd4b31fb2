package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const exporterPort = 9187

// exporter is pg_reliability_exporter, run as the server's user: it needs no rights beyond those.
type exporter struct{ child }

func startExporter(ctx context.Context, program string, r *room, db *database) (*exporter, error) {
	program, err := r.copyProgram(program)
	if err != nil {
		return nil, fmt.Errorf("copy the exporter: %w", err)
	}
	addr, moved, err := address(ctx, exporterPort, "The exporter")
	if err != nil {
		return nil, err
	}
	cmd := pgtest.Command(program,
		"--web.listen-address="+addr,
		"--state.dir="+filepath.Join(db.Dir, "exporter"),
		"--volume=data="+db.DataDir(),
	)
	// Nothing of the user's environment may lead the exporter to another server.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		fmt.Sprintf("DATA_SOURCE_URI=127.0.0.1:%d/%s?sslmode=disable", db.Port, appDatabase),
		"DATA_SOURCE_USER=" + pgtest.Monitor,
		"DATA_SOURCE_PASS=" + db.password,
	}
	e := &exporter{child{name: "exporter", address: addr, moved: moved, cmd: cmd}}
	if err := e.start(r); err != nil {
		return nil, err
	}
	if err := e.waitFor(ctx, "/api/health/ready"); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}
