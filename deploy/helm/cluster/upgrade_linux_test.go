package cluster_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// exporterReads lets the exporter read the daemon's repository: it shows the backups then, and Prometheus gets them once.
func (c *cluster) exporterReads() {
	want, err := c.metric("db1-pg-reliability-backup", lastVerified)
	if err != nil {
		c.t.Fatal(err)
	}
	c.shell(c.upgrade + " --set backup.exporterReadsRepository=true")
	c.kubectl.ready(exporter, daemon)
	c.want(lastVerified, want)
	c.eventually(reload, func() error {
		got, err := c.query(lastVerified)
		if instances := slices.Collect(maps.Keys(got)); err == nil && !slices.Equal(instances, []string{"db/db1-pg-reliability"}) {
			err = fmt.Errorf("%s is of %q, want it of the exporter alone", lastVerified, instances)
		}
		return err
	})
}

// cronJob replaces the daemon: the repository is the same, and both documented ways to run at once work.
func (c *cluster) cronJob() {
	before, claim := c.list(), c.claim()
	c.backups = before
	newest, err := c.metric("db1-pg-reliability", lastSuccess)
	if err != nil || len(before) == 0 {
		c.t.Fatalf("backups before the upgrade: %v, %v", before, err)
	}
	c.notes = c.shell(c.upgrade + " --set backup.mode=cronjob")
	c.kubectl.ready(exporter)
	c.eventually(patience, func() error {
		if left := c.pods("app.kubernetes.io/component=backup"); len(left) > 0 {
			return fmt.Errorf("the daemon is still there: %+v", left)
		}
		return nil
	})
	if now := c.claim(); now != claim {
		c.t.Errorf("the claim was %s, and is %s", claim, now)
	}
	c.want(lastSuccess, newest)
	c.shell(c.block("job/first"))
	c.eventually(patience, func() error {
		if got, err := c.metric("db1-pg-reliability", lastSuccess); err != nil || got <= newest {
			return fmt.Errorf("the newest backup is of %v, want it after %v: %w", got, newest, err)
		}
		return nil
	})
	c.shell(c.note("create job"))
	c.kubectl.run("wait", "--namespace", namespace, "--for=condition=Complete", "job/db1-pg-reliability-backup-first", "--timeout=4m")
	c.want("pg_reliability_backup_count", float64(len(before)+2))
}

// claim says which claim and which volume hold the backups.
func (c *cluster) claim() string {
	c.t.Helper()
	return c.kubectl.run("get", "pvc", "--namespace", namespace, backupsClaim, "--output=jsonpath={.metadata.uid} {.spec.volumeName} "+
		"{.status.phase}")
}

// fleet installs a second release that Prometheus reaches by the targets it tells.
func (c *cluster) fleet() {
	c.write("reader/fleet.yaml", c.values("fleet.yaml"))
	if notes := c.shell(c.block("helm install fleet ")); strings.Contains(notes, "`cluster` is empty") {
		c.t.Errorf("the clusters of a fleet are labels of its targets, and the notes ask for another: %s", notes)
	}
	c.kubectl.ready("deployment/fleet-pg-reliability")
	c.eventually(reload, func() error {
		got, err := c.query(`pg_up{cluster="shop"}`)
		if err == nil && (got["shop-1"] != "1" || got["db/db1-pg-reliability"] != "1") {
			err = fmt.Errorf("pg_up is %v", got)
		}
		return err
	})
}

// reinstall removes the release: the backups stay, and a release of the same name has them again.
func (c *cluster) reinstall() {
	claim := c.claim()
	c.shell("helm uninstall db1 --namespace db --wait")
	if now := c.claim(); now != claim || !strings.HasSuffix(now, " Bound") {
		c.t.Errorf("the claim was %s, and is %s", claim, now)
	}
	if left := c.pods("app.kubernetes.io/instance=db1"); len(left) > 0 {
		c.t.Errorf("pods are left: %+v", left)
	}
	install := c.block("helm install db1 ")
	c.notes = c.shell(install[strings.Index(install, "helm install"):])
	c.kubectl.ready(exporter, daemon)
	c.eventually(patience, func() error {
		list := c.list()
		for id, state := range c.backups {
			if list[id] != state {
				return fmt.Errorf("the backup %s was %s, and now there are %v", id, state, list)
			}
		}
		return nil
	})
	c.shell(c.note("pg_reliability_backup list"))
	if now := c.claim(); now != claim {
		c.t.Errorf("the claim was %s, and is %s", claim, now)
	}
	c.want("pg_up", 1)
}
