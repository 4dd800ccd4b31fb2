package alerts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

func TestAmtoolAcceptsTheConfiguration(t *testing.T) {
	if out, err := output(t, stack.Tool(t, "amtool"), "check-config", "alertmanager.yml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Each example of receivers is a drop-in: the routes stay as they are, and no secret stands in it.
func TestReceiverExamplesFitTheRoutes(t *testing.T) {
	amtool := stack.Tool(t, "amtool")
	routes := configuration(t)
	head, _, found := strings.Cut(routes, "\nreceivers:\n")
	if !found {
		t.Fatal("alertmanager.yml has no receivers")
	}
	examples, _ := filepath.Glob("receivers/*.yml")
	if len(examples) < 4 {
		t.Fatalf("examples: %v", examples)
	}
	for _, e := range examples {
		t.Run(filepath.Base(e), func(t *testing.T) {
			b, err := os.ReadFile(e)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(b), "_file: /etc/alertmanager/secrets/") {
				t.Error("its secret is not in a file")
			}
			whole := filepath.Join(t.TempDir(), "alertmanager.yml")
			if err := os.WriteFile(whole, []byte(head+"\n"+string(b)), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := output(t, amtool, "check-config", whole); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	amtool := stack.Tool(t, "amtool")
	for labels, want := range map[string]string{
		"alertname=PostgresDown severity=critical area=availability cluster=shop instance=db1":           "page",
		"alertname=PostgresExporterDown severity=critical area=pipeline instance=db1 exporter=many:9187": "page",
		"alertname=PostgresErrorBudgetBurn severity=critical area=slo instance=db1":                      "page",
		"alertname=PostgresErrorBudgetBurn severity=warning area=slo instance=db1":                       "ticket",
		"alertname=PostgresDiskFull severity=critical area=disk instance=db1 volume=data":                "page",
		"alertname=PostgresLongTransaction severity=warning area=activity instance=db1":                  "ticket",
		"alertname=PostgresBackupTooOld severity=critical area=backup instance=db1":                      "page",
		"alertname=PostgresBackupFailed severity=warning area=backup instance=db1":                       "ticket",
		"alertname=PostgresRestarted severity=info area=availability instance=db1":                       "nowhere",
		"alertname=Watchdog severity=info area=pipeline":                                                 "deadman",
		"alertname=SomebodyElses team=network":                                                           "ticket",
		"alertname=PostgresRuleEvaluationFailing severity=critical area=pipeline instance=prom":          "page",
	} {
		args := append([]string{"config", "routes", "test", "--config.file=alertmanager.yml", "--verify.receivers=" + want},
			strings.Fields(labels)...)
		if out, err := output(t, amtool, args...); err != nil {
			t.Errorf("%s: want %s: %v\n%s", labels, want, err, out)
		}
	}
}

// Every alert goes where its severity says.
func TestEachAlertHasARoute(t *testing.T) {
	amtool := stack.Tool(t, "amtool")
	_, _, rules := shipped(t)
	receivers := map[string]string{"critical": "page", "warning": "ticket", "info": "nowhere"}
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		want := receivers[r.Labels["severity"]]
		if r.Alert == "Watchdog" {
			want = "deadman"
		}
		if out, err := output(t, amtool, "config", "routes", "test", "--config.file=alertmanager.yml", "--verify.receivers="+want,
			"alertname="+r.Alert, "severity="+r.Labels["severity"], "area="+r.Labels["area"], "instance=db1"); err != nil {
			t.Errorf("%s/%s: %v\n%s", r.Alert, r.Labels["severity"], err, out)
		}
	}
}

func configuration(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
