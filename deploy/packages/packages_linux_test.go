// Package packages_test installs the deb as an administrator would, on a machine whose first process is systemd, beside
// Debian's own PostgreSQL, and upgrades, removes and purges it.
package packages_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	metrics = "curl -sS --max-time 5 http://localhost:9187/metrics"
	list    = "runuser -u pg_reliability -- pg_reliability_backup --repository=/var/lib/pg_reliability_backup list"
	query   = "runuser -u postgres -- psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="
	outages = metrics + " | grep '^pg_reliability_outages_total.* [1-9]'"
	state   = "/var/lib/pg_reliability_exporter"
)

// machine is a booted container, or a skipped test where there can be none.
func machine(t *testing.T) *container {
	t.Helper()
	dir := os.Getenv("PG_RELIABILITY_PACKAGES")
	switch {
	case dir == "":
		t.Skip("runs by `make test-packages`, which builds the packages first")
	case os.Getuid() != 0:
		t.Skip("booting systemd in a container needs root")
	}
	for _, program := range []string{"dpkg", "pg_createcluster", "systemd-nspawn"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("installs a deb beside Debian's PostgreSQL, and here is no %s", program)
		}
	}
	return boot(t, dir, sources(t)...)
}

func TestPackageLivesOnAMachineWithSystemd(t *testing.T) {
	c := machine(t)
	c.guides = readGuides(t)
	for _, step := range []struct {
		name string
		do   func(*container)
	}{
		{"installed, nothing runs, secrets are safe", installed},
		{"the guide's steps lead to a scrape", started},
		{"a backup is made and proven inside the sandbox", backedUp},
		{"the exporter can neither write backups nor read the other's password", confined},
		{"killed, each service comes back", killed},
		{"PostgreSQL killed comes back with the drop-in, and a stop stays a stop", recovered},
		{"a crash that left something behind", crashed},
		{"the screen shows the unit, follows its log, restarts it", screen},
		{"without rights, without a unit, without systemd, the screen says so", refused},
		{"an upgrade keeps settings, counts and backups, and restarts what ran", upgraded},
		{"removed and purged, backups and counts stay and are taken up again", removed},
		{"the rpm does what the deb does", rpm},
		{"the host is lost: a new one restores the off-site copy", lost},
		{"nothing of it stays in the server", forgotten},
		{"from the sources, without a package", fromSources},
		{"backups go to a disk of their own", moved},
		{"every block for this machine was run", func(c *container) { c.guides.complete(c.t) }},
	} {
		began := time.Now()
		if !t.Run(step.name, func(t *testing.T) { step.do(&container{t: t, leader: c.leader, guides: c.guides}) }) {
			log, _ := c.try("journalctl --no-pager --boot --lines=40")
			t.Fatalf("the journal ends:\n%s", log)
		}
		t.Logf("%s: %s", step.name, time.Since(began).Round(time.Millisecond))
	}
}

func installed(c *container) {
	out := c.follow("LAUNCH_GUIDE.md", "apt install", "mkdir /root/first; cd /root/first; cp /opt/packages/pg-reliability_0.0.1_*.deb .")
	if !strings.Contains(out, "install.md") {
		c.t.Errorf("the installation doesn't say how to go on:\n%s", out)
	}
	const units = "pg_reliability_exporter pg_reliability_backup"
	c.mustPrint("disabled\ndisabled", "systemctl is-enabled "+units+" || true")
	c.mustPrint("inactive\ninactive", "systemctl is-active "+units+" || true")
	c.mustPrint("", "systemd-analyze verify /usr/lib/systemd/system/pg_reliability_*.service")
	c.mustPrint("root:pg_reliability 750\nroot:pg_reliability 640\nroot:pg_reliability 640\npg_reliability:pg_reliability 700",
		"stat --format='%U:%G %a' /etc/pg_reliability /etc/pg_reliability/exporter.env /etc/pg_reliability/backup.env "+
			"/var/lib/pg_reliability_backup")
	c.run("man --where pg_reliability_exporter pg_reliability_backup")
	c.run("grep -q '^github.com/jackc/pgx/v5 ' /usr/share/doc/pg-reliability/THIRD_PARTY_LICENCES")
}

func started(c *container) {
	c.run(`pg_createcluster "$(ls /usr/lib/postgresql | sort -V | tail -n 1)" main
		systemctl start "postgresql@$(ls /usr/lib/postgresql | sort -V | tail -n 1)-main"`)
	c.eventually(query+"'SELECT 1'", "1")
	c.run(query + "'CREATE DATABASE shop'")
	c.run(query + "'CREATE TABLE orders AS SELECT n FROM generate_series(1, 1000) n' shop")
	// From here to metrics, a proven backup and alerts in at most five commands.
	const most = 5
	if commands := strings.Count(strings.TrimSpace(c.block("install.md", "backup setup").Script), "\n") + 1; commands > most {
		c.t.Errorf("the guide needs %d commands", commands)
	}
	c.follow("install.md", "backup setup", "cd /root/first")
	c.follow("install.md", "9188/-/healthy", "cd /")
	c.eventually("curl -sS 'http://localhost:9090/api/v1/query?query=pg_up'", `"1"`)
	c.eventually("curl -sS http://localhost:9090/api/v1/rules", "PostgresDown", "PostgresBackupTooOld")
	c.run("test -s /usr/share/pg_reliability/dashboards/overview.json")
	if out := c.run("pg_reliability_backup setup --sequences --heartbeat --prometheus=/etc/prometheus/prometheus.yml"); !strings.Contains(out,
		"Nothing was changed") {
		c.t.Errorf("set up once more:\n%s", out)
	}
	c.eventually(metrics, "\npg_up 1\n", `version="0.0.1"`, "\npg_reliability_backup_catalog_up 1\n", "\nprocess_start_time_seconds ")
	c.eventually("curl -sS http://localhost:9188/metrics", "\npg_reliability_backup_catalog_up 1\n")
}

func backedUp(c *container) {
	c.run(`sed -i 's/^PG_RELIABILITY_BACKUP_CRON=.*/PG_RELIABILITY_BACKUP_CRON=@every 2s/' /etc/pg_reliability/backup.env
		systemctl restart pg_reliability_backup`)
	c.eventually(list, "  verified ", "postgres,shop", "1000")
	c.run(`sed -i 's/^PG_RELIABILITY_BACKUP_CRON=.*/PG_RELIABILITY_BACKUP_CRON=0 2 * * */' /etc/pg_reliability/backup.env
		systemctl restart pg_reliability_backup`)
	c.eventually(metrics, `pg_reliability_backup_count{state="verified"}`, "pg_reliability_backup_last_verified_timestamp_seconds")
}

// inside runs a script in the sandbox of a running service, though as root.
func (c *container) inside(service, script string) string {
	// A unit is active as soon as its process is there; it enters the sandbox a moment later, before it becomes the program.
	c.eventually(`readlink "/proc/$(systemctl show --property=MainPID --value `+service+`)/exe"`, "/usr/bin/"+service)
	return `nsenter --target "$(systemctl show --property=MainPID --value ` + service + `)" --mount sh -c '` + script + `' 2>&1 || true`
}

func confined(c *container) {
	if out := c.run(c.inside("pg_reliability_exporter", "touch /var/lib/pg_reliability_backup/x")); !strings.Contains(out,
		"Read-only file system") {
		c.t.Errorf("the exporter's sandbox can write where the backups are: %q", out)
	}
	for service, other := range map[string]string{"exporter": "backup", "backup": "exporter"} {
		c.mustPrint("", c.inside("pg_reliability_"+service, "cat /etc/pg_reliability/"+other+".password"))
	}
	c.mustPrint("", `{ journalctl --no-pager; systemctl show pg_reliability_exporter; ps axwwe; } | grep --fixed-strings --file=/etc/pg_reliability/exporter.password || true`)
}

func killed(c *container) {
	for _, service := range []string{"pg_reliability_exporter", "pg_reliability_backup"} {
		c.run("systemctl kill --signal=KILL --kill-who=main " + service)
		c.eventually("systemctl show --property=NRestarts,SubState "+service, "NRestarts=1", "SubState=running")
	}
	c.eventually(metrics, "\npg_up 1\n")
}

func upgraded(c *container) {
	c.run("echo PG_RELIABILITY_EXPORTER_LOG_LEVEL=debug >>/etc/pg_reliability/exporter.env")
	settings := c.run("sha256sum /etc/pg_reliability/*")
	backups := c.run("ls /var/lib/pg_reliability_backup")
	c.eventually(metrics, "\npg_up 1\n")
	counts := c.run(outages)
	c.run("dpkg -i /opt/packages/pg-reliability_0.0.2_*.deb </dev/null")
	c.mustPrint(settings, "sha256sum /etc/pg_reliability/*")
	c.mustPrint(backups, "ls /var/lib/pg_reliability_backup")
	c.mustPrint("enabled\nenabled", "systemctl is-enabled pg_reliability_exporter pg_reliability_backup")
	c.eventually(metrics, "\npg_up 1\n", `version="0.0.2"`)
	c.mustPrint(counts, outages)
	c.eventually("systemctl is-active pg_reliability_backup", "active")
}

func recovered(c *container) {
	unit := c.unit()
	for _, guide := range []string{"LAUNCH_GUIDE.md", "install.md"} {
		c.follow(guide, "postgresql-restart.conf", "")
	}
	c.follow("install.md", "SupplementaryGroups", "")
	c.eventually(metrics, "\npg_up 1\n")
	for range 3 {
		began := time.Now()
		c.eventually("systemctl is-active "+unit, "active")
		c.run("systemctl kill --signal=KILL --kill-who=main " + unit)
		pgtest.Eventually(c.t, 30*time.Second, func() error {
			_, err := c.try(query + "'INSERT INTO orders VALUES (0)' shop")
			return err
		})
		c.t.Logf("kill -9 of the postmaster: takes writes again after %s", time.Since(began).Round(10*time.Millisecond))
	}
	c.eventually(metrics, `pg_reliability_restarts_total{kind="restart"}`)
	c.eventually("systemctl is-active "+unit, "active")
	cluster := strings.TrimSuffix(strings.TrimPrefix(unit, "postgresql@"), ".service")
	c.run("pg_ctlcluster " + strings.Replace(cluster, "-", " ", 1) + " stop")
	c.mustPrint("ActiveState=inactive\nSubState=dead", "systemctl show --property=ActiveState,SubState "+unit)
	c.run("systemctl start " + unit)
	// The server's log, which the service may now read, has said why it was down.
	c.eventually("curl -sS http://localhost:9187/api/incidents", `"cause":"server_killed"`)
}

func removed(c *container) {
	counts := c.run("ls " + state)
	backups := c.run(list)
	c.run("dpkg -r pg-reliability")
	c.mustPrint("inactive\ninactive", "systemctl is-active pg_reliability_exporter pg_reliability_backup || true")
	c.run("test -s /etc/pg_reliability/exporter.env && test ! -e /usr/bin/pg_reliability_exporter")
	out := c.run("dpkg -P pg-reliability")
	if !strings.Contains(out, "/var/lib/pg_reliability_backup is kept") {
		c.t.Errorf("the purge doesn't say what it keeps:\n%s", out)
	}
	c.run("test ! -e /etc/pg_reliability/exporter.env && test -s /etc/pg_reliability/exporter.password")
	c.mustPrint(counts, "ls "+state)
	c.run("test -s " + state + "/" + strings.Fields(counts)[0])
	c.run("dpkg -i /opt/packages/pg-reliability_0.0.2_*.deb")
	if got := c.run(list); len(strings.Split(got, "\n")) != len(strings.Split(backups, "\n")) {
		c.t.Errorf("before the purge:\n%s\nafter:\n%s", backups, got)
	}
	c.run("runuser -u pg_reliability -- pg_reliability_backup --repository=/var/lib/pg_reliability_backup verify --level=1")
}

// TestUnitsAreNarrow holds the score of systemd-analyze, 0 to 10, less is narrower, and docs/install.md's figure with it.
func TestUnitsAreNarrow(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("here is no systemd-analyze")
	}
	units, err := filepath.Glob("../systemd/*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("units: %v, %v", units, err)
	}
	for _, u := range units {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", u).CombinedOutput()
		if err != nil {
			t.Errorf("%s is exposed by more than 2.0: %v\n%s", u, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Logf("%s", lines[len(lines)-1])
	}
}
