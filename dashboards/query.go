package dashboards

import "strings"

// In expressions $here stands for the chosen instances' matchers, and $around for the same or nothing: alerts about a
// whole cluster have no instance. The label cluster may be missing everywhere: All is ".*" for it.
var matchers = strings.NewReplacer(
	"$here", `job=~"$job", cluster=~"$cluster", instance=~"$instance"`,
	"$around", `job=~"$job|", cluster=~"$cluster|", instance=~"$instance|"`,
)

type query struct {
	expr, legend string
	format       string // time_series, table or heatmap
	instant      bool
}

func (q query) object(refID string) object {
	return object{
		"refId": refID, "datasource": prometheus(), "editorMode": "code",
		"expr": matchers.Replace(q.expr), "legendFormat": q.legend,
		"format": q.format, "instant": q.instant, "range": !q.instant,
	}
}

func prometheus() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// refID is Grafana's name for a panel's nth query: A, B, C.
func refID(n int) string { return string(rune('A' + n)) }
