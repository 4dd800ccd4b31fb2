package dashboards

import (
	"fmt"
	"strings"
)

// In expressions $here stands for the chosen instances' matchers. The label cluster may be missing everywhere: All is
// ".*" for it.
var matchers = strings.NewReplacer("$here", `job=~"$job", cluster=~"$cluster", instance=~"$instance"`)

// ofAlerts are Prometheus' series of the alerts about the chosen instances, and of those about a whole cluster or about
// everything: these have no instance. (With "or nothing" in one matcher for each label, the alerts of servers without a
// cluster would be among those of every cluster.)
func ofAlerts(metric, more string) string {
	return fmt.Sprintf(`(%[1]s{$here, %[2]s} or %[1]s{cluster=~"$cluster|", instance="", %[2]s})`, metric, more)
}

type query struct {
	expr, legend string
	format       string // time_series, table or heatmap
	instant      bool   // at the end of the time shown
	span         bool   // and all of it
	every        string // the shortest step
}

func (q query) object(refID string) object {
	o := object{
		"refId": refID, "datasource": prometheus(), "editorMode": "code",
		"expr": matchers.Replace(q.expr), "legendFormat": q.legend,
		"format": q.format, "instant": q.instant, "range": q.span || !q.instant,
	}
	if q.every != "" {
		o["interval"] = q.every
	}
	return o
}

func prometheus() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// refID is Grafana's name for a panel's nth query: A, B, C.
func refID(n int) string { return string(rune('A' + n)) }
