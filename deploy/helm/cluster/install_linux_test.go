package cluster_test

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// What the chart calls things in a release named db1.
const (
	exporter     = "deployment/db1-pg-reliability"
	daemon       = "statefulset/db1-pg-reliability-backup"
	backupsClaim = "db1-pg-reliability-backups"

	exporterPods = "app.kubernetes.io/instance=db1,app.kubernetes.io/component=exporter"
)

// install follows the guide from the passwords to the pods, and the first of the notes that helm leaves.
func (c *cluster) install() {
	c.write("reader/db1.yaml", c.values("db1.yaml")+c.values("more of db1.yaml"))
	// The guide adds backups to a release; here they are in it from the start. The same values are an upgrade, too.
	secret, upgrade, found := strings.Cut(c.block("secret generic db1-backup"), "\n")
	if !found {
		c.t.Fatal("the guide makes no secret before helm upgrade")
	}
	c.shell(secret)
	c.notes = c.shell(c.block("helm install db1 "))
	c.kubectl.ready(exporter, daemon)
	c.upgrade = upgrade
	c.shell(upgrade)
	c.kubectl.ready(exporter, daemon)

	// The server's, the exporter's state, the backups, and the room for throwaway servers.
	claims := strings.Fields(c.kubectl.run("get", "pvc", "--namespace", namespace, "--output=jsonpath={.items[*].status.phase}"))
	if len(claims) != 4 || slices.ContainsFunc(claims, func(phase string) bool { return phase != "Bound" }) {
		c.t.Errorf("four claims should be bound: %v", claims)
	}
	c.want("pg_up", 1)
	c.forwarded()
}

// forwarded runs the command of the notes that ends with Ctrl-C, as long as it takes to read the page it promises.
func (c *cluster) forwarded() {
	c.t.Helper()
	words := strings.Fields(c.note("port-forward"))
	cmd := exec.Command(words[0], words[1:]...)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	c.eventually(patience, func() error {
		page, err := fetch("localhost:9187")
		if err == nil && !strings.Contains(page, databaseHost) {
			err = fmt.Errorf("the status page names no server: %.500s", page)
		}
		return err
	})
}

// firstBackup waits for the backup that the daemon makes at once, and looks at what is on the volume.
func (c *cluster) firstBackup() {
	c.eventually(patience, func() error {
		list := c.list()
		for _, state := range list {
			if state == "verified" {
				return nil
			}
		}
		return fmt.Errorf("no verified backup: %v", list)
	})
	c.shell(c.note("pg_reliability_backup list"))
	c.eventually(patience, func() error {
		_, err := c.metric("db1-pg-reliability-backup", lastVerified)
		return err
	})
	if _, err := c.metric("db1-pg-reliability", lastVerified); err == nil {
		c.t.Error("the exporter shows backups although it was not told to read the repository")
	}
	disk := c.kubectl.run("get", "pvc", "--namespace", namespace, backupsClaim, "--output=jsonpath={.spec.volumeName}")
	files := 0
	if err := filepath.WalkDir(c.file("volumes/"+disk+"/repository"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 70 || info.Mode().Perm()&0o007 != 0 {
			c.t.Errorf("%s belongs to %d and is %s", path, owner, info.Mode())
		}
		files++
		return nil
	}); err != nil || files < 5 {
		c.t.Errorf("%d files in the repository, %v", files, err)
	}
}

// list are the backups that the command of helm's notes prints: their states by id.
func (c *cluster) list() map[string]string {
	c.t.Helper()
	out, err := c.output(exec.Command("bash", "-c", c.note("pg_reliability_backup list")))
	if err != nil {
		return nil // the pod is not there yet, or has no repository
	}
	found := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] != "ID" {
			found[f[0]] = f[1]
		}
	}
	return found
}
