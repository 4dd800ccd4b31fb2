//go:build linux

package compose_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
)

// TestWhatPrometheusKeepsOfTheBackupJob: what the exporter shows of the backups is dropped from the job's own page, and what the alert
// PostgresBackupJobSilent knows the job by is not; with it a dead job is heard within minutes (alerts/tests/backup.yml), without it with
// the next day's run.
func TestWhatPrometheusKeepsOfTheBackupJob(t *testing.T) {
	text, err := os.ReadFile("prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Jobs []struct {
			Name  string `yaml:"job_name"`
			Rules []struct {
				Sources []string `yaml:"source_labels"`
				Regex   string   `yaml:"regex"`
				Action  string   `yaml:"action"`
			} `yaml:"metric_relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	dropped := func(string) bool { return false }
	for _, j := range config.Jobs {
		if j.Name == "backup" && len(j.Rules) == 1 && j.Rules[0].Action == "drop" && len(j.Rules[0].Sources) == 1 &&
			j.Rules[0].Sources[0] == "__name__" {
			dropped = regexp.MustCompile("^(?:" + j.Rules[0].Regex + ")$").MatchString // as Prometheus anchors it
		}
	}
	if dropped("pg_reliability_backup_build_info") || dropped("up") {
		t.Error("the alert PostgresBackupJobSilent no longer knows the job")
	}
	all, err := declared.All()
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for name := range all {
		if !strings.HasPrefix(name, "pg_reliability_backup_") && name != "pg_reliability_rpo_seconds" && name != "pg_reliability_rto_seconds" ||
			name == "pg_reliability_backup_build_info" {
			continue
		}
		shown++
		if !dropped(name) {
			t.Errorf("%s of the job is kept, beside the exporter's", name)
		}
	}
	if shown < 20 {
		t.Errorf("%d metrics of backups: are they declared elsewhere now?", shown)
	}
}
