package alerts_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/deploy/sql"
)

func TestEachAlertHasARunbook(t *testing.T) {
	config, _, rules := shipped(t)
	var want []string
	for _, r := range rules {
		if r.Alert != "" && !slices.Contains(want, r.Alert) {
			want = append(want, r.Alert)
		}
	}
	for _, alert := range want {
		b, err := os.ReadFile(filepath.Join("runbooks", alert+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.SplitN(string(b), "\n", 3)
		if lines[0] != "# "+alert || len(lines) < 3 {
			t.Errorf("%s: the title is %q", alert, lines[0])
			continue
		}
		if facts := config.Facts(rules, alert); lines[1] != facts {
			t.Errorf("%s: the second line is stale: %q, want %q. HINT: Run go generate ./alerts", alert, lines[1], facts)
		}
		at := -1
		for _, heading := range []string{"Meaning", "Impact", "Diagnosis", "Mitigation"} {
			i := strings.Index(lines[2], "\n**"+heading+".** ")
			if i <= at {
				t.Errorf("%s: no %s in its place", alert, heading)
			}
			at = i
		}
		if _, after, _ := strings.Cut(lines[2], "**Diagnosis.**"); !strings.Contains(after, "\n```") {
			t.Errorf("%s: the diagnosis has no block of commands. HINT: Put them between lines of three backticks", alert)
		}
	}
	books, _ := filepath.Glob("runbooks/*.md")
	for _, book := range books {
		if alert := strings.TrimSuffix(filepath.Base(book), ".md"); !slices.Contains(want, alert) {
			t.Errorf("%s is of no alert", book)
		}
	}
}

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// What somebody types at three in the morning must work: each statement of each runbook is run on a real server.
func TestStatementsOfRunbooksRun(t *testing.T) {
	c := newCluster(t, nil)
	if err := c.Exec(t.Context(), sql.Heartbeat); err != nil {
		t.Fatal(err)
	}
	n := 0
	for book, text := range runbooks(t) {
		for _, block := range sqlBlock.FindAllStringSubmatch(text, -1) {
			for _, statement := range strings.Split(strings.TrimSpace(block[1]), "\n") {
				if !strings.HasSuffix(statement, ";") {
					t.Errorf("%s: not one statement a line: %s", book, statement)
				}
				if err := c.Exec(context.Background(), statement); err != nil {
					t.Errorf("%s: %v", book, err)
				}
				n++
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d statements were found", n)
	}
}

var (
	backupCommand = regexp.MustCompile(`pg_reliability_backup ((?:offsite )?[a-z]+)([^` + "`" + `\n#|;]*)`)
	flagName      = regexp.MustCompile(`--(?:no-)?([a-z][a-z0-9.-]*)`)
	exporterFlag  = regexp.MustCompile("`--(?:no-)?([a-z]+(?:[.-][a-zA-Z-]+)*)`")
)

// Each command of the backup job that a runbook names exists, with its flags.
func TestBackupCommandsOfRunbooksExist(t *testing.T) {
	path := program(t, "pg_reliability_backup")
	helps := map[string]string{}
	n := 0
	for book, text := range runbooks(t) {
		for _, m := range backupCommand.FindAllStringSubmatch(text, -1) {
			command := m[1]
			if _, asked := helps[command]; !asked {
				out, err := output(t, path, append([]string{"help"}, strings.Fields(command)...)...)
				if err != nil || !strings.Contains(out, "usage: pg_reliability_backup "+command) {
					t.Errorf("%s: there is no command %q (%v)", book, command, err)
				}
				helps[command] = out
			}
			for _, f := range flagName.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(helps[command], "--"+f[1]) && !strings.Contains(helps[command], "--[no-]"+f[1]) {
					t.Errorf("%s: %s has no flag --%s", book, command, f[1])
				}
			}
			n++
		}
	}
	if n < 20 {
		t.Errorf("only %d commands were found", n)
	}
}

// A flag that stands alone in the text is one of our programs'.
func TestFlagsOfRunbooksExist(t *testing.T) {
	var helps strings.Builder
	for _, args := range [][]string{{"pg_reliability_exporter", "--help-long"}, {"pg_reliability_backup", "help", "run"},
		{"pg_reliability_backup", "help", "schedule"},
		{"pg_reliability_backup", "help", "verify"}, {"pg_reliability_backup", "help", "restore"}} {
		out, err := output(t, program(t, args[0]), args[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		helps.WriteString(out)
	}
	// Prometheus' own, and a collector's name in capitals.
	others := []string{"query.max-samples", "collector.NAME"}
	for book, text := range runbooks(t) {
		for _, m := range exporterFlag.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(others, m[1]) && !strings.Contains(helps.String(), "--"+m[1]) && !strings.Contains(helps.String(), "--[no-]"+m[1]) {
				t.Errorf("%s: no program of ours has the flag --%s", book, m[1])
			}
		}
	}
}

func runbooks(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	books, _ := filepath.Glob("runbooks/*.md")
	for _, book := range books {
		b, err := os.ReadFile(book)
		if err != nil {
			t.Fatal(err)
		}
		all[book] = string(b)
	}
	return all
}
