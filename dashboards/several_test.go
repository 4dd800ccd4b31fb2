package dashboards_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// sevenGood are the series of a repository with the seven good backups that are kept, proved and read two minutes ago, and more.
func sevenGood(more ...series) []series {
	return append([]series{
		{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
		{`pg_reliability_backup_count{job="pg", instance="db1", state="damaged"}`, "0x10"},
		{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "120x10"},
		{`pg_reliability_backup_read_back_age_seconds{job="pg", instance="db1"}`, "120x10"},
		{`pgr:backup_good:count{job="pg", instance="db1"}`, "7x10"}, {`pg_reliability_backup_retention_target{job="pg", instance="db1"}`, "7x10"},
	}, more...)
}

// With several servers chosen a panel shows the worst of them, and mixes none with another: what one lacks is not
// covered by what another has. Each case is a query of a board on series as the exporter has them.
var several = []struct {
	name                string
	board, panel, refID string
	cluster             string // chosen; none: All
	series              []series
	want                []sample
	colour              string // of a panel with one number: what the value is painted in
}{
	{
		name: "a repository without a good backup is worse than any age", board: "pgr-overview", panel: "RPO: could be lost", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"}, {`pg_reliability_backup_catalog_up{job="pg", instance="db2"}`,
				"1x10"},
			{`pg_reliability_rpo_seconds{job="pg", instance="db1"}`, "60x10"}, {`pgr:backup_age:limit_seconds{job="pg", instance="db1"}`,
				"93600x10"},
		},
		want:   []sample{{Value: -1}},
		colour: "orange",
	},
	{
		name: "an age where each repository has one", board: "pgr-backups", panel: "Newest good backup", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"}, {`pg_reliability_backup_age_seconds{job="pg", instance="db1"}`,
				"60x10"},
			{`pgr:backup_age:limit_seconds{job="pg", instance="db1"}`, "93600x10"},
		},
		want:   []sample{{Value: 60}},
		colour: "green",
	},
	{
		name: "a repository that was never proved", board: "pgr-backups", panel: "Last proved by a restore", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"}, {`pg_reliability_backup_catalog_up{job="pg", instance="db2"}`,
				"1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "60x10"},
		},
		want:   []sample{{Value: -1}},
		colour: "orange",
	},
	{
		name: "an off-site copy that fails beside one that does not", board: "pgr-backups", panel: "Newest off-site copy", refID: "A",
		series: []series{
			{`pg_reliability_backup_offsite_age_seconds{job="pg", instance="db1"}`, "60x10"},
			{`pg_reliability_backup_offsite_failing{job="pg", instance="db1"}`, "0x10"},
			{`pg_reliability_backup_offsite_failing{job="pg", instance="db2"}`, "1x10"},
		},
		want:   []sample{{Value: -1}},
		colour: "orange",
	},
	{
		name: "a lost slot beside one with room", board: "pgr-replication", panel: "Slots: room left", refID: "A",
		series: []series{
			{`pgr:slot_safe_wal:ratio{job="pg", instance="db1", slot_name="a"}`, "0.9x10"},
			{`pg_reliability_slot_invalidated{job="pg", instance="db1", slot_name="a"}`, "0x10"},
			{`pg_reliability_slot_invalidated{job="pg", instance="db1", slot_name="b"}`, "1x10"},
		},
		want:   []sample{{Value: -1}},
		colour: "red",
	},
	{
		name: "a standby that is down beside one that streams", board: "pgr-replication", panel: "Standbys", refID: "A",
		series: []series{
			{`pg_up{job="pg", instance="db2"}`, "1 1 1 1 0x6"}, {`pg_up{job="pg", instance="db3"}`, "1x10"},
			{`pg_up{job="pg", instance="db1"}`, "1 1 1 1 0x6"},
			{`pg_reliability_role{job="pg", instance="db1", role="standby"}`, "0x3"},
			{`pg_reliability_role{job="pg", instance="db2", role="standby"}`, "1x3"},
			{`pg_reliability_role{job="pg", instance="db3", role="standby"}`, "1x10"},
			{`pg_reliability_replication_streaming{job="pg", instance="db2"}`, "1 1 1 1 stale"},
			{`pg_reliability_replication_streaming{job="pg", instance="db3"}`, "1x10"},
		},
		want:   []sample{{Value: 2}},
		colour: "red",
	},
	{
		name: "a server that was down in all of the time shown, beside a standby that streams", board: "pgr-replication", panel: "Standbys",
		refID: "A",
		series: []series{
			{`pg_up{job="pg", instance="db2"}`, "0x10"}, {`pg_up{job="pg", instance="db3"}`, "1x10"},
			{`pg_reliability_role{job="pg", instance="db3", role="standby"}`, "1x10"},
			{`pg_reliability_replication_streaming{job="pg", instance="db3"}`, "1x10"},
		},
		want:   []sample{{Value: 2}},
		colour: "red",
	},
	{
		name: "a standby that is cut beside a server that is down", board: "pgr-replication", panel: "Standbys", refID: "A",
		series: []series{
			{`pg_up{job="pg", instance="db1"}`, "0x10"}, {`pg_up{job="pg", instance="db2"}`, "1x10"},
			{`pg_reliability_replication_streaming{job="pg", instance="db2"}`, "0x10"},
		},
		want:   []sample{{Value: 0}},
		colour: "red",
	},
	{
		name: "a lone primary that is down", board: "pgr-replication", panel: "Standbys", refID: "A",
		series: []series{{`pg_up{job="pg", instance="db1"}`, "0x10"}, {`pg_reliability_role{job="pg", instance="db1", role="standby"}`, "0x3"}},
	},
	{
		name: "logins fail and reads work", board: "pgr-overview", panel: "State", refID: "A",
		series: []series{{`pg_up{job="pg", instance="db1"}`, "0x10"}, {`pg_reliability_probe_success{job="pg", instance="db1", probe="read"}`,
			"1x10"}},
		want:   []sample{{Value: 1}},
		colour: "red",
	},
	{
		name: "nothing works", board: "pgr-overview", panel: "State", refID: "A",
		series: []series{{`pg_up{job="pg", instance="db1"}`, "0x10"}, {`pg_reliability_probe_success{job="pg", instance="db1", probe="read"}`,
			"0x10"}},
		want:   []sample{{Value: -1}},
		colour: "red",
	},
	{
		name: "all works", board: "pgr-overview", panel: "State", refID: "A",
		series: []series{{`pg_up{job="pg", instance="db1"}`, "1x10"}, {`pg_reliability_probe_success{job="pg", instance="db1", probe="read"}`,
			"1x10"}},
		want:   []sample{{Value: 2}},
		colour: "green",
	},
	{
		name: "an exporter that has not probed yet", board: "pgr-overview", panel: "State", refID: "A",
		series: []series{{`up{job="pg", instance="db1"}`, "1x10"}, {`pgr:target:known{job="pg", instance="db1"}`, "1x10"}},
		want:   []sample{{Value: 0}},
		colour: unknownColour,
	},
	{
		name: "logins fail and reads work, in the fleet", board: "pgr-fleet", panel: "Servers, worst first", refID: "A",
		series: []series{
			{`pg_up{job="pg", instance="db1"}`, "0x10"}, {`pg_reliability_probe_success{job="pg", instance="db1", probe="read"}`, "1x10"},
			{`pg_reliability_role{job="pg", instance="db1", role="primary"}`, "1x10"},
		},
		want: []sample{{`{job="pg", instance="db1"}`, 3}},
	},
	{
		name: "a run that should have begun two minutes ago and has not", board: "pgr-backups", panel: "Next run in", refID: "A",
		series: []series{{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"}},
		want:   []sample{{Value: -120}},
		colour: "red",
	},
	{
		name: "the run that was due is under way", board: "pgr-backups", panel: "Next run in", refID: "A",
		series: []series{
			{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
			{`pg_reliability_backup_running_since_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		},
		want:   []sample{{Value: 0}},
		colour: "blue",
	},
	{
		name: "a damaged backup among good ones", board: "pgr-backups", panel: "Repository", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_count{job="pg", instance="db1", state="damaged"}`, "1x10"},
			{`pg_reliability_backup_catalog_up{job="pg", instance="db2"}`, "1x10"},
			{`pg_reliability_backup_count{job="pg", instance="db2", state="damaged"}`, "0x10"},
		},
		want:   []sample{{Value: 1}},
		colour: "red",
	},
	{
		name: "repositories that are sound", board: "pgr-backups", panel: "Repository", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_count{job="pg", instance="db1", state="damaged"}`, "0x10"},
		},
		want:   []sample{{Value: 2}},
		colour: "green",
	},
	{
		name: "one repository that can't be read", board: "pgr-backups", panel: "Repository", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_count{job="pg", instance="db1", state="damaged"}`, "1x10"},
			{`pg_reliability_backup_catalog_up{job="pg", instance="db2"}`, "0x10"},
		},
		want:   []sample{{Value: 0}},
		colour: "red",
	},
	{
		name: "more good backups than are kept", board: "pgr-backups", panel: "Good backups of those kept", refID: "A",
		series: []series{
			{`pgr:backup_good:count{job="pg", instance="db1"}`, "8x10"}, {`pg_reliability_backup_retention_target{job="pg", instance="db1"}`,
				"7x10"},
		},
		want:   []sample{{Value: 1}},
		colour: "green",
	},
	{
		name: "a verification that failed after one that passed", board: "pgr-backups", panel: "Verification", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "60x10"},
			{`pg_reliability_backup_verifications_total{job="pg", instance="db1", result="failure", reason="verify"}`, "0 1x9"},
		},
		want:   []sample{{Value: 2}},
		colour: "red",
	},
	{
		name: "verifications that passed", board: "pgr-backups", panel: "Verification", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "60x10"},
			{`pg_reliability_backup_verifications_total{job="pg", instance="db1", result="failure", reason="verify"}`, "0x10"},
		},
		want:   []sample{{Value: 0}},
		colour: "green",
	},
	{
		name: "a repository that was never proved", board: "pgr-backups", panel: "Verification", refID: "A",
		series: []series{{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"}},
		want:   []sample{{Value: 1}},
		colour: "orange",
	},
	{
		name: "primaries of whose backups nothing is known", board: "pgr-fleet", panel: "Without a proved backup", refID: "B",
		series: []series{
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"}, {`pgr:target:known{job="pg", instance="db2"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db3"}`, "1x10"}, {`pg_reliability_role{job="pg", instance="db3", role="standby"}`, "1x10"},
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "60x10"},
		},
		want:   []sample{{Value: 1}},
		colour: unknownColour,
	},
	{
		name: "a server of whose backups nothing is known, beside one with good ones", board: "pgr-overview", panel: "RPO: could be lost",
		refID: "D",
		series: []series{
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"}, {`pgr:target:known{job="pg", instance="db2"}`, "1x10"},
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"}, {`pg_reliability_rpo_seconds{job="pg", instance="db1"}`, "60x10"},
		},
		want:   []sample{{Value: 1}},
		colour: unknownColour,
	},
	{
		name:  "a server whose restore was never measured, beside one that was",
		board: "pgr-overview", panel: "RTO: restore takes", refID: "B",
		series: []series{
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"}, {`pgr:target:known{job="pg", instance="db2"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db3"}`, "1x10"}, {`pg_reliability_role{job="pg", instance="db3", role="standby"}`, "1x10"},
			{`pg_reliability_rto_seconds{job="pg", instance="db1"}`, "60x10"},
		},
		want:   []sample{{Value: 1}},
		colour: unknownColour,
	},
	{
		name: "servers whose backups are all known", board: "pgr-overview", panel: "RPO: could be lost", refID: "D",
		series: []series{
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"}, {`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
		},
	},
	{
		name: "a backup of long ago proves nothing now", board: "pgr-fleet", panel: "Without a proved backup", refID: "A",
		series: []series{
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "9000000x10"},
		},
		want:   []sample{{Value: 1}},
		colour: "orange",
	},
	{
		name: "an outage of a moment is not rounded away", board: "pgr-overview", panel: "Availability, 30 d", refID: "A",
		series: []series{{`pgr:downtime:ratio_30d{job="pg", instance="db1"}`, "0.0000003x10"}},
		want:   []sample{{Value: 0.99999}},
		colour: "green",
	},
	{
		name: "servers of two clusters that are called the same", board: "pgr-overview", panel: "Roles", refID: "A",
		series: []series{
			{`pg_reliability_role{job="pg", cluster="eu", instance="db1", role="primary"}`, "1x10"},
			{`pg_up{job="pg", cluster="eu", instance="db1"}`, "1x10"}, {`pg_up{job="pg", cluster="us", instance="db1"}`, "0x10"},
		},
		want: []sample{{`{job="pg", cluster="eu", instance="db1"}`, 2}, {`{job="pg", cluster="us", instance="db1"}`, 0}},
	},
	{
		name: "outages of servers that are called the same", board: "pgr-overview", panel: "Outages", refID: "C",
		series: []series{
			{`pg_reliability_last_outage_start_timestamp_seconds{job="pg", cluster="eu", instance="db1"}`, "10x10"},
			{`pg_reliability_last_outage_end_timestamp_seconds{job="pg", cluster="eu", instance="db1"}`, "12x10"},
			{`pg_reliability_last_outage_start_timestamp_seconds{job="pg", cluster="us", instance="db1"}`, "10x10"},
			{`pg_reliability_last_outage_end_timestamp_seconds{job="pg", cluster="us", instance="db1"}`, "15x10"},
		},
		want: []sample{{`{job="pg", cluster="eu", instance="db1"}`, 2}, {`{job="pg", cluster="us", instance="db1"}`, 5}},
	},
	{
		name: "joins of servers that are called the same", board: "pgr-backups", panel: "Good backups of those kept", refID: "A",
		series: []series{
			{`pgr:backup_good:count{job="pg", cluster="eu", instance="db1"}`, "7x10"},
			{`pg_reliability_backup_retention_target{job="pg", cluster="eu", instance="db1"}`, "7x10"},
			{`pgr:backup_good:count{job="pg", cluster="us", instance="db1"}`, "3x10"},
			{`pg_reliability_backup_retention_target{job="pg", cluster="us", instance="db1"}`, "6x10"},
		},
		want:   []sample{{Value: 0.5}},
		colour: "orange",
	},
	{
		name: "a server that is down has not switched checksums off", board: "pgr-overview", panel: "Checksum failures", refID: "A",
		series: []series{{`pg_up{job="pg", instance="db1"}`, "0x10"}},
	},
	{
		name: "checksums are off", board: "pgr-overview", panel: "Checksum failures", refID: "A",
		series: []series{{`pg_reliability_data_checksums{job="pg", instance="db1"}`, "0x10"}},
		want:   []sample{{Value: -1}},
		colour: unknownColour,
	},
	{
		name: "one alert of one server is one, on the list as well", board: "pgr-overview", panel: "Firing alerts", refID: "A",
		series: []series{
			{`ALERTS{alertname="PostgresErrorBudgetBurn", alertstate="firing", severity="critical", window="1h", job="pg", instance="db1"}`, "1x10"},
			{`ALERTS{alertname="PostgresErrorBudgetBurn", alertstate="firing", severity="critical", window="6h", job="pg", instance="db1"}`, "1x10"},
			{`ALERTS{alertname="PostgresDown", alertstate="firing", severity="critical", job="pg", instance="db1"}`, "1x10"},
		},
		want:   []sample{{Value: 2}},
		colour: "red",
	},
	{
		name: "trouble of a server that is no target any more", board: "pgr-fleet", panel: "Servers, worst first", refID: "B",
		series: []series{
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"}, {`up{job="pg", instance="db1"}`, "1x10"},
			{`pg_up{job="pg", instance="db1"}`, "0x10"},
			{`pgr:target:known{job="pg", instance="db2"}`, "1x3"}, {`pgr:target:known{job="pg", instance="db3"}`, "1x10"},
			{`up{job="pg", instance="db3"}`, "0x10"},
			{`ALERTS{alertname="PostgresTargetAbsent", alertstate="firing", severity="warning", job="pg", instance="db2"}`, "1x10"},
		},
		want: []sample{{`{job="pg", instance="db1"}`, 1000}, {`{job="pg", instance="db2"}`, 1}, {`{job="pg", instance="db3"}`, 1000}},
	},
	{
		name:  "the files have their sizes, and the job froze before the run it announced",
		board: "pgr-backups", panel: "Repository", refID: "A",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 1.5}},
		colour: "orange",
	},
	{
		name:  "the last proof is fresh, and the job froze before the run it announced",
		board: "pgr-backups", panel: "Last proved by a restore", refID: "B",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 120}},
		colour: "orange",
	},
	{
		name:  "the files were read lately, and the job froze before the run it announced",
		board: "pgr-backups", panel: "Newest one's files last read", refID: "B",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 120}},
		colour: "orange",
	},
	{
		name:  "the last verification passed, and the job froze before the run it announced",
		board: "pgr-backups", panel: "Verification", refID: "A",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 0.5}},
		colour: "orange",
	},
	{
		name:  "as many good ones as are kept, and the job froze before the run it announced",
		board: "pgr-backups", panel: "Good backups of those kept", refID: "B",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 1}},
		colour: "orange",
	},
	{
		name:  "a proof is young, and the daemon was killed long before its next run",
		board: "pgr-overview", panel: "RPO: could be lost", refID: "E",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "120x10"},
			{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "86400x10"},
			{`pg_reliability_backup_daemon_up{job="pg", instance="db1"}`, "0x10"},
		},
		want:   []sample{{Value: 120}},
		colour: "orange",
	},
	{
		name:  "a proof is young, and the run that was announced is late",
		board: "pgr-overview", panel: "RPO: could be lost", refID: "E",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "120x10"},
			{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
			{`pg_reliability_backup_daemon_up{job="pg", instance="db1"}`, "1x10"},
		},
		want:   []sample{{Value: 120}},
		colour: "orange",
	},
	{
		name:  "a proof is young, and the daemon lives",
		board: "pgr-overview", panel: "RPO: could be lost", refID: "C",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "120x10"},
			{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "86400x10"},
			{`pg_reliability_backup_daemon_up{job="pg", instance="db1"}`, "1x10"},
		},
		want:   []sample{{Value: 120}},
		colour: "green",
	},
	{
		name:  "a server's proof is young, and its daemon was killed",
		board: "pgr-fleet", panel: "Without a proved backup", refID: "C",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "120x10"},
			{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "86400x10"},
			{`pg_reliability_backup_daemon_up{job="pg", instance="db1"}`, "0x10"},
		},
		want:   []sample{{Value: 1}},
		colour: "orange",
	},
	{
		name:  "the next run is far, and the daemon was killed",
		board: "pgr-backups", panel: "Next run in", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "120x10"},
			{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "86400x10"},
			{`pg_reliability_backup_daemon_up{job="pg", instance="db1"}`, "0x10"},
		},
		want:   []sample{{Value: -999999}},
		colour: "red",
	},
	{
		name:  "the last proof is fresh, and the daemon was killed long before its next run",
		board: "pgr-backups", panel: "Last proved by a restore", refID: "B",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pgr:target:known{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "120x10"},
			{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "86400x10"},
			{`pg_reliability_backup_daemon_up{job="pg", instance="db1"}`, "0x10"},
		},
		want:   []sample{{Value: 120}},
		colour: "orange",
	},
	{
		name:  "the files have their sizes, and the newest backup is older than its schedule explains",
		board: "pgr-backups", panel: "Repository", refID: "A",
		series: sevenGood(
			series{`pg_reliability_backup_age_seconds{job="pg", instance="db1"}`, "200x10"},
			series{`pgr:backup_age:limit_seconds{job="pg", instance="db1"}`, "180x10"},
		),
		want:   []sample{{Value: 1.5}},
		colour: "orange",
	},
	{
		name:  "the last proof is fresh, and the newest backup is older than its schedule explains",
		board: "pgr-backups", panel: "Last proved by a restore", refID: "B",
		series: sevenGood(
			series{`pg_reliability_backup_age_seconds{job="pg", instance="db1"}`, "200x10"},
			series{`pgr:backup_age:limit_seconds{job="pg", instance="db1"}`, "180x10"},
		),
		want:   []sample{{Value: 120}},
		colour: "orange",
	},
	{
		name:  "the files were read lately, and the newest backup is older than its schedule explains",
		board: "pgr-backups", panel: "Newest one's files last read", refID: "B",
		series: sevenGood(
			series{`pg_reliability_backup_age_seconds{job="pg", instance="db1"}`, "200x10"},
			series{`pgr:backup_age:limit_seconds{job="pg", instance="db1"}`, "180x10"},
		),
		want:   []sample{{Value: 120}},
		colour: "orange",
	},
	{
		name:  "the last verification passed, and the newest backup is older than its schedule explains",
		board: "pgr-backups", panel: "Verification", refID: "A",
		series: sevenGood(
			series{`pg_reliability_backup_age_seconds{job="pg", instance="db1"}`, "200x10"},
			series{`pgr:backup_age:limit_seconds{job="pg", instance="db1"}`, "180x10"},
		),
		want:   []sample{{Value: 0.5}},
		colour: "orange",
	},
	{
		name:  "as many good ones as are kept, and the newest backup is older than its schedule explains",
		board: "pgr-backups", panel: "Good backups of those kept", refID: "B",
		series: sevenGood(
			series{`pg_reliability_backup_age_seconds{job="pg", instance="db1"}`, "200x10"},
			series{`pgr:backup_age:limit_seconds{job="pg", instance="db1"}`, "180x10"},
		),
		want:   []sample{{Value: 1}},
		colour: "orange",
	},
	{
		name: "the run that was due is under way, of files that are sound", board: "pgr-backups", panel: "Repository", refID: "A",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
			series{`pg_reliability_backup_running_since_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 2}},
		colour: "green",
	},
	{
		name: "the run that was due is under way, after a proof", board: "pgr-backups", panel: "Verification", refID: "A",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
			series{`pg_reliability_backup_running_since_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 0}},
		colour: "green",
	},
	{
		name: "the run that was due is under way, after a reading", board: "pgr-backups", panel: "Newest one's files last read", refID: "A",
		series: sevenGood(
			series{`pg_reliability_backup_next_run_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
			series{`pg_reliability_backup_running_since_timestamp_seconds{job="pg", instance="db1"}`, "0x10"},
		),
		want:   []sample{{Value: 120}},
		colour: "green",
	},
	{
		name: "a proof of three days ago", board: "pgr-backups", panel: "Verification", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "259200x10"},
		},
		want:   []sample{{Value: 0.5}},
		colour: "orange",
	},
	{
		name: "a newest backup whose files were never read", board: "pgr-backups", panel: "Newest one's files last read", refID: "A",
		series: []series{
			{`pg_reliability_backup_catalog_up{job="pg", instance="db1"}`, "1x10"},
			{`pg_reliability_backup_verified_age_seconds{job="pg", instance="db1"}`, "60x10"},
		},
		want:   []sample{{Value: -1}},
		colour: "#808080",
	},
	{
		name: "state of a server that is no target any more", board: "pgr-fleet", panel: "Servers, worst first", refID: "A",
		series: []series{{`pgr:target:known{job="pg", instance="db2"}`, "1x3"}, {`pgr:target:known{job="pg", instance="db3"}`, "1x10"},
			{`up{job="pg", instance="db3"}`, "0x10"}},
		want: []sample{{`{job="pg", instance="db2"}`, -2}, {`{job="pg", instance="db3"}`, -1}},
	},
	{
		name:  "the exporter's own statements are left out, and a text is shown where it is known",
		board: "pgr-statements", panel: "Statements",
		refID: "A",
		series: []series{
			{`pg_stat_statements_seconds_total{job="pg", instance="db1", user="app", datname="shop", queryid="1"}`, "0+15x10"},
			{`pg_stat_statements_seconds_total{job="pg", instance="db1", user="app", datname="shop", queryid="2"}`, "0+15x10"},
			{`pg_stat_statements_seconds_total{job="pg", instance="db1", user="watcher", datname="shop", queryid="3"}`, "0+15x10"},
			{`pg_reliability_statements_own_role{job="pg", instance="db1", own_role="watcher"}`, "1x10"},
			{`pg_stat_statements_query_id{job="pg", instance="db1", queryid="1", query="SELECT $1"}`, "1x10"},
		},
		want: []sample{
			{`{job="pg", instance="db1", user="app", datname="shop", queryid="1", query="SELECT $1"}`, 120},
			{`{job="pg", instance="db1", user="app", datname="shop", queryid="2"}`, 120},
		},
	},
	{
		name: "lines are called by their statements' texts", board: "pgr-statements", panel: "Calls", refID: "A",
		series: []series{
			{`pg_stat_statements_calls_total{job="pg", instance="db1", user="app", datname="shop", queryid="1"}`, "0+15x10"},
			{`pg_stat_statements_calls_total{job="pg", instance="db1", user="app", datname="shop", queryid="2"}`, "0+15x10"},
			{`pg_stat_statements_query_id{job="pg", instance="db1", queryid="1", query="SELECT a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p"}`, "1x10"},
		},
		want: []sample{
			{`{job="pg", instance="db1", user="app", datname="shop", queryid="1", query="SELECT a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p", ` +
				`statement="SELECT a, b, c, d, e, f, g, h, i, j, k, l, m, n,…"}`, 0.5},
			{`{job="pg", instance="db1", user="app", datname="shop", queryid="2", statement="2"}`, 0.5},
		},
	},
	{
		name: "alerts of servers without a cluster are of no other", board: "pgr-overview", panel: "Firing alerts", refID: "B", cluster: "eu",
		series: []series{
			{`ALERTS{alertname="PostgresDiskFull", alertstate="firing", severity="warning", job="pg", instance="db1"}`, "1x10"},
			{`ALERTS{alertname="PostgresDiskFull", alertstate="firing", severity="warning", job="pg", cluster="eu", instance="db2"}`, "1x10"},
			{`ALERTS{alertname="PostgresNoPrimary", alertstate="firing", severity="warning", cluster="eu"}`, "1x10"},
			{`ALERTS{alertname="PostgresNoPrimary", alertstate="firing", severity="warning", cluster="us"}`, "1x10"},
			{`ALERTS{alertname="PostgresNoTargets", alertstate="firing", severity="warning"}`, "1x10"},
		},
		want:   []sample{{Value: 3}},
		colour: "orange",
	},
}

type series struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

type sample struct {
	Labels string  `json:"labels,omitempty"`
	Value  float64 `json:"value"`
}

func TestSeveralServersAreNotMixed(t *testing.T) {
	all := uids(t)
	type check struct {
		Expr     string   `json:"expr"`
		EvalTime string   `json:"eval_time"`
		Want     []sample `json:"exp_samples"`
	}
	type test struct {
		Name     string   `json:"name"`
		Interval string   `json:"interval"`
		Series   []series `json:"input_series"`
		Checks   []check  `json:"promql_expr_test"`
	}
	var tests []test
	for _, tc := range several {
		found := false
		for _, p := range all[tc.board].Panels {
			for _, q := range p.Targets {
				if p.Title == tc.panel && (p.Type != "table" || p.Title != "Firing alerts") && q.RefID == tc.refID {
					found = true
					expr := q.Expr
					if tc.cluster != "" {
						expr = strings.ReplaceAll(expr, "$cluster", tc.cluster)
					}
					tests = append(tests, test{tc.name, "15s", tc.series, []check{{asked(expr), "2m", tc.want}}})
				}
			}
		}
		if !found {
			t.Errorf("%s has no query %s of a panel %q", tc.board, tc.refID, tc.panel)
		}
	}
	text, err := json.Marshal(map[string]any{"tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tests.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := output(stack.Tool(t, "promtool"), "test", "rules", file); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
