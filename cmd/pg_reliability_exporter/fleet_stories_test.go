package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

var href = regexp.MustCompile(`href="([^"#]+)"`)

// TestOutagesOfAFleetHaveStories: each listed target has its own, with what its sessions did; one that is not listed has none.
func TestOutagesOfAFleetHaveStories(t *testing.T) {
	t.Parallel()
	queue, calm := pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})
	f := newFleetFile(t)
	f.add("queue", queue.Port, "monitoring")
	f.add("calm", calm.Port, "monitoring")
	f.allow = fmt.Sprintf("allow: [{hosts: localhost, ports: [%d], auth_modules: [monitoring]}]\n", calm.Port)
	flags := []string{"--state.dir=" + t.TempDir(), "--probe.login-interval=1s", "--probe.calm-login-interval=1s",
		"--web.external-url=https://watch.example/pg"}
	r := launchFleet(t, f, flags...)
	pgtest.Eventually(t, patience, func() error {
		return errors.Join(r.probe(t, "target=queue").state(1, "ok"), r.probe(t, "target=calm").state(1, "ok"))
	})
	if err := r.probe(t, "target=queue").is(`pg_reliability_status_page_info{url="https://watch.example/pg/targets/queue/"}`, 1); err != nil {
		t.Error(err)
	}

	conn, err := queue.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "SET application_name = 'migration'; BEGIN; LOCK TABLE pg_authid"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, func() error { // until it is known who blocks the login
		_, text, err := r.get(t, "/targets/queue/api/incidents")
		if err == nil && !strings.Contains(text, string(incident.LockQueue)) {
			err = fmt.Errorf("the story is %s", text)
		}
		return err
	})
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	id := r.incidentAt(t, "/targets/queue", incident.LockQueue)
	told := func() {
		t.Helper()
		for _, path := range []string{"incidents", "incidents/" + id, "incidents/" + id + ".md", "api/incidents/" + id} {
			code, text, err := r.get(t, "/targets/queue/"+path)
			if err != nil || code != http.StatusOK || !strings.Contains(text, "migration") {
				t.Errorf("%s: %d, %v: %s", path, code, err, text)
			}
			if !strings.HasPrefix(path, "incidents") || strings.HasSuffix(path, ".md") {
				continue
			}
			here, _ := url.Parse("/targets/queue/" + path)
			for _, link := range href.FindAllStringSubmatch(text, -1) {
				to, err := here.Parse(link[1])
				if err != nil || to.Host != "" {
					continue
				}
				if code, _, err := r.get(t, to.Path); err != nil || code != http.StatusOK {
					t.Errorf("the link %s of %s leads to %s: %d, %v", link[1], path, to.Path, code, err)
				}
			}
		}
	}
	told()
	if _, text, err := r.get(t, "/targets/calm/api/incidents"); err != nil || !strings.Contains(text, `"incidents":[]`) {
		t.Errorf("the other server: %s, %v", text, err)
	}
	r.probe(t, fmt.Sprintf("target=localhost:%d&auth_module=monitoring", calm.Port))
	for _, target := range []string{"nobody", fmt.Sprintf("localhost:%d", calm.Port), "..", "%2e%2e%2fqueue"} {
		if code, _, err := r.get(t, "/targets/"+target+"/incidents"); err != nil || code != http.StatusNotFound {
			t.Errorf("stories of %s: %d, %v", target, code, err)
		}
	}
	if code, text, err := r.get(t, "/"); err != nil || code != http.StatusOK || !strings.Contains(text, "targets/queue/incidents") {
		t.Errorf("the first page does not lead there: %d, %v", code, err)
	}

	r.stop()
	r = launchFleet(t, f, flags...)
	r.incidentAt(t, "/targets/queue", incident.LockQueue)
	told()
}
