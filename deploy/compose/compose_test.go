//go:build linux

package compose_test

import (
	"os"
	"testing"
	"time"
)

// composeSwitch turns the tests on: they need root, a Docker engine, a quarter of an hour and two processors.
const composeSwitch = "PG_RELIABILITY_COMPOSE"

var services = []string{"postgres", "exporter", "backup", "docker-socket-proxy", "prometheus", "alertmanager", "grafana"}

// TestCompose runs docker-compose.yml as it is and breaks what can break. The steps build on one another.
func TestCompose(t *testing.T) {
	if os.Getenv(composeSwitch) != "1" {
		t.Skipf("docker-compose.yml is run in a Docker engine of the test's own when %s=1", composeSwitch)
	}
	s := newStack(newEngine(t))
	s.makeImages()
	s.mustCompose("build")
	imagesAreSmallAndLabelled(t, s)
	whole, silence := true, &silence{}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *stack)
	}{
		{"power cut in the first start", firstStartCut},
		{"up from nothing", upFromNothing},
		{"backup job stopped", silence.begin},
		{"kill -9 five times", killed},
		{"docker compose restart postgres", manual},
		{"network cut", networkCut},
		{"backup job missed", silence.heard},
		{"frozen", frozen},
		{"isolation", isolated},
		{"dashboards have data", dashboardsHaveData},
		{"demo load", demoLoad},
		{"passwords changed", passwordsChanged},
		{"settings", settings},
		{"out of memory", outOfMemory},
		{"screen and page", screenAndPage},
		{"engine restarted", engineRestarted},
		{"data volume lost", volumeLost},
		{"replica", standby},
		{"point-in-time recovery", pitr},
	} {
		began, ran := time.Now(), false
		ok := t.Run(step.name, func(t *testing.T) {
			ran = true
			s.t = t
			defer func() { s.t = s.owner }()
			step.run(t, s)
		})
		t.Logf("%s: %.0f s", step.name, time.Since(began).Seconds())
		whole = whole && ran
		if !ok {
			s.explain()
		}
	}
	if whole && !t.Failed() { // not after some of the steps
		s.report()
	}
}
