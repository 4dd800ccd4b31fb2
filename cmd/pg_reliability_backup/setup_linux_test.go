package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// serviceUser stands for pg_reliability: a user of every machine, without rights.
const serviceUser = "nobody"

// machine is a directory of settings as the package leaves it, and a server that lets its system user in by the socket alone.
type machine struct {
	*bench
	config string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	t.Parallel()
	return newMachineWith(t, pgtest.New(t, pgtest.Options{NoMonitorRole: true}))
}

func newMachineWith(t *testing.T, pg *pgtest.Cluster) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("setup becomes other users: only root can")
	}
	dir, err := os.MkdirTemp("/tmp", "pgr-setup-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &machine{config: filepath.Join(dir, "etc")}
	m.bench = &bench{t: t, pg: pg, repo: filepath.Join(dir, "repository")}
	u, err := user.Lookup(serviceUser)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	must := func(err error) {
		if t.Helper(); err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	must(os.Mkdir(m.config, 0o755))
	must(os.Mkdir(m.repo, 0o700))
	must(os.Chown(m.repo, uid, -1))
	for _, name := range []string{"exporter.env", "backup.env"} {
		text, err := os.ReadFile("../../deploy/systemd/" + name)
		must(err)
		shipped := strings.NewReplacer("/etc/pg_reliability/", m.config+"/", "/var/lib/pg_reliability_backup", m.repo).Replace(string(text))
		must(os.WriteFile(filepath.Join(m.config, name), []byte(shipped), 0o640))
	}
	must(m.pg.WriteHBA("local all postgres peer\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 md5\n"))
	must(m.pg.Reload())
	m.exec("postgres", "CREATE DATABASE shop")
	m.exec("shop", "CREATE TABLE orders (id serial)")
	return m
}

// setup runs the program on the machine, with the server's socket alone to find it by.
func (m *machine) setup(code int, args ...string) string {
	m.t.Helper()
	cmd := m.cmd(append([]string{"setup", "--user=" + serviceUser, "--config-dir=" + m.config, "--no-start"}, args...)...)
	var env []string
	for _, line := range cmd.Env {
		if !strings.HasPrefix(line, "DATA_SOURCE_") && !strings.HasPrefix(line, "PG_RELIABILITY_BACKUP_REPOSITORY") {
			env = append(env, line)
		}
	}
	cmd.Env = append(env, "PGHOST="+m.pg.Dir, fmt.Sprintf("PGPORT=%d", m.pg.Port))
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		m.t.Fatalf("setup %v: exit code %d, want %d\n%s", args, got, code, out)
	}
	return string(out)
}

func (m *machine) read(name string) string {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.config, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

func (m *machine) query(sql string) string {
	m.t.Helper()
	got, err := m.pg.Query(context.Background(), "postgres", sql)
	if err != nil {
		m.t.Fatal(err)
	}
	return got
}

// hashes are what the server keeps of the roles' passwords.
const hashes = `SELECT string_agg(rolname || ':' || rolpassword, ' ' ORDER BY rolname) FROM pg_authid WHERE rolname ~ '^reliability_'`

func TestSetupLeadsFromNothingToAProvenBackupAndChangesNothingTheSecondTime(t *testing.T) {
	m := newMachine(t)
	prometheus := filepath.Join(m.config, "prometheus.yml")
	const before = "# Mine.\nglobal:\n  scrape_interval: 15s # often\nrule_files:\n  # - \"first_rules.yml\"\nscrape_configs:\n" +
		"  - job_name: node\n    static_configs:\n      - targets: ['localhost:9100']\n"
	if err := os.WriteFile(prometheus, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	all := []string{"--sequences", "--heartbeat", "--prometheus=" + prometheus, "--grafana=" + m.config}

	// A dry run tells all of it and does none of it.
	untouched, settings := m.query("SELECT count(*) FROM pg_roles"), m.read("exporter.env")
	out := m.setup(exitOK, append(all, "--dry-run")...)
	for _, want := range []string{"fine:   sequences of database postgres can be read", "to do:  make the role reliability_exporter", "to do:  make the role reliability_backup", "sequences of database shop",
		"reliability.heartbeat", "to do:  make the repository", "nothing was changed"} {
		if !strings.Contains(out, want) {
			t.Errorf("the dry run does not say %q:\n%s", want, out)
		}
	}
	if m.query("SELECT count(*) FROM pg_roles") != untouched || m.read("exporter.env") != settings || strings.Contains(out, "done:") {
		t.Errorf("the dry run did something:\n%s", out)
	}
	if files, _ := filepath.Glob(m.repo + "/*"); len(files) != 0 {
		t.Errorf("the dry run left %v", files)
	}

	out = m.setup(exitOK, all...)
	for _, role := range []string{"exporter", "backup"} {
		password := strings.TrimSpace(m.read(role + ".password"))
		if len(password) < 32 || strings.Contains(out, password) || strings.Contains(m.pg.Log(), password) {
			t.Errorf("the password of %s is short, or was printed or logged:\n%s", role, out)
		}
		if !strings.Contains(out, "reliability_"+role+"@localhost:"+strconv.Itoa(m.pg.Port)+"/postgres can log in") {
			t.Errorf("nobody tried to log in as reliability_%s:\n%s", role, out)
		}
		info, err := os.Stat(filepath.Join(m.config, role+".password"))
		if err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("the password's file: %v %v", info.Mode(), err)
		}
	}
	for _, want := range []string{"PG_RELIABILITY_EXPORTER_VOLUME=data=" + m.pg.DataDir() + "\n", "PG_RELIABILITY_EXPORTER_PROBE_WRITE=true\n",
		fmt.Sprintf("DATA_SOURCE_URI=localhost:%d/postgres?sslmode=prefer&require_auth=!password\n", m.pg.Port), "# Where it answers."} {
		if !strings.Contains(m.read("exporter.env"), want) {
			t.Errorf("exporter.env lacks %q:\n%s", want, m.read("exporter.env"))
		}
	}
	if may, err := m.pg.Query(t.Context(), "shop", `SELECT has_sequence_privilege('reliability_exporter', 'orders_id_seq', 'SELECT')`); may != "true" {
		t.Errorf("the sequence can't be read: %s %v", may, err)
	}
	if got := m.query("SELECT to_regclass('reliability.heartbeat')::text"); got != "reliability.heartbeat" {
		t.Errorf("the heartbeat's table: %q", got)
	}
	text := m.read("prometheus.yml")
	for _, want := range []string{"# Mine.", "# often", "job_name: node", "/usr/share/pg_reliability/alerts/*.rules.yml", "job_name: postgres\n", "localhost:9187",
		"job_name: postgres_backup", "localhost:9188"} {
		if !strings.Contains(text, want) {
			t.Errorf("prometheus.yml lacks %q:\n%s", want, text)
		}
	}
	if m.read("prometheus.yml.before-setup") != before {
		t.Error("the configuration as it was is lost")
	}
	if out, err := exec.Command("promtool", "check", "config", "--syntax-only", prometheus).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v: %s\n%s", err, out, text)
	}
	if text := m.read("dashboards/pg_reliability.yml") + m.read("datasources/pg_reliability.yml"); strings.Contains(text, "$") ||
		!strings.Contains(text, "/usr/share/pg_reliability/dashboards") || !strings.Contains(text, "http://localhost:9090") {
		t.Errorf("Grafana is told:\n%s", text)
	}

	m.proves(pgtest.Programs(t, m.pg.Install))

	// Once more: nothing.
	kept := m.query(hashes) + m.read("exporter.env") + m.read("prometheus.yml") + m.read("exporter.password")
	if out = m.setup(exitOK, all...); strings.Contains(out, "done:") || !strings.Contains(out, "Nothing was changed") {
		t.Errorf("the second time:\n%s", out)
	}
	if kept != m.query(hashes)+m.read("exporter.env")+m.read("prometheus.yml")+m.read("exporter.password") {
		t.Error("the second time changed something")
	}
	// What somebody took away is given back, and said.
	m.exec("postgres", "REVOKE pg_monitor FROM reliability_exporter")
	if err := os.Chmod(filepath.Join(m.config, "exporter.password"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out = m.setup(exitOK, all...); !strings.Contains(out, "give the role reliability_exporter the rights") || !strings.Contains(out, "it had mode 644") ||
		!strings.Contains(out, "Done: 2 changes") {
		t.Errorf("after a right was taken:\n%s", out)
	}
}

// What setup does is the same on every version, but for 13, which has no role that may read everything: there it sets up the exporter.
func TestSetupOnEachVersion(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, c *pgtest.Cluster) {
		m := newMachineWith(t, c)
		args, roles := []string{"--sequences", "--heartbeat"}, "reliability_backup reliability_exporter"
		if c.Install.Major < 14 {
			roles = "reliability_exporter"
			if out := m.setup(exitVersion, args...); !strings.Contains(out, "--no-backups") {
				t.Errorf("no remedy in\n%s", out)
			}
			if n := m.query("SELECT count(*) FROM pg_roles WHERE rolname ~ '^reliability_'"); n != "0" {
				t.Errorf("what was refused made %s roles", n)
			}
			args = append(args, "--no-backups")
		}
		out := m.setup(exitOK, args...)
		if got := m.query("SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname ~ '^reliability_'"); got != roles {
			t.Errorf("it made the roles %s, want %s:\n%s", got, roles, out)
		}
		if !strings.Contains(out, "reliability_exporter@localhost:"+strconv.Itoa(c.Port)+"/postgres can log in") {
			t.Errorf("nobody tried to log in as reliability_exporter:\n%s", out)
		}
		if may, err := c.Query(t.Context(), "shop", `SELECT has_sequence_privilege('reliability_exporter', 'orders_id_seq', 'SELECT')`); may != "true" {
			t.Errorf("the sequence can't be read: %s %v", may, err)
		}
		if out = m.setup(exitOK, args...); strings.Contains(out, "done:") || !strings.Contains(out, "Nothing was changed") {
			t.Errorf("the second time:\n%s", out)
		}
		if c.Install.Major >= 14 {
			t.Run("a proven backup", func(t *testing.T) {
				clients, b := pgtest.Programs(t, c.Install), *m.bench
				b.t = t
				(&machine{bench: &b, config: m.config}).proves(clients)
			})
		}
	})
}

// proves sees that the job can work with what setup has made: as the role, from the file, into the repository.
func (m *machine) proves(clients string) {
	m.t.Helper()
	m.env = []string{"DATA_SOURCE_NAME=", fmt.Sprintf("DATA_SOURCE_URI=localhost:%d/postgres", m.pg.Port), "DATA_SOURCE_USER=reliability_backup",
		"DATA_SOURCE_PASS_FILE=" + m.config + "/backup.password", pgtest.ClientDirs + "=" + clients}
	if out, code := m.as(serviceUser, "run", "--verify", "--scratch-dir=/tmp"); code != exitOK || !strings.Contains(out, "backup verified") {
		m.t.Errorf("a backup of what was set up: %d\n%s", code, out)
	}
}

func TestSetupReplacesNoPasswordUnasked(t *testing.T) {
	m := newMachine(t)
	m.exec("postgres", "CREATE ROLE reliability_backup LOGIN PASSWORD 'of somebody'")
	before := m.query(hashes)
	out := m.setup(exitRefused)
	if !strings.Contains(out, "has a password already") || !strings.Contains(out, "--new-passwords") {
		t.Errorf("it says:\n%s", out)
	}
	if m.query(hashes) != before || m.query("SELECT count(*) FROM pg_roles WHERE rolname = 'reliability_exporter'") != "0" {
		t.Error("it changed something all the same")
	}
	// The file holds another one: as bad.
	if err := os.WriteFile(filepath.Join(m.config, "backup.password"), []byte("another\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	m.setup(exitRefused)
	// The same one, in the server's old way: kept.
	m.exec("postgres", "SET password_encryption = md5; ALTER ROLE reliability_backup PASSWORD 'another'")
	if out := m.setup(exitOK); !strings.Contains(out, "the password of reliability_backup is the one in") {
		t.Errorf("the password that is right:\n%s", out)
	}
	m.exec("postgres", "ALTER ROLE reliability_backup PASSWORD 'of somebody'")
	if out := m.setup(exitOK, "--new-passwords"); !strings.Contains(out, "done:   give reliability_backup the password in") {
		t.Errorf("with leave:\n%s", out)
	}
}

func TestSetupSaysWhatStandsInItsWay(t *testing.T) {
	m := newMachine(t)
	for name, c := range map[string]struct {
		args, env []string
		code      int
		want      string
	}{
		"no package":         {args: []string{"--config-dir=" + m.repo}, code: exitConfig, want: "Install the package"},
		"no such user":       {args: []string{"--user=nobody-of-that-name"}, code: exitConfig, want: "Install the package"},
		"no server":          {env: []string{"PGHOST=" + m.config}, code: exitConnection, want: "no PostgreSQL server listens"},
		"no superuser":       {env: []string{"DATA_SOURCE_NAME=" + m.pg.DSN("mere", "postgres")}, code: exitDump, want: "is not a superuser"},
		"Prometheus is not":  {args: []string{"--prometheus=" + m.config + "/none.yml"}, code: exitConfig, want: "Install Prometheus"},
		"Prometheus is sick": {args: []string{"--prometheus=" + m.config + "/exporter.env"}, code: exitConfig, want: "promtool"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no superuser" {
				m.exec("postgres", "CREATE ROLE mere LOGIN PASSWORD '"+pgtest.Password+"'")
			}
			args := []string{"setup", "--no-start"}
			for flag, value := range map[string]string{"--user=": serviceUser, "--config-dir=": m.config} {
				if !strings.HasPrefix(strings.Join(c.args, ""), flag) {
					args = append(args, flag+value)
				}
			}
			cmd := m.cmd(append(args, c.args...)...)
			cmd.Env = append(cmd.Env, "DATA_SOURCE_NAME=", "PGHOST="+m.pg.Dir, fmt.Sprintf("PGPORT=%d", m.pg.Port))
			cmd.Env = append(cmd.Env, c.env...)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) || !strings.Contains(string(out), "HINT") {
				t.Errorf("exit code %d, want %d and %q\n%s", code, c.code, c.want, out)
			}
		})
	}
}

// as runs the program as another user of the machine.
func (m *machine) as(name string, args ...string) (string, int) {
	m.t.Helper()
	cmd := m.cmd(args...)
	cmd.Args = append([]string{"runuser", "-u", name, "--", "/proc/self/fd/3"}, args...)
	cmd.Path, _ = exec.LookPath("runuser")
	self, err := os.Open(os.Args[0])
	if err != nil {
		m.t.Fatal(err)
	}
	defer self.Close()
	cmd.ExtraFiles = []*os.File{self}
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TestInitInAnotherUsersDirectoryNamesTheRemedy: the user of the job can't make what only root can.
func TestInitInAnotherUsersDirectoryNamesTheRemedy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	open, err := os.MkdirTemp("/tmp", "pgr-init-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	closed, empty := filepath.Join(open, "closed"), filepath.Join(open, "empty")
	if err := errors.Join(os.Chmod(open, 0o755), os.Mkdir(closed, 0o700), os.Mkdir(empty, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, each := range []string{filepath.Join(open, "new"), empty, closed, filepath.Join(closed, "new")} {
		b := &bench{t: t, repo: each}
		m := &machine{bench: b}
		out, code := m.as("nobody", "init")
		if code != exitRepository || !strings.Contains(out, "install -d -o NAME -m 700 "+each) {
			t.Errorf("%s: exit code %d\n%s", each, code, out)
		}
	}
}
