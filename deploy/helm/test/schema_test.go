package test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
)

// Helm takes names of releases that Kubernetes takes as no Service's.
func TestNamesOfReleasesMakeNamesOfServices(t *testing.T) {
	service := regexp.MustCompile(`^Service/[a-z]([-a-z0-9]*[a-z0-9])?$`)
	values, err := chartutil.ReadValues([]byte("database: {host: db, existingSecret: s, sslmode: require}\nbackup: {enabled: true, " +
		"existingSecret: s, postgresMajor: 17}"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"shop": "", "shop.eu.prod": "", "pg-reliability.x": "", strings.Repeat("long.", 10) + "xyz": "", "1st": "does not begin with a letter",
	} {
		found, _, err := renderAs(name, values)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want an error with %q", name, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for id := range found {
			if kind, called, _ := strings.Cut(id, "/"); kind == "Service" && (!service.MatchString(id) || len(called) > 63) {
				t.Errorf("release %s makes %s", name, id)
			}
		}
	}
}

// What guards the exporter's pages can be said where it is behind an Ingress.
func TestWebLimitsReachTheExporter(t *testing.T) {
	values, err := chartutil.ReadValues([]byte("database: {host: db, existingSecret: s, sslmode: require}\n" +
		"exporter: {allowedHosts: [pg.example.com, '*'], maxRequests: 7}"))
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	for id, pod := range found.pods() {
		for _, want := range []string{"--web.allowed-hosts=pg.example.com", "--web.allowed-hosts=*", "--web.max-requests=7"} {
			if !slices.Contains(pod.Spec.Containers[0].Args, want) {
				t.Errorf("%s has no %s: %v", id, want, pod.Spec.Containers[0].Args)
			}
		}
	}
	if len(found.pods()) != 1 {
		t.Errorf("%d pods", len(found.pods()))
	}
}

// Each mistake is refused before anything is installed, and the message names the value.
func TestMistakesAreRefused(t *testing.T) {
	const ok = "database: {host: db, existingSecret: s, sslmode: require}\n"
	for values, want := range map[string]string{
		"{}":                         "database.host is empty",
		"database: {host: db}":       "database.existingSecret is empty",
		ok + "fullnameOverride: a.b": "/fullnameOverride",
		"database: {host: db, existingSecret: s, name: 'a&sslmode=disable'}": "/database/name",
		ok + "databse: {}":                                "databse",
		ok + "exporter: {replicas: 2}":                    "replicas",
		ok + "exporter: {logLevel: loud}":                 "logLevel",
		ok + "exporter: {extraArgs: [probe.write]}":       "extraArgs/0",
		ok + "exporter: {allowedHosts: ['https://x']}":    "/exporter/allowedHosts/0",
		ok + "exporter: {maxRequests: -1}":                "/exporter/maxRequests",
		ok + "exporter: {state: {type: hostPath}}":        "/exporter/state/type",
		ok + "exporter: {image: {digest: abc}}":           "digest",
		ok + "monitor: {type: Probe}":                     "/monitor/type",
		ok + "monitor: {interval: 15}":                    "/monitor/interval",
		ok + "alerts: {disabled: [PostgresSad]}":          "PostgresSad",
		ok + "alerts: {dashboardUrl: grafana}":            "dashboardUrl",
		ok + "alerts: {kubernetes: {enabled: true}}":      "alerts.kubernetes.pods is empty",
		ok + "networkPolicy: {databasePorts: ['5432']}":   "databasePorts/0",
		ok + "fleet: {enabled: true}":                     "fleet.config",
		ok + "backup: {enabled: true}":                    "backup.existingSecret is empty",
		ok + "backup: {enabled: true, existingSecret: s}": "backup.postgresMajor is empty",
		ok + "backup: {postgresMajor: 12}":                "postgresMajor",
		ok + "backup: {schedule: '@daily'}":               "schedule",
		ok + "backup: {keep: 0}":                          "/backup/keep",
		ok + "backup: {enabled: true, existingSecret: s, postgresMajor: 17, mode: cronjob, token: {existingSecret: t}}":                  "backup.token",
		ok + "backup: {enabled: true, existingSecret: s, postgresMajor: 17, mode: cronjob, persistence: {accessMode: ReadWriteOncePod}}": "ReadWriteOncePod",
		"database: {host: db, existingSecret: s}\nbackup: {enabled: true, existingSecret: s, postgresMajor: 17}":                         "database.ca.existingSecret",
		"database: {host: 'postgres://me:secret@db/x', existingSecret: s}":                                                               "/database/host",
		"database: {host: 'db:5432', existingSecret: s}":                                                                                 "/database/host",
		ok + "commonLabels: {app.kubernetes.io/name: mine}":                                                                              "app.kubernetes.io/name",
		ok + "commonLabels: {team: 'a b'}":                                                                                               "/commonLabels/team",
		"database: {host: db, existingSecret: s, port: '5432'}":                                                                          "/database/port",
		"database: {host: db, existingSecret: s, password: secret}":                                                                      "password",
	} {
		v, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatalf("%s: %v", values, err)
		}
		switch _, _, err := render(v); {
		case err == nil:
			t.Errorf("taken:\n%s", values)
		case !strings.Contains(err.Error(), want):
			t.Errorf("the message for\n%s\ndoes not say %q: %v", values, want, err)
		}
	}
}
