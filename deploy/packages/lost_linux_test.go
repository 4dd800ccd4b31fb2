package packages_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// lost copies a backup to a store, makes a new machine of this one, and restores.
func lost(c *container) {
	c.run("dpkg --install /opt/packages/pg-reliability_0.0.2_*.deb")
	versitygw, err := pgtest.Tool("versitygw", "s3")
	if err != nil {
		c.t.Fatal(err)
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		c.t.Fatal(err)
	}
	c.run(fmt.Sprintf(`mkdir -p /var/store/buckets/backups /var/store/meta
		systemd-run --quiet --unit=store --setenv=ROOT_ACCESS_KEY=%s --setenv=ROOT_SECRET_KEY=%s \
			%s --port 127.0.0.1:7070 --quiet posix --sidecar /var/store/meta /var/store/buckets
		(umask 077; echo %s >/root/db1.key)`, pgtest.S3AccessKey, pgtest.S3SecretKey, versitygw, key))
	c.eventually("curl -sS http://127.0.0.1:7070/ || true", "AccessDenied")
	store := fmt.Sprintf("export PG_RELIABILITY_BACKUP_OFFSITE_URL=s3://backups/db1 AWS_ENDPOINT_URL=http://127.0.0.1:7070 "+
		"AWS_REGION=us-east-1 "+
		"AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s\n", pgtest.S3AccessKey, pgtest.S3SecretKey)
	rows := c.run(query + "'SELECT count(*) FROM orders' shop")
	out := c.run(store + `runuser -u pg_reliability -- env PGHOST=localhost PGDATABASE=postgres PGUSER=reliability_backup PGPASSWORD_FILE=/etc/pg_reliability/backup.password \
		pg_reliability_backup --repository=/var/lib/pg_reliability_backup run --scratch-dir=/var/tmp --offsite-recipient=` + key.Recipient().
		String())
	if !strings.Contains(out, "off-site copy complete") {
		c.t.Fatalf("no copy was made:\n%s", out)
	}

	c.run(`dpkg --purge pg-reliability
		pg_dropcluster --stop ` + c.version() + ` main
		rm -r /var/lib/pg_reliability_* /etc/pg_reliability
		pg_createcluster ` + c.version() + ` main
		systemctl start ` + c.unit() + `
		dpkg --install /opt/packages/pg-reliability_0.0.2_*.deb`)
	c.eventually(query+"'SELECT 1'", "1")
	c.run(query + `"ALTER ROLE postgres PASSWORD 'the new one'"`)
	c.follow("PRODUCTION_DATABASE_RELIABILITY.md", "bootstrap", store+"export PGPASSWORD='the new one'; cd /root")
	c.mustPrint(rows, query+"'SELECT count(*) FROM orders' shop")
	if got := c.run(list); !strings.Contains(got, "postgres,shop") {
		c.t.Errorf("the new repository has no backup:\n%s", got)
	}
}

// forgotten runs each script of ours that leaves something in a server, and then what the FAQ says.
func forgotten(c *container) {
	const ours = `"SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'reliability%') + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'reliability%')"`
	c.run("for script in monitoring_role backup_role heartbeat sequences; do runuser -u postgres -- psql --quiet --set=ON_ERROR_STOP=1 " +
		"--file=/usr/share/pg_reliability/sql/$script.sql; done")
	// Rights on a sequence are kept in the sequence's own database.
	c.run(query + "'CREATE DATABASE far'")
	c.run(query + "'CREATE TABLE tickets (id serial)' far")
	c.run("runuser -u postgres -- psql --quiet --dbname=far --set=ON_ERROR_STOP=1 --file=/usr/share/pg_reliability/sql/sequences.sql")
	if c.run(query+ours) == "0" {
		c.t.Fatal("there is nothing to remove")
	}
	c.follow("faq.md", "DROP ROLE", "")
	c.mustPrint("0", query+ours)
	c.run(query + "'DROP DATABASE far'")
}

// rpm installs, upgrades and removes the other package, with Debian's rpm, whose database knows nothing of what is there.
func rpm(c *container) {
	const rpm = "rpm --nodeps --force-debian "
	c.run("dpkg --purge pg-reliability")
	out := c.run(rpm + "--install /opt/packages/pg-reliability-0.0.1-1.*.rpm")
	if !strings.Contains(out, "install.md") {
		c.t.Errorf("the installation doesn't say how to go on:\n%s", out)
	}
	const units = "pg_reliability_exporter pg_reliability_backup"
	c.mustPrint("disabled\ndisabled", "systemctl is-enabled "+units+" || true")
	c.mustPrint("inactive\ninactive", "systemctl is-active "+units+" || true")
	c.mustPrint("root:pg_reliability 750\nroot:pg_reliability 640\nroot:pg_reliability 640\npg_reliability:pg_reliability 700",
		"stat --format='%U:%G %a' /etc/pg_reliability /etc/pg_reliability/exporter.env /etc/pg_reliability/backup.env "+
			"/var/lib/pg_reliability_backup")
	c.run("man --where pg_reliability_exporter pg_reliability_backup pg_reliability_monitor")
	c.run("systemctl enable --now " + units)
	c.eventually(metrics, "\npg_up 1\n", `version="0.0.1"`)
	c.eventually("systemctl is-active "+units, "active\nactive")

	c.run("echo PG_RELIABILITY_EXPORTER_LOG_LEVEL=debug >>/etc/pg_reliability/exporter.env")
	settings := c.run("sha256sum /etc/pg_reliability/*")
	backups := c.run("ls /var/lib/pg_reliability_backup")
	c.run(rpm + "--upgrade /opt/packages/pg-reliability-0.0.2-1.*.rpm")
	c.mustPrint(settings, "sha256sum /etc/pg_reliability/*")
	c.mustPrint("enabled\nenabled", "systemctl is-enabled "+units)
	c.eventually(metrics, "\npg_up 1\n", `version="0.0.2"`)
	// What differs from the package is what was edited, and whose it is: scripts give the settings to the service's group.
	c.mustPrint("", rpm+"--verify pg-reliability | grep -v ' c /etc/pg_reliability/.*env$' | grep -v '^......G..    /etc/pg_reliability$' "+
		"|| true")

	out = c.run(rpm + "--erase pg-reliability 2>&1")
	if !strings.Contains(out, "/var/lib/pg_reliability_backup is kept") {
		c.t.Errorf("the removal doesn't say what it keeps:\n%s", out)
	}
	c.mustPrint("inactive\ninactive", "systemctl is-active "+units+" || true")
	c.mustPrint(backups, "ls /var/lib/pg_reliability_backup")
	c.run("test ! -e /usr/bin/pg_reliability_exporter && test -s /etc/pg_reliability/exporter.password")
}

// sources are the directories of this repository, of Go, of its modules and of its cache.
func sources(t *testing.T) []string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	env, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{root}, strings.Fields(string(env))...)
}

// fromSources builds with this machine's Go, from a clone of this very commit, and without a network.
func fromSources(c *container) {
	c.run("dpkg --purge pg-reliability; rm -r /etc/pg_reliability /var/lib/pg_reliability_*")
	at := sources(c.t)
	c.follow("install.md", "git clone", fmt.Sprintf(`
		export PATH=$PATH:%s/bin GOMODCACHE=%s GOCACHE=%s GOPROXY=off GOTOOLCHAIN=local
		git config --global safe.directory '*'
		git config --global url.file://%s.insteadOf https://github.com/pg-reliability/pg_reliability_exporter
		cd /root`, at[1], at[2], at[3], at[0]))
	c.follow("install.md", "install -m 644 deploy/systemd/*.service", "cd /root/pg_reliability_exporter")
	c.mustPrint("root:pg_reliability 750\nroot:pg_reliability 640\npg_reliability:pg_reliability 700",
		"stat --format='%U:%G %a' /etc/pg_reliability /etc/pg_reliability/backup.env /var/lib/pg_reliability_backup")
	c.run("pg_reliability_backup setup --sequences --heartbeat") // "as above"
	c.eventually(metrics, "\npg_up 1\n", "\npg_reliability_backup_catalog_up 1\n")
	c.run("pg_reliability_monitor --once --systemd.unit=" + c.unit() + " && ls /root/pg_reliability_exporter/bin/packages/*.deb " +
		"/root/pg_reliability_exporter/bin/packages/*.rpm")
}

// moved gives the machine a second disk.
func moved(c *container) {
	c.run("mkdir /backups; echo 'none /backups tmpfs defaults 0 0' >>/etc/fstab; systemctl daemon-reload; systemctl start backups.mount")
	c.follow("install.md", "backup-disk.conf", "")
	c.eventually(strings.Replace(list, "/var/lib/pg_reliability_backup", "/backups", 1), "  verified ")
	c.eventually(metrics, "\npg_reliability_backup_catalog_up 1\n", "pg_reliability_backup_last_verified_timestamp_seconds")
	// Without the disk the job is stopped, not left to fill the mount point.
	c.run("systemctl stop backups.mount")
	c.eventually("systemctl is-active pg_reliability_backup || true", "inactive")
	c.mustPrint("", "ls -A /backups")
}
