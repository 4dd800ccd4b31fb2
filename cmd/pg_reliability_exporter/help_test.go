package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
)

// A new flag goes into one of the groups, and what a hundred collectors have in common is said once: --help fits a few screens.
func TestHelpIsReadable(t *testing.T) {
	embedded, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	app, _ := newApp(embedded)
	var out bytes.Buffer
	app.UsageWriter(&out).Usage(nil)
	short := out.String()
	if strings.Contains(short, "\nFlags:\n") || strings.Count(short, "\n") > 300 {
		t.Errorf("--help has flags without a group, or more than 300 lines:\n%s", short)
	}
	for _, flag := range []string{"--probe.interval=1s", "--backup.catalog=DIR", "wait_events,"} {
		if !strings.Contains(short, flag) {
			t.Errorf("--help without %s", flag)
		}
	}
	if strings.Contains(short, "--[no-]collector.wait_events") {
		t.Error("--help lists single collectors")
	}
}
