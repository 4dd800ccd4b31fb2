package alerts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/painted"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// run modes: the normal test injects a few faults and shortens durations; PG_RELIABILITY_CHAOS=1 injects all with
// shortened durations; PG_RELIABILITY_CHAOS=real injects all with the rules, routes and scrape interval as shipped,
// which takes half an hour. The last two write docs/chaos.md.
type mode struct {
	name     string
	compress float64       // the one parameter; 1 is what is shipped
	scrape   time.Duration // Prometheus' scrape interval
	all      bool
}

func chaosMode() mode {
	switch os.Getenv("PG_RELIABILITY_CHAOS") {
	case "":
		return mode{name: "short", compress: 60, scrape: time.Second}
	case "real":
		return mode{name: "real", compress: 1, scrape: 15 * time.Second, all: true}
	default:
		return mode{name: "compressed", compress: 60, scrape: time.Second, all: true}
	}
}

// scaled is a duration of the shipped rules as this run has it.
func (m mode) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) / m.compress) }

// alarm is what a fault must lead to. The instance is the fault's when it is empty.
type alarm struct{ name, severity, instance string }

// noInstance is of alarms about a whole cluster.
const noInstance = "-"

func (a alarm) receiver() string {
	if a.severity == "critical" {
		return "page"
	}
	return "ticket"
}

// fault is one thing that happens to a server, and what people are told of it.
type fault struct {
	name  string // also the cluster's label
	about string
	short bool // part of the normal test
	// settings of the server; build is what else the scene needs before it is watched.
	settings map[string]string
	build    func(*scene)
	inject   func(*scene)
	heal     func(*scene)
	// want is all that people hear, may what they may hear besides, with the reason in a comment. No wants: nobody
	// hears anything.
	want []alarm
	may  []string
	// lasts is when an alarm ends, by its name, where nothing that anybody does ends it sooner.
	lasts map[string]string
	// cause is what the outage's story must name; empty where there is no outage, or what it names was not tried. The server's log is
	// followed for it.
	cause incident.Cause
	// needs skips the fault where the machine lacks something, and says what.
	needs func(*testing.T)
}

// The whole way: real PostgreSQL, our exporter, real Prometheus with our rules, real Alertmanager with our routes, and
// a webhook that hears what people would. Each fault has a cluster of its own, so that all happen at once.
func TestChaos(t *testing.T) {
	t.Parallel() // it waits more than it works
	m := chaosMode()
	w := newWatch(t, m)
	table := &chaosTable{mode: m}
	boards := numbers(t)
	t.Run("faults", func(t *testing.T) {
		for _, f := range faults() {
			if !f.short && !m.all {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				w.play(t, f, table, boards)
			})
		}
	})
	// After all others, because it silences them.
	t.Run(deadManFault, func(t *testing.T) { w.deadMan(t, table) })
	if m.all {
		table.write(t) // of those that passed
	}
}

// scene is one server under watch.
type scene struct {
	*testing.T
	mode     mode
	fault    fault
	pg       *pgtest.Cluster
	standby  *pgtest.Cluster
	next     *pgtest.Cluster // who is primary after a failover; nil without
	exporter *stack.Process
	proxy    *pgtest.Proxy
	watch    *watch
	dsn      string         // as the exporter connects; the monitoring role's without one
	args     []string       // further flags of the exporter
	clock    string         // the file that says how wrong the clock of the server is; empty without
	volume   string         // a small file system of its own; empty without
	store    string         // a repository of backups; empty without
	pooler   string         // how clients reach the server through PgBouncer; empty without
	engine   string         // address of a container engine; empty without
	job      *stack.Process // the backup job, where Prometheus scrapes it; nil without
	began    time.Time      // what people hear is timed from here
	quit     func()         // ends what inject began
}

// play sets a scene, waits until all is well, injects the fault, times what people hear, heals it, times that too.
func (w *watch) play(t *testing.T, f fault, table *chaosTable, boards map[string][]painted.Panel) {
	s := &scene{T: t, mode: w.mode, fault: f, watch: w, quit: func() {}}
	if f.needs != nil {
		f.needs(t)
	}
	if f.build == nil {
		s.pg = newCluster(t, f.settings)
	} else {
		f.build(s)
	}
	if t.Failed() || t.Skipped() {
		return
	}
	if s.dsn == "" {
		s.dsn = s.pg.MonitorDSN()
	}
	switch {
	case f.cause == "":
	case s.engine != "":
		s.args = append(s.args, "--log.container="+containerName)
	default:
		s.args = append(s.args, "--log.file="+s.pg.LogFile())
	}
	s.exporter = startExporter(t, s.dsn, s.args...)
	targets := []target{{strings.TrimPrefix(s.exporter.URL, "http://"), f.name, f.name}}
	if s.standby != nil {
		second := startExporter(t, s.standby.MonitorDSN())
		targets = append(targets, target{strings.TrimPrefix(second.URL, "http://"), f.name, f.name + "-standby"})
	}
	servers := len(targets)
	if s.job != nil {
		targets = append(targets, target{strings.TrimPrefix(s.job.URL, "http://"), f.name, f.name + "-job"})
	}
	w.watch(t, targets)
	defer w.unwatch(f.name)
	if s.job != nil {
		w.holds(t, 20*w.mode.scrape+30*time.Second, 1, fmt.Sprintf(`pgr:backup_target:known{instance="%s-job"} and on (instance) up == 1`,
			f.name))
	}
	w.waitCalm(t, f.name, servers)

	began := time.Now()
	s.began = began
	f.inject(s)
	heard := map[alarm]time.Duration{}
	patience := w.mode.scaled(40*time.Minute) + 90*time.Second
	for _, a := range f.want {
		heard[a] = w.waitFor(s, a, false, s.began, patience)
	}
	looked := w.boardsSay(s, boards)
	t.Logf("not green on boards: %s", strings.Join(looked, "; "))
	if f.cause != "" {
		s.felt(began) // a login that fails is tried each ten seconds only, and a number may be heard of before
	}
	healed := time.Now()
	if f.heal != nil {
		f.heal(s)
	}
	s.quit()
	ended := map[alarm]time.Duration{}
	for _, a := range f.want {
		if f.lasts[a.name] == "" {
			ended[a] = w.waitFor(s, a, true, healed, patience)
		}
	}
	if len(f.want) == 0 {
		w.waitWell(t, f.name)
	}
	if strings.HasPrefix(f.name, "server-killed") && w.mode.compress == 1 && heard[f.want[0]] > time.Minute {
		t.Errorf("the page came %s after the fault", heard[f.want[0]])
	}
	w.nothingElse(t, f, began)
	told := ""
	if f.cause != "" {
		told = s.story(began)
	}
	if !t.Failed() {
		table.add(f, heard, ended)
		table.tell(f, told)
	}
}

// felt waits until the fault has become an incident.
func (s *scene) felt(began time.Time) {
	s.Helper()
	pgtest.Eventually(s.T, 60*time.Second, func() error {
		all, err := s.incidents(began)
		if err == nil && len(all) == 0 {
			err = errors.New("no incident has begun")
		}
		return err
	})
}

// incidents are those that have begun since a moment.
func (s *scene) incidents(began time.Time) ([]incident.Summary, error) {
	resp, err := http.Get(s.exporter.URL + "/api/incidents")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct{ Incidents []incident.Summary }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(answer.Incidents, func(is incident.Summary) bool { return is.Start.Before(began.Add(-time.Second)) }), nil
}

// story is which cause the outage's story names, and how sure it is. No incident of the fault may name another one.
func (s *scene) story(began time.Time) string {
	s.Helper()
	said := ""
	pgtest.Eventually(s.T, 40*time.Second, func() error {
		all, err := s.incidents(began)
		if err != nil {
			return err
		}
		said = ""
		for _, is := range all {
			if is.End.IsZero() || is.Cause != s.fault.cause { // the server's log is read a little later
				return fmt.Errorf("an incident is told as %s, not %s: %s", is.Cause, s.fault.cause, is.Sentence)
			}
			said = fmt.Sprintf("| %s | `%s` | %s |\n", s.fault.name, is.Cause, is.Sure)
		}
		if said == "" {
			return errors.New("there is no incident")
		}
		return nil
	})
	return said
}

const deadManFault = "alertmanager-killed"

// deadMan kills Alertmanager: what alarms then is the silence of Watchdog.
func (w *watch) deadMan(t *testing.T, table *chaosTable) {
	// Three intervals of Watchdog's route without a word are the alarm.
	silence := max(w.mode.scaled(3*time.Minute), 5*time.Second)
	pgtest.Eventually(t, silence, func() error { return w.heardWithin(silence) })
	w.alertmanager.Kill()
	killed := time.Now()
	pgtest.Eventually(t, 2*silence+30*time.Second, func() error {
		if w.heardWithin(silence) == nil {
			return fmt.Errorf("Watchdog is still heard")
		}
		return nil
	})
	alarmed := time.Since(killed)
	w.alertmanager.Start(t)
	back := time.Now()
	pgtest.Eventually(t, 2*silence+30*time.Second, func() error { return w.heardWithin(silence) })
	a := alarm{"Watchdog", "silence", ""}
	table.add(fault{name: deadManFault, about: "SIGKILL of Alertmanager; the dead man's switch alarms on the silence", want: []alarm{a}},
		map[alarm]time.Duration{a: alarmed}, map[alarm]time.Duration{a: time.Since(back)})
}

// chaosTable is docs/chaos.md, one section a mode.
type chaosTable struct {
	mode mode
	mu   sync.Mutex
	rows map[string]string
	told map[string]string // which cause a story named
}

func (c *chaosTable) tell(f fault, row string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil {
		c.told = map[string]string{}
	}
	if row != "" {
		c.told[f.name] = row
	}
}

func (c *chaosTable) add(f fault, heard, ended map[alarm]time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		c.rows = map[string]string{}
	}
	if len(f.want) == 0 {
		c.rows[f.name] = fmt.Sprintf("| %s | %s | nobody is told | | |\n", f.name, f.about)
		return
	}
	for i, a := range f.want {
		name, about := f.name, f.about
		if i > 0 {
			name, about = "", ""
		}
		end := f.lasts[a.name]
		if end == "" {
			end = fmt.Sprintf("%.0f", ended[a].Seconds())
		}
		c.rows[f.name] += fmt.Sprintf("| %s | %s | %s (%s) | %.0f | %s |\n", name, about, a.name, a.severity, heard[a].Seconds(), end)
	}
}

const chaosFile = "../docs/chaos.md"

const chaosHead = `# What happens when

Written by ` + "`PG_RELIABILITY_CHAOS=1 go test ./alerts -run Chaos`" + ` and ` + "`PG_RELIABILITY_CHAOS=real`" +
	`, which inject each fault into a
real PostgreSQL server watched by our exporter, a real Prometheus with the rules of alerts/, a real Alertmanager with
its routes, and a webhook that receives what people would. ` + "*To hear*" + ` is from the fault to the notification, ` + "*to end*" +
	` from
the repair to the notification that it is over, in seconds. critical pages, warning is a ticket. In each row nothing
else was sent, but for what the test's list of faults allows with its reason.
`

func (m mode) heading() string {
	if m.compress == 1 {
		return "## As shipped\n\nScrapes every 15 s, durations as in alerts/. A fault that is missing here has had no clean run of this " +
			"kind yet.\n"
	}
	return fmt.Sprintf("## Compressed\n\nScrapes every second; how long a state must last before it is an alert, the windows that look "+
		"back, and\n"+
		"Alertmanager's intervals are divided by %.0f. The 30 s after which a server that is down pages are not.\n", m.compress)
}

const causesHeading = `## Which cause the story named

Of the faults that are an outage, with the server's log followed, in the newest run of either kind. A run in which a story names
another cause, or one incident of the fault does, fails. What each takes is in [black-box.md](black-box.md).
`

// write puts the rows of this run in the place of their old ones. What was not part of the run stays as it was.
func (c *chaosTable) write(t *testing.T) {
	t.Helper()
	old, err := os.ReadFile(chaosFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	text := chaosHead
	for _, m := range []mode{{compress: 1}, {compress: 60}} {
		rows := rowsOf(string(old), m)
		if m.compress == c.mode.compress {
			maps.Copy(rows, c.rows)
		}
		if len(rows) == 0 {
			continue
		}
		text += "\n" + m.heading() + "\n| Fault | | Alert | To hear | To end |\n|---|---|---|--:|--:|\n"
		for _, f := range append(faults(), fault{name: deadManFault}) {
			text += rows[f.name]
		}
	}
	told := rowsBelow(string(old), causesHeading)
	if maps.Copy(told, c.told); len(told) > 0 {
		text += "\n" + causesHeading + "\n| Fault | Cause | How sure |\n|---|---|---|\n"
		for _, f := range faults() {
			text += told[f.name]
		}
	}
	if err := os.WriteFile(chaosFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rowsOf are a table's rows in docs/chaos.md, by fault.
func rowsOf(text string, m mode) map[string]string { return rowsBelow(text, m.heading()) }

func rowsBelow(text, heading string) map[string]string {
	rows := map[string]string{}
	title, _, _ := strings.Cut(heading, "\n")
	_, section, _ := strings.Cut(text, title+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	name := ""
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Fault ") {
			continue
		}
		if first := strings.TrimSpace(cells[1]); first != "" { // further alerts of a fault don't repeat its name
			name = first
		}
		rows[name] += line
	}
	return rows
}

func TestRowsThatWereNotRunStay(t *testing.T) {
	m := mode{compress: 60}
	text := chaosHead + "\n" + mode{compress: 1}.heading() + "\n| a | real |\n\n" + m.heading() +
		"\n| Fault | | Alert |\n|---|---|---|\n| a | one | x |\n|  |  | y |\n| b | two | z |\n"
	want := map[string]string{"a": "| a | one | x |\n|  |  | y |\n", "b": "| b | two | z |\n"}
	if got := rowsOf(text, m); !maps.Equal(got, want) {
		t.Errorf("rows: %q, want %q", got, want)
	}
}

// The table is of these faults, all of them.
func TestChaosTableListsEveryFault(t *testing.T) {
	b, err := os.ReadFile(chaosFile)
	if err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(string(b), mode{compress: 60})
	for _, f := range append(faults(), fault{name: deadManFault}) {
		if rows[f.name] == "" {
			t.Errorf("docs/chaos.md does not have %s. HINT: Run make test-chaos", f.name)
		}
		for _, a := range f.want {
			if !strings.Contains(rows[f.name], fmt.Sprintf("| %s (%s) |", a.name, a.severity)) {
				t.Errorf("docs/chaos.md does not have %s for %s", a.name, f.name)
			}
		}
		delete(rows, f.name)
	}
	for name := range rows {
		t.Errorf("docs/chaos.md has %s, which is no fault", name)
	}
}

func writeRules(t testing.TB, dir string, compress float64) string {
	t.Helper()
	config, _, _ := shipped(t)
	files, err := config.Rules(compress)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "*.rules.yml")
}
