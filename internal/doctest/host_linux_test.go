package doctest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

const (
	hostSwitch = "PG_RELIABILITY_DOCS"
	// inside says to the test's second process which directory the first one made for it: our programs and a room.
	inside = "PG_RELIABILITY_DOCS_INSIDE"
	// patience for one block on a busy machine.
	patience = 5 * time.Minute
)

// TestHost runs the blocks of the guides and of the runbooks for a host: in namespaces of their own, so that the ports are the documented
// ones and /etc, /usr and /var may be written to. PostgreSQL, Prometheus, Alertmanager and our programs are real; systemctl and journalctl
// are not.
func TestHost(t *testing.T) {
	switch {
	case os.Getenv(inside) != "":
		hostBlocks(t, newHost(t, os.Getenv(inside)))
		return
	case os.Getenv(hostSwitch) != "1":
		t.Skipf("the guides' commands are run when %s=1", hostSwitch)
	case os.Getuid() != 0:
		t.Fatal("the guides' commands are run as root, in namespaces of their own")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// Open to the server's user, as t.TempDir is not.
	dir, err := os.MkdirTemp("/tmp", "doctest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "room"), 0o755)); err != nil {
		t.Fatal(err)
	}
	programs := stack.New(t, root)
	programs.Dir = dir
	for _, name := range []string{"pg_reliability_exporter", "pg_reliability_backup", "pg_reliability_monitor"} {
		programs.Program(t, name)
	}
	// The shell is the first process there: it buries those whose parents have ended.
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
		"bash", "-c", `ip link set lo up; "$@"; exit $?`, "bash", os.Args[0], "-test.run=^TestHost$", "-test.v", "-test.timeout=30m")
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("in the namespaces: %v", err)
	}
}

// host is the machine that the guides speak of.
type host struct {
	room, root, version string
	environ             []string

	mu       sync.Mutex
	received []string // bodies of what Alertmanager sent to people
}

func newHost(t *testing.T, dir string) *host {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{room: filepath.Join(dir, "room"), root: root}
	install := debian(t)
	h.version = strconv.Itoa(install.Major)
	home := filepath.Join("/var/lib/postgresql", h.version)
	data, log := filepath.Join(home, "main"), filepath.Join("/var/log/postgresql", "postgresql-"+h.version+"-main.log")
	h.environ = []string{
		"PATH=" + filepath.Join(root, "internal/doctest/testdata/bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC", "TERM=dumb", "PGPASSWORD=" + pgtest.Password,
		"DOCTEST_ROOM=" + h.room, "DOCTEST_BINDIR=" + install.BinDir, "DOCTEST_PGDATA=" + data, "DOCTEST_PGLOG=" + log,
	}
	h.must(t, `
mount -t tmpfs -o mode=755 tmpfs `+h.room+`
for d in etc usr var root; do
  mkdir -p $DOCTEST_ROOM/$d/upper $DOCTEST_ROOM/$d/work
  chmod --reference=/$d $DOCTEST_ROOM/$d/upper
  mount -t overlay -o lowerdir=/$d,upperdir=$DOCTEST_ROOM/$d/upper,workdir=$DOCTEST_ROOM/$d/work overlay /$d
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system # as where systemd runs: setup starts services there
install -d -m 1777 /var/tmp
rm -rf /etc/pg_reliability /etc/prometheus /var/log/postgresql /var/lib/postgresql /var/lib/pg_reliability_* /usr/share/pg_reliability
echo 'pg_reliability:x:64123:' >>/etc/group
echo 'pg_reliability:x:64123:64123::/var/lib/pg_reliability_backup:/usr/sbin/nologin' >>/etc/passwd
install -d -o postgres -g postgres /run/postgresql /var/log/postgresql /var/lib/postgresql
install -d -o pg_reliability -g pg_reliability -m 700 /var/lib/pg_reliability_backup /var/lib/pg_reliability_exporter
install -d -m 750 -g pg_reliability /etc/pg_reliability
install -d /etc/prometheus
cd `+root+`
install -m 640 -g pg_reliability -t /etc/pg_reliability deploy/systemd/*.env
install -Dm 644 -t /usr/lib/systemd/system deploy/systemd/*.service
install -Dm 644 -t /usr/share/pg_reliability/sql deploy/sql/*.sql
install -Dm 644 -t /usr/share/pg_reliability/alerts alerts/*.rules.yml alerts/alertmanager.yml
install -m 755 -t /usr/bin `+dir+`/bin/*
`)
	// The server's own directory, as Debian has it, and one short enough for pgtest.
	pg, err := pgtest.Start(t.Context(), pgtest.Options{
		Install: install, Port: 5432, Dir: home, NoMonitorRole: true, InitArgs: []string{"--data-checksums"},
		Settings: map[string]string{"unix_socket_directories": "'/var/run/postgresql," + home + "'"},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.must(t, fmt.Sprintf(`
ln -s data %[1]s/main
chown postgres %[2]s
ln -s %[2]s %[3]s
runuser -u postgres -- psql --quiet --command='CREATE DATABASE shop'
runuser -u postgres -- psql --quiet --dbname=shop --set=ON_ERROR_STOP=1 --file=%[4]s/deploy/sql/init_db.sql
runuser -u postgres -- psql --quiet --dbname=shop --command='CREATE TABLE notes AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n'
`, home, pg.LogFile(), log, root))
	h.listen(t)
	return h
}

// debian is the newest PostgreSQL with client programs, as Debian has it.
func debian(t *testing.T) pgtest.Install {
	t.Helper()
	for _, i := range slices.Backward(pgtest.Installed()) {
		if _, err := os.Stat(i.Bin("pg_basebackup")); err == nil && strings.HasPrefix(i.BinDir, "/usr/lib/postgresql/") {
			return i
		}
	}
	t.Fatal("no PostgreSQL below /usr/lib/postgresql. HINT: Run internal/pgtest/install.sh server on Debian or Ubuntu")
	return pgtest.Install{}
}

// listen takes what alerts/alertmanager.yml sends.
func (h *host) listen(t *testing.T) {
	t.Helper()
	server := &http.Server{Addr: "127.0.0.1:9095", ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.received = append(h.received, r.URL.Path+" "+string(body))
		})}
	go func() { _ = server.ListenAndServe() }()
	t.Cleanup(func() { _ = server.Close() })
}

// heard is an error until a page or ticket about an alert was received.
func (h *host) heard(path, alert string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.received {
		if strings.HasPrefix(r, path+" ") && strings.Contains(r, strconv.Quote(alert)) {
			return nil
		}
	}
	return fmt.Errorf("nothing about %s came to %s: %d notifications", alert, path, len(h.received))
}

// run runs a script as a reader's shell does, and returns what it printed.
func (h *host) run(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", ForVersion(script, h.version))
	cmd.Dir, cmd.Env = "/root", h.environ
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second // daemons that a script starts keep its output open
	err := cmd.Run()
	return out.String(), err
}

func (h *host) must(t *testing.T, script string) {
	t.Helper()
	if out, err := h.run(script); err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
}

func hostBlocks(t *testing.T, h *host) {
	for _, guide := range Guides() {
		blocks, err := Blocks(filepath.Join(h.root, guide))
		if err != nil {
			t.Fatal(err)
		}
		h.blocks(t, blocks, "")
		if strings.HasSuffix(guide, "LAUNCH_GUIDE.md") {
			t.Run("the page that the guide sends is received", func(t *testing.T) {
				pgtest.Eventually(t, patience, func() error { return h.heard("/page", "TestPage") })
			})
			t.Run("the dead man's switch hears something", func(t *testing.T) {
				pgtest.Eventually(t, patience, func() error { return h.heard("/deadman", "Watchdog") })
			})
		}
	}
	books, err := Runbooks(h.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, book := range books {
		setup := ""
		for _, b := range book.Blocks {
			if b.Place == Host {
				setup = b.Setup
			}
		}
		h.must(t, setup+faults[book.Alert].inject)
		h.blocks(t, book.Blocks, answers)
		h.must(t, setup+faults[book.Alert].end)
		t.Run(book.Alert+" leaves a server that is up", func(t *testing.T) {
			if out, err := h.run(`for _ in $(seq 600); do curl -sf localhost:9187/api/health/ready >/dev/null && exit; sleep 0.1; done; exit 1`); err != nil {
				t.Errorf("%v\n%s", err, out)
				h.must(t, `systemctl start postgresql pg_reliability_exporter`)
			}
		})
	}
}

// answers are what programs say with their status while nothing is wrong with a command of a runbook: nothing was found,
// nobody is there.
const answers = `
expect() { local answer=$1 status=0; shift; command "$@" || status=$?; [ $status -ne $answer ] || status=0; return $status; }
grep() { expect 1 grep "$@"; }
ps() { expect 1 ps "$@"; }
pg_isready() { expect 2 pg_isready "$@"; }
eval "service_$(declare -f pg_reliability_backup)"
pg_reliability_backup() { local status=0; service_pg_reliability_backup "$@" || status=$?; [ "$1 $status" != 'verify 5' ] || status=0; return $status; }
systemctl() { if [ "$1" = status ]; then expect 3 systemctl "$@"; else command systemctl "$@"; fi; }
`

// faults are what the diagnosis of some runbooks has to find. Where the mitigation does not end one, the test does.
var faults = map[string]struct{ inject, end string }{
	"PostgresArchiveFailing": {`
runuser -u postgres -- psql -qc "ALTER SYSTEM SET archive_mode = on" -c "ALTER SYSTEM SET archive_command = 'false'"
systemctl restart postgresql
runuser -u postgres -- psql -qXc 'SELECT pg_switch_wal()'
until runuser -u postgres -- psql -XAtc 'SELECT failed_count > 0 FROM pg_stat_archiver' | grep t; do sleep 0.1; done`, `
runuser -u postgres -- psql -qc 'ALTER SYSTEM RESET archive_mode' -c 'ALTER SYSTEM RESET archive_command'
systemctl restart postgresql`},
	"PostgresBackupDamaged": {inject: `
oldest=$(find /var/lib/pg_reliability_backup -name '2*' -type d | sort | head -n 1)
printf x >>"$(find "$oldest" -name '*.dump*' -type f | sort | head -n 1)"`},
	"PostgresBackupSuspect": {`
runuser -u postgres -- psql -qX --dbname=shop -c 'CREATE TABLE vanishing AS SELECT generate_series(1, 200) AS id'
pg_reliability_backup run
pg_reliability_backup run
runuser -u postgres -- psql -qX --dbname=shop -c 'DROP TABLE vanishing'
pg_reliability_backup run
pg_reliability_backup list | grep 'suspect.*vanishing'`, `
pg_reliability_backup accept "$(pg_reliability_backup list | grep suspect | cut -d' ' -f1)"`},
	"PostgresBackupUnreadable": {inject: `
oldest=$(find /var/lib/pg_reliability_backup -name '2*' -type d | sort | head -n 1)
chown root: "$oldest/manifest.json"; chmod 600 "$oldest/manifest.json"`},
	"PostgresBackupJobSilent": {inject: `systemctl stop pg_reliability_backup`},
	"PostgresCertificateExpires": {inject: `
cd /var/lib/postgresql
runuser -u postgres -- openssl req -x509 -newkey rsa:2048 -nodes -days 10 -subj /CN=localhost -keyout "$DOCTEST_PGDATA/server.key" -out "$DOCTEST_PGDATA/server.crt"
runuser -u postgres -- psql -qc 'ALTER SYSTEM SET ssl = on' -c 'SELECT pg_reload_conf()'`},
	"PostgresCrashRecovery": {inject: `
kill -9 "$(runuser -u postgres -- psql -XAtc "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")"
until grep 'was terminated by signal' "$DOCTEST_PGLOG"; do sleep 0.1; done`},
	"PostgresDown": {inject: `
systemctl stop postgresql
until curl -s localhost:9187/api/health/ready | grep refused; do sleep 0.1; done`},
	"PostgresExporterDown": {inject: `systemctl stop pg_reliability_exporter`},
	"PostgresRestartLoop":  {inject: `systemctl restart postgresql; systemctl restart postgresql`},
	"PostgresSplitBrain":   {end: `systemctl start postgresql`},
}

// blocks runs those for a host, each after the functions that a test adds.
func (h *host) blocks(t *testing.T, blocks []Block, functions string) {
	t.Helper()
	for _, b := range blocks {
		if b.Place == NotRun {
			t.Logf("%s is not run: %s", b.Name(), b.Reason)
		}
		if b.Place != Host {
			continue
		}
		script := b.Setup + functions + b.Script
		if b.Language == "sql" {
			quoted, _ := json.Marshal(h.room + "/block.sql")
			script = "cat >" + string(quoted) + " <<'SQL-ENDS'\n" + b.Script + "\nSQL-ENDS\n" +
				"runuser -u postgres -- psql --dbname=shop --set=ON_ERROR_STOP=1 --file=" + string(quoted)
		}
		t.Run(b.Name(), func(t *testing.T) {
			began := time.Now()
			out, err := h.run(script)
			if err != nil {
				t.Fatalf("%s\n%v\n%s", b.Script, err, out)
			}
			if missing := b.Missing(out); missing != "" {
				t.Errorf("%s\nthe output has no %q:\n%s", b.Script, missing, out)
			}
			t.Logf("%.1f s\n%s", time.Since(began).Seconds(), strings.TrimRight(out, "\n"))
		})
	}
}
