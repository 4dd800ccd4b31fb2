package pgbackrest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// escape says what a program that a function in the backup starts could do. The first two words say that it ran at all.
const escape = `echo ran
echo x > "$PWD/inside" && echo wrote-inside
cat @SECRET@ >/dev/null 2>&1 && echo read-a-secret
cat @CONF@ >/dev/null 2>&1 && echo read-the-configuration
ls @REPO@ >/dev/null 2>&1 && echo listed-the-repository
(echo x >> @SECRET@) 2>/dev/null && echo changed-a-file
bash -c 'exec 3<>/dev/tcp/127.0.0.1/@PORT@' 2>/dev/null && echo connected-to-loopback
exit 0`

// TestTheRehearsalReachesNobody: the throwaway server fetches WAL by pgBackRest, so that it has the network while it recovers. Nothing
// of the backup's may use it: no function, and no subscription, which would take from its publisher what is meant for the live server.
func TestTheRehearsalReachesNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{Settings: map[string]string{"max_logical_replication_workers": "0"}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var came atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			_ = conn.Close()
		}
	}()
	secret := filepath.Join(b.pg.Dir, "secret")
	if err := errors.Join(os.WriteFile(secret, []byte("hunter2"), 0o666), os.Chmod(secret, 0o666)); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	script := strings.NewReplacer("@SECRET@", secret, "@CONF@", b.conf, "@REPO@", filepath.Join(b.pg.Dir, "repo"), "@PORT@", port).
		Replace(escape)
	if err := b.pg.ExecIn(t.Context(), "shop",
		fmt.Sprintf(`CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=%s' PUBLICATION p WITH (connect = false)`, port),
		`ALTER SUBSCRIPTION s ENABLE`); err != nil {
		t.Fatal(err)
	}
	backup := b.run(t, pgbackrest.Full)
	programs, err := clients.Finder{}.Find(t.Context(), backup.Manifest.Server.Major(), "postgres", "pg_controldata")
	if err != nil {
		t.Fatal(err)
	}
	room, err := scratch.New(t.Context(), scratch.Options{Base: workspace(), Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	if err := b.engine.Rehearse(t.Context(), backup, room); err != nil {
		t.Fatal(err)
	}
	conn, err := room.Target().Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var said []string
	for _, sql := range []string{"CREATE TEMP TABLE said (line text)", "COPY pg_temp.said FROM PROGRAM " + sqltext.Literal(script)} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.Query(t.Context(), "SELECT line FROM pg_temp.said")
	if err == nil {
		said, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil || len(said) < 2 {
		t.Fatalf("the program did not run as it should: %q, %v", said, err)
	}
	if n := came.Load(); n > 0 {
		t.Errorf("the throwaway server connected to the subscription's publisher, or the program to loopback: %d times", n)
	}
	if len(cage.Missing()) > 0 {
		t.Skipf("this machine can't check everything: %q", cage.Missing())
	}
	for _, word := range said {
		if word != "ran" && word != "wrote-inside" {
			t.Errorf("the rehearsal is no cage: %s", word)
		}
	}
}
