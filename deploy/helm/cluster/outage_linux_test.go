package cluster_test

import "errors"

const (
	outages  = "pg_reliability_outages_total"
	downtime = "pg_reliability_downtime_seconds_total"
)

// outage takes the server away until Prometheus says so, and brings it back.
func (c *cluster) outage() {
	c.want(outages, 0)
	c.scale(0)
	c.want("pg_up", 0)
	c.eventually(patience, func() error {
		// Who is needed most during an outage is not taken out of service.
		for _, p := range c.pods(exporterPods) {
			if !p.ready() {
				c.t.Fatalf("the exporter's pod is not ready during an outage: %+v", p)
			}
		}
		return c.firing("PostgresDown", map[string]string{
			"instance": "db/db1-pg-reliability", "cluster": "shop", "severity": "critical", "area": "availability",
		})
	})
	c.scale(1)
	c.want("pg_up", 1)
	c.want(outages, 1)
	c.eventually(patience, func() error {
		if c.firing("PostgresDown", nil) == nil {
			return errors.New("PostgresDown has not ended")
		}
		return nil
	})
}

// countsSurvive deletes the exporter's pod: the next one goes on counting where it stopped, for the same series.
func (c *cluster) countsSurvive() {
	before, err := c.metric("db1-pg-reliability", downtime)
	if err != nil || before < 30 {
		c.t.Fatalf("downtime of an outage that was announced: %v s, %v", before, err)
	}
	old := c.pods(exporterPods)
	if len(old) != 1 {
		c.t.Fatalf("want one pod: %+v", old)
	}
	c.kubectl.run("delete", "pod", "--namespace", namespace, old[0].Metadata.Name)
	c.kubectl.ready(exporter)
	if now := c.pods(exporterPods); len(now) != 1 || now[0].Metadata.UID == old[0].Metadata.UID {
		c.t.Fatalf("want another pod than %+v: %+v", old, now)
	}
	c.want("pg_up", 1)
	c.want(outages, 1)
	if after, err := c.metric("db1-pg-reliability", downtime); err != nil || after != before {
		c.t.Errorf("downtime was %v s before the pod was deleted, and is %v s, %v", before, after, err)
	}
}
