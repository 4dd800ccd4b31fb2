package dashboards_test

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/dashboards"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/painted"
)

// board is a dashboard as Grafana reads it, as far as tests look at it.
type board struct {
	UID, Title, Description, Refresh, Timezone string
	Tags                                       []string
	SchemaVersion, GraphTooltip                int
	Editable                                   bool
	ID                                         *int
	Panels                                     []panel
	Links                                      []link
	Templating                                 struct{ List []variable }
	Annotations                                struct{ List []annotation }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []target
	Options                  struct{ Content string }
	Links                    []link
	FieldConfig              painted.Config
}

type target struct {
	RefID, Expr, LegendFormat, Format, Interval string
	Instant, Range                              bool
	Datasource                                  datasource
}

type link struct {
	Title, URL, Type      string
	Tags                  []string
	IncludeVars, KeepTime bool
}

type variable struct {
	Name, Label, Type, AllValue, Definition string
	Query                                   json.RawMessage
	Datasource                              datasource
	Refresh                                 int
	Multi, IncludeAll                       bool
}

type annotation struct {
	Name, Expr      string
	BuiltIn         int
	UseValueForTime bool
	Datasource      datasource
}

type datasource struct{ Type, UID string }

// shipped are the boards on disk, by file name.
func shipped(t testing.TB) map[string]board {
	t.Helper()
	names, _ := filepath.Glob("*.json")
	all := map[string]board{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d board
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = d
	}
	if len(all) == 0 {
		t.Fatal("there are no boards")
	}
	return all
}

func config(t testing.TB) alerts.Config {
	t.Helper()
	c, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A threshold that was changed in one place only, or JSON edited by hand, fails here.
func TestBoardsAreWhatTheirDescriptionsSay(t *testing.T) {
	files, err := dashboards.Files(config(t))
	if err != nil {
		t.Fatal(err)
	}
	onDisk, _ := filepath.Glob("*.json")
	for name, want := range files {
		if got, err := os.ReadFile(name); err != nil || string(got) != string(want) {
			t.Errorf("%s is stale (%v). HINT: Run go generate ./dashboards", name, err)
		}
	}
	for _, name := range onDisk {
		if files[name] == nil {
			t.Errorf("%s is made from nothing", name)
		}
	}
}

// A changed threshold changes boards, so that the test above sees it.
func TestThresholdsReachTheBoards(t *testing.T) {
	was, err := dashboards.Files(config(t))
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, text := range was {
		all += string(text)
	}
	var unseen []string
	for name := range config(t).Thresholds {
		c := config(t)
		threshold := c.Thresholds[name]
		threshold.Value = cmp.Or(threshold.Value*1.5, 1)
		c.Thresholds[name] = threshold
		now, err := dashboards.Files(c)
		if err != nil {
			t.Fatal(err)
		}
		same := true
		for file, text := range now {
			same = same && string(text) == string(was[file])
		}
		if same {
			unseen = append(unseen, name)
		}
	}
	slices.Sort(unseen)
	if want := strings.Fields(notOnBoards); !slices.Equal(unseen, want) {
		t.Errorf("thresholds that no board shows: %v, want %v. HINT: Let a panel have its colour by a new one, "+
			"or, where no panel can, add it to notOnBoards", unseen, want)
	}
}

// notOnBoards are thresholds that a panel has no use for: they shape a rule, and are no limit of what is shown.
const notOnBoards = `crash_page_count disk_fills_margin_ratio restart_loop_count`

func TestUnknownThresholdIsAnError(t *testing.T) {
	c := config(t)
	delete(c.Thresholds, "probe_p99_seconds")
	if _, err := dashboards.Files(c); err == nil || !strings.Contains(err.Error(), "probe_p99_seconds") {
		t.Errorf("without a threshold: %v", err)
	}
}
