package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Command lines and variables of postgres_exporter 0.20 mean here what they meant there, or are refused with what to use instead.
func TestFlagsAndVariablesOfPostgresExporter(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want []string
		says string
	}{
		"ours alone": {args: []string{"--probe.write", "--log.level", "debug", "-h"},
			want: []string{"--probe.write", "--log.level", "debug", "-h"}},
		"defaults off": {args: []string{"--disable-default-metrics"}, want: []string{"--collector.disable-defaults"}},
		"and on":       {args: []string{"--no-disable-default-metrics"}, want: []string{"--no-collector.disable-defaults"}},
		"a list": {args: []string{"--exclude-databases", "a, b", "--include-databases=c"},
			want: []string{"--databases.exclude=a", "--databases.exclude=b", "--databases.include=c"}},
		"statements": {args: []string{"--collector.stat_statements", "--no-collector.stat_statements.include_query"},
			want: []string{"--collector.statements", "--no-collector.statements_text"}},
		"the usual prefix": {args: []string{"--metric-prefix=pg"}},
		"another prefix": {args: []string{"--metric-prefix=x"}, says: "--metric-prefix of postgres_exporter is not taken. HINT: Metrics " +
			"keep their names"},
		"labels":   {args: []string{"--constantLabels", "a=b"}, says: "scrape_configs"},
		"idle":     {args: []string{"--no-collector.process_idle"}, says: "--collector.session_ages"},
		"location": {args: []string{"--collector.xlog_location"}, says: "--collector.wal_position"},
		"variables": {
			env: map[string]string{"PG_EXPORTER_AUTO_DISCOVER_DATABASES": "false", "PG_EXPORTER_EXCLUDE_DATABASES": "a,b",
				"PG_EXPORTER_WEB_TELEMETRY_PATH": "/m"},
			want: []string{"--no-databases.all", "--databases.exclude=a", "--databases.exclude=b", "--web.telemetry-path=/m"},
		},
		"the command line wins": {
			args: []string{"--exclude-databases=a", "--web.telemetry-path=/x", "--databases.all"},
			env: map[string]string{"PG_EXPORTER_EXCLUDE_DATABASES": "b", "PG_EXPORTER_WEB_TELEMETRY_PATH": "/y",
				"PG_EXPORTER_AUTO_DISCOVER_DATABASES": "false"},
			want: []string{"--databases.exclude=a", "--web.telemetry-path=/x", "--databases.all"},
		},
		"a variable refused": {env: map[string]string{"PG_EXPORTER_CONSTANT_LABELS": "a=b"},
			says: "PG_EXPORTER_CONSTANT_LABELS of postgres_exporter is not taken"},
		"neither yes nor no": {env: map[string]string{"PG_EXPORTER_DISABLE_DEFAULT_METRICS": "maybe"}, says: "Write true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := welcome(tc.args, func(name string) (string, bool) { v, ok := tc.env[name]; return v, ok })
			if tc.says != "" {
				if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "HINT: ") {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// What a newcomer's flag becomes, or is told to use, is there.
func TestWhatNewcomersAreToldIsThere(t *testing.T) {
	embedded, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	app, _ := newApp(embedded)
	for _, n := range newcomers() {
		if n.flag != "" && app.GetFlag(n.flag) != nil {
			t.Errorf("--%s is a flag of ours", n.flag)
		}
		var flags []string
		if n.means != nil {
			flags = append(n.means("1"), n.means("true")...)
		}
		for _, word := range strings.FieldsFunc(n.hint, func(r rune) bool { return strings.ContainsRune(" ;,:", r) }) {
			if strings.HasPrefix(word, "--") {
				flags = append(flags, word)
			}
		}
		for _, flag := range flags {
			name, _, _ := strings.Cut(strings.TrimPrefix(strings.Replace(flag, "--no-", "--", 1), "--"), "=")
			if name != "help" && app.GetFlag(name) == nil {
				t.Errorf("--%s is told to become --%s, which is not there", n.flag, name)
			}
		}
	}
}

// A directory without a single collector is a mistyped name, or files that end otherwise; the exporter says so, and does its work.
func TestADirectoryWithoutCollectorsIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "queries.txt"), []byte("- name: mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	embedded, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	app, f := newApp(embedded)
	if _, err := app.Parse([]string{"--collector.config-dir=" + dir}); err != nil {
		t.Fatal(err)
	}
	var said pgtest.Buffer
	defs, err := loadCollectors(f, embedded, map[string]string{}, log.NewLogfmtLogger(&said))
	if err != nil || len(defs) == 0 || !strings.Contains(said.String(), "has no collector. HINT: ") || !strings.Contains(said.String(), dir) {
		t.Errorf("%d collectors, %v: %s", len(defs), err, said.String())
	}
}
