package doctest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
)

// house is what documents may name.
type house struct {
	root                          string
	alerts, metrics, makes, flags map[string]bool
	boards                        int
	flagsOf                       map[string]map[string]bool // by program
}

// others are flags that documents show of other people's programs, outside of a command line that says whose they are.
var others = map[string]string{
	"--profile": "docker compose", "--pgdata": "pg_basebackup", "--no-expire-auto": "pgbackrest", "--process-max": "pgbackrest",
	"--exit-on-error": "pg_restore", "--storage.tsdb.retention.time": "prometheus", "--web.enable-lifecycle": "prometheus",
	"--data-checksums": "initdb", "--enable": "pg_checksums", "--auto-discover-databases": "postgres_exporter", "--snapshot": "pg_dump",
	"--collector": "a pattern", "--collector.NAME": "a pattern", "--collector.NAME.top": "a pattern", "--no-collector.NAME": "a pattern",
}

func TestWhatDocumentsNameExists(t *testing.T) {
	h := newHouse(t)
	documents, err := filepath.Glob(filepath.Join(h.root, "docs", "*.md"))
	if err != nil || len(documents) < 10 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	for _, path := range append(documents, filepath.Join(h.root, "README.md"), filepath.Join(h.root, "alerts/README.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(h.root, path)
		for _, complaint := range h.check(name, string(text)) {
			t.Error(complaint)
		}
	}
}

// A check that finds nothing wrong in nonsense is worthless.
func TestWhatDoesNotExistIsFound(t *testing.T) {
	h := newHouse(t)
	nonsense := "# A heading: 99.9 % of it\n" +
		"1 alerts\n" +
		"PostgresGoneFishing, `pg_reliability_fish_total`, `pg_reliability_fish_*`, `pgr:fish:ratio`\n" +
		"`--nonsense.flag`, `pg_reliability_backup run --every-day`, `make fish`, `deploy/fish.yml`\n" +
		"There are 2, each with a runbook\n| Shipped alerts, dashboards | 3, 7 |\n| Rules about PostgreSQL | 4 | 5 |\n" +
		"[a](nowhere.md) [b](#nowhere) [c](backup.md#nowhere)\n" +
		"```sh\npg_reliability_exporter \\\n  --fish=1\nmake docs fishes\n```\n"
	got := h.check("docs/x.md", nonsense)
	for _, want := range []string{
		"PostgresGoneFishing", "1", "2", "3", "7", "4", "pg_reliability_fish_total", "pg_reliability_fish_*", "pgr:fish:ratio", "--nonsense.flag",
		"--every-day", "make fish",
		"deploy/fish.yml", "nowhere.md", "x.md#nowhere", "backup.md#nowhere", "--fish", "make fishes",
	} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, " "+want) }) {
			t.Errorf("%s was not found, but %q", want, got)
		}
	}
	fine := "# A heading: 99.9 % of it\n[a](#a-heading-999--of-it) PostgresDown Watchdog `--volume` `make test` `pg_reliability_up_reason` " +
		"`deploy/sql/`\n"
	if got := h.check("docs/x.md", fine); len(got) > 0 {
		t.Errorf("complaints about what exists: %q", got)
	}
}

func newHouse(t *testing.T) *house {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{root: root, alerts: map[string]bool{}, metrics: map[string]bool{}, makes: map[string]bool{}, flags: map[string]bool{},
		flagsOf: map[string]map[string]bool{}}
	collect := func(into map[string]bool, glob, pattern string) {
		files, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", glob, len(files), err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
				into[found[1]] = true
			}
		}
	}
	boards, err := filepath.Glob(filepath.Join(root, "dashboards", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	h.boards = len(boards)
	collect(h.alerts, "alerts/*.rules.yml", `- alert: (\w+)`)
	collect(h.metrics, "alerts/*.rules.yml", `- record: (\S+)`)
	all, err := declared.All()
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		h.metrics[name] = true
	}
	collect(h.makes, "Makefile", `(?m)^([a-z][a-z0-9-]*):`)
	programs, err := os.ReadDir(filepath.Join(root, "cmd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		own := map[string]bool{"--help": true, "--version": true}
		collect(own, "cmd/"+p.Name()+"/*.go", `\bFlag\("([a-z][\w.-]*)"`)
		toolkit := map[string]bool{}
		collect(toolkit, "cmd/"+p.Name()+"/*.go", `\b(kingpinflag)\.AddFlags`)
		if len(toolkit) > 0 {
			for _, f := range []string{"web.listen-address", "web.config.file", "web.systemd-socket"} {
				own[f] = true
			}
		}
		if p.Name() == "pg_reliability_exporter" {
			collect(own, "collector/metrics/*.yml", `(?m)^-? *name: (\w+)$`)
		}
		h.flagsOf[p.Name()] = own
		for f := range own {
			h.flags[f] = true
		}
	}
	return h
}

var (
	alertName = regexp.MustCompile(`\b(?:Postgres[A-Z][a-z]\w*|Watchdog)\b`)
	// README.md and others say how many alerts there are, in these forms.
	countAlerts = regexp.MustCompile(`(?:^|exporter, |There are |\| Shipped alerts, dashboards \| |\| Rules about PostgreSQL \| )(\d+)` +
		`(?: alerts\b|, each with a runbook|, \d+ \|| \|)`)
	countBoards = regexp.MustCompile(`\| Shipped alerts, dashboards \| \d+, (\d+) \|`)
	metricName  = regexp.MustCompile(`(?:\bpg_reliability_\w+\*?|\bpgr:[\w:]+)`)
	flagName    = regexp.MustCompile(`(?:^|[\s("'\x60\[])(--[a-z][\w.-]*)`)
	ourProgram  = regexp.MustCompile(`\b(pg_reliability_(?:exporter|backup|monitor)|backups|restores)\b(?: |$)`)
	makeTarget  = regexp.MustCompile(`(?:^|[\s\x60;&])make((?: [a-z][a-z0-9-]*)+)`)
	codeSpan    = regexp.MustCompile("`([^`]+)`")
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading     = regexp.MustCompile(`^#+ (.*)$`)
)

// check returns what a document names and does not exist, each complaint ending with the name.
func (h *house) check(name, text string) []string {
	var complaints []string
	line := 0
	say := func(what, which string) {
		complaints = append(complaints, fmt.Sprintf("%s:%d: there is no %s %s", name, line, what, which))
	}
	fenced, continued := false, ""
	for _, l := range strings.Split(text, "\n") {
		line++
		if strings.HasPrefix(l, "```") {
			fenced = !fenced
			continue
		}
		for _, a := range alertName.FindAllString(l, -1) {
			if !h.alerts[a] {
				say("alert", a)
			}
		}
		for _, n := range countAlerts.FindAllStringSubmatch(l, -1) {
			if n[1] != strconv.Itoa(len(h.alerts)) {
				say("such number of alerts:", n[1])
			}
		}
		for _, n := range countBoards.FindAllStringSubmatch(l, -1) {
			if n[1] != strconv.Itoa(h.boards) {
				say("such number of dashboards:", n[1])
			}
		}
		for _, m := range metricName.FindAllString(l, -1) {
			if !h.hasMetric(l, m) {
				say("metric", m)
			}
		}
		if fenced || strings.HasPrefix(l, "    ") {
			code := continued + l
			if strings.HasSuffix(l, `\`) {
				continued = strings.TrimSuffix(code, `\`)
				continue
			}
			continued = ""
			h.code(code, false, say)
			continue
		}
		for _, span := range codeSpan.FindAllStringSubmatch(l, -1) {
			h.code(span[1], true, say)
		}
		for _, to := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(l, ""), -1) {
			if err := h.link(name, text, to[1]); err != "" {
				say("page", err)
			}
		}
	}
	return complaints
}

// hasMetric is whether a word that looks like a metric is one, or something else that exists.
func (h *house) hasMetric(line, name string) bool {
	if h.metrics[name] || h.flagsOf[name] != nil {
		return true
	}
	if stem, pattern := strings.CutSuffix(name, "*"); pattern || strings.HasSuffix(name, "_") {
		for m := range h.metrics {
			if strings.HasPrefix(m, stem) {
				return true
			}
		}
		return false
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if stem, cut := strings.CutSuffix(name, suffix); cut && h.metrics[stem] {
			return true
		}
	}
	// Paths, units and the like: /etc/pg_reliability, pg_reliability_exporter.service are words above.
	return strings.Contains(line, "/"+name)
}

// code checks a command line, or what stands between backquotes.
func (h *house) code(code string, span bool, say func(what, which string)) {
	for _, found := range makeTarget.FindAllStringSubmatch(code, -1) {
		for _, target := range strings.Fields(found[1]) {
			if !h.makes[target] {
				say("target", "make "+target)
			}
		}
	}
	if span {
		if first, _, _ := strings.Cut(code, "/"); !strings.HasPrefix(code, ".") && !strings.ContainsAny(code, " *<>$={}:") &&
			strings.Contains(code, "/") {
			if _, err := os.Stat(filepath.Join(h.root, first)); err == nil && !strings.HasPrefix(code, "/") && !strings.HasPrefix(code, "bin/") &&
				!strings.HasPrefix(code, "secrets/") {
				if _, err := os.Stat(filepath.Join(h.root, code)); err != nil {
					say("file", code)
				}
			}
		}
	}
	code, _, _ = strings.Cut(code, " # ")
	for _, command := range regexp.MustCompile(`[|;&]+`).Split(code, -1) {
		program := ourProgram.FindStringSubmatchIndex(command)
		for _, at := range flagName.FindAllStringSubmatchIndex(command, -1) {
			flag := strings.TrimRight(command[at[2]:at[3]], ".")
			switch {
			case others[flag] != "":
			case program != nil && at[2] > program[2]:
				if p := command[program[2]:program[3]]; !h.knows(p, flag) {
					say("flag", flag)
				}
			case program == nil && strings.HasPrefix(strings.TrimSpace(command), "--") && !h.knows("", flag):
				say("flag", flag)
			}
		}
	}
}

// knows is whether a program of ours has a flag; the guides' functions are the backup program's.
func (h *house) knows(program, flag string) bool {
	own := h.flagsOf[program]
	switch program {
	case "":
		own = h.flags
	case "backups", "restores":
		own = h.flagsOf["pg_reliability_backup"]
	}
	bare := strings.TrimPrefix(flag, "--")
	bare = strings.TrimSuffix(bare, ".top") // a collector's limit
	for _, name := range []string{bare, strings.TrimPrefix(bare, "no-"), strings.TrimPrefix(strings.TrimPrefix(bare, "no-"), "collector.")} {
		if own[name] || own["--"+name] {
			return true
		}
	}
	return false
}

// link returns the page or heading that a relative link means and does not find.
func (h *house) link(name, text, to string) string {
	if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return ""
	}
	path, anchor, _ := strings.Cut(to, "#")
	target := filepath.Join(filepath.Dir(name), path)
	if path == "" {
		target = name
	} else {
		info, err := os.Stat(filepath.Join(h.root, target))
		if err != nil {
			return to
		}
		if anchor == "" || info.IsDir() {
			return ""
		}
		content, err := fs.ReadFile(os.DirFS(h.root), target)
		if err != nil {
			return to
		}
		text = string(content)
	}
	if !slices.Contains(anchors(text), anchor) {
		return filepath.Base(target) + "#" + anchor
	}
	return ""
}

// anchors are the headings as GitHub names them.
func anchors(text string) []string {
	var out []string
	fenced := false
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, "```") {
			fenced = !fenced
		}
		found := heading.FindStringSubmatch(l)
		if fenced || found == nil {
			continue
		}
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(found[1]), "")
		out = append(out, strings.ReplaceAll(name, " ", "-"))
	}
	return out
}

// TestGuidesSayWhoRunsEachBlock: also without PG_RELIABILITY_DOCS=1, nothing is run by nobody.
func TestGuidesSayWhoRunsEachBlock(t *testing.T) {
	places := map[string]int{}
	for _, guide := range Guides() {
		blocks, err := Blocks("../../" + guide)
		if err != nil {
			t.Error(err)
		}
		for _, b := range blocks {
			places[b.Place]++
			if b.Place == NotRun {
				t.Logf("%s is not run: %s", b.Name(), b.Reason)
				if missing := reasonMissing(t, b.Reason); missing != "" {
					t.Errorf("%s is not run for a reason that names %s, which does not exist", b.Name(), missing)
				}
			}
		}
	}
	books, err := Runbooks("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, book := range books {
		run := 0
		for _, b := range book.Blocks {
			places["runbooks, "+b.Place]++
			if b.Place != NotRun {
				run++
				continue
			}
			t.Logf("%s is not run: %s", b.Name(), b.Reason)
			if missing := reasonMissing(t, b.Reason); missing != "" {
				t.Errorf("%s is not run for a reason that names %s, which does not exist", b.Name(), missing)
			}
		}
		if len(book.Blocks) > 0 && run == 0 {
			t.Errorf("%s: no block is run", book.Alert)
		}
	}
	if places["runbooks, "+Host] == 0 || places[Host] == 0 || places[Compose] == 0 {
		t.Errorf("blocks by place: %v", places)
	}
	t.Logf("blocks by place: %v", places)
}

var reasonNames = regexp.MustCompile(`\bmake [a-z][a-z0-9-]*|\bTest[A-Z]\w*|-run \w+`)

// reasonMissing is the target or test that a reason says runs a block instead, and that does not exist.
func reasonMissing(t *testing.T, reason string) string {
	t.Helper()
	for _, name := range reasonNames.FindAllString(reason, -1) {
		pattern, glob := `(?m)^`+strings.TrimPrefix(name, "make ")+`:`, "../../Makefile"
		if !strings.HasPrefix(name, "make ") {
			pattern, glob = `(?m)^func (Test\w*)?`+strings.TrimPrefix(name, "-run ")+`\w*\(`, "../../*/*/*_test.go"
		}
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", glob, len(files), err)
		}
		if !slices.ContainsFunc(files, func(f string) bool {
			text, err := os.ReadFile(f)
			return err == nil && regexp.MustCompile(pattern).Match(text)
		}) {
			return name
		}
	}
	return ""
}

func TestReasonsNameWhatExists(t *testing.T) {
	for reason, want := range map[string]string{
		"make test-packages and TestCompose do":  "",
		"go test ./cmd/x -run Offsite does":      "",
		"make test-fishes does":                  "make test-fishes",
		"TestFishSwim does":                      "TestFishSwim",
		"go test ./cmd/x -run FishesInTheSea do": "-run FishesInTheSea",
	} {
		if got := reasonMissing(t, reason); got != want {
			t.Errorf("%q: %q is missing, want %q", reason, got, want)
		}
	}
}

// TestTheFirstScreenIsShort: what a stranger sees of the README is half of what it was, and says what it is before how to run it.
func TestTheFirstScreenIsShort(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const most = 75 // words; there were 150
	first, _, _ := strings.Cut(string(text), "\n## ")
	first = regexp.MustCompile(`(?m)^!\[.*$`).ReplaceAllString(first, "")
	if n := len(strings.Fields(first)); n > most {
		t.Errorf("the first screen has %d words, at most %d are read", n, most)
	}
	at := 0
	for _, part := range []string{"It watches", "It is for", "Other exporters", "make demo"} {
		i := strings.Index(first, part)
		if i < at {
			t.Errorf("%q is not where it belongs: what, for whom, why better, how", part)
		}
		at = i
	}
}
