package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// browser is a tab of a real Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context
	axe string

	console iter.Seq2[chromedp.ConsoleMessage, error]
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	chromium, axeFile, err := pgtest.Browser()
	if err != nil {
		t.Fatal(err)
	}
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		t.Fatal(err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(chromium), chromedp.NoSandbox,
		chromedp.DisableGPU)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, axe: string(axe)}
	b.console = chromedp.Console(ctx)
	return b
}

// do ends the test when the browser does not do it in time.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ask(b, chromedp.Steps(actions...))
}

func ask[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	answer, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer
}

// command sends one of the protocol's own.
func command[P, R any](b *browser, c cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, c, params); err != nil {
		b.t.Fatal(err)
	}
}

func evaluate[T any](b *browser, script string) T {
	b.t.Helper()
	return ask(b, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// look sets the window and the user's choice of colours.
func (b *browser) look(width int64, colours string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, 900))
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}},
	})
}

// accessible asks axe-core for violations of WCAG A and AA, and looks whether anything is wider than the window.
func (b *browser) accessible(what string) {
	b.t.Helper()
	report := evaluate[string](b, b.axe+
		`;axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => JSON.stringify(
		{passes: r.passes.length, violations: r.violations.map(v => v.id + ': ' + v.help + ' ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join('; '))}))`)
	var result struct {
		Passes     int
		Violations []string
	}
	if err := json.Unmarshal([]byte(report), &result); err != nil {
		b.t.Fatal(err)
	}
	if result.Passes < 20 {
		b.t.Errorf("%s: axe has checked %d rules only", what, result.Passes)
	}
	for _, v := range result.Violations {
		b.t.Errorf("%s: %s", what, v)
	}
	if evaluate[bool](b, `document.scrollingElement.scrollWidth > innerWidth`) {
		b.t.Errorf("%s: the page is wider than the window", what)
	}
}

// picture is for human eyes: PG_RELIABILITY_PICTURES names a directory for them.
func (b *browser) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("PG_RELIABILITY_PICTURES")
	if dir == "" {
		return
	}
	image := ask(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), image, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return evaluate[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

func TestStatusPageInChromium(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	pg := pgtest.New(t, pgtest.Options{})
	repo, err := catalog.Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	backUp(t, pg, repo)
	r := launch(t, pg.MonitorDSN(), "--volume=data="+pg.DataDir(), "--backup.catalog="+repo.Dir(), "--probe.interval=200ms",
		"--probe.login-interval=500ms", "--web.grafana-url=https://grafana.example/", "--web.enable-pprof")
	r.until(t, func(s status.Status) error {
		if s.State.Status != status.Up || s.Connections == nil || s.Backups == nil || len(s.Volumes) != 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	everyWay := func(state string) {
		t.Helper()
		for _, colours := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 390} {
				b.look(width, colours)
				name := fmt.Sprintf("%s-%s-%d", state, colours, width)
				b.accessible(name)
				b.picture(name)
			}
		}
	}

	b.do(chromedp.Navigate(r.url + "/"))
	if word := b.text("h1"); !strings.Contains(word, "Up") {
		t.Errorf("the heading says %q", word)
	}
	everyWay("up")
	b.keyboard()

	// The page stays where it is and keeps the focus while it updates itself.
	b.look(390, "light")
	evaluate[bool](b, `scrollTo(0, 500), document.querySelector('footer a').focus({preventScroll: true}), window.same = true`)
	if err := pg.Stop(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 40*time.Second, func() error {
		b.comeBack()
		if word := b.text("h1"); !strings.Contains(word, "Down") {
			return fmt.Errorf("the heading says %q", word)
		}
		// Where a login fails before the next read does, PostgresLoginFailing is there for a moment.
		if said := b.text(".problems"); !strings.Contains(said, "PostgresDown") {
			return fmt.Errorf("the problems say %q", said)
		}
		return nil
	})
	if !evaluate[bool](b, `window.same === true && scrollY === 500 && document.activeElement === document.querySelector('footer a')`) {
		t.Error("an update has moved the page, or taken the focus away")
	}
	if said := b.text("#announce"); !strings.Contains(said, "Down") {
		t.Errorf("screen readers are told %q, want that it is down", said)
	}
	if title := ask(b, chromedp.Title()); !strings.HasPrefix(title, "Down") {
		t.Errorf("title %q", title)
	}
	everyWay("down")

	b.silent()

	// Without JavaScript the page is the same, and the browser itself loads it anew.
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do(chromedp.Navigate(r.url + "/"))
	if word := b.text("h1"); !strings.Contains(word, "Down") {
		t.Errorf("without JavaScript the heading says %q", word)
	}
	if !evaluate[bool](b, `document.querySelector('meta[http-equiv=refresh]') !== null`) {
		t.Error("without JavaScript nothing updates the page")
	}
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	b.do(chromedp.Navigate(r.url + "/"))

	// A page whose exporter is gone must not go on saying what it said.
	r.stop()
	pgtest.Eventually(t, 30*time.Second, func() error {
		b.comeBack()
		if said := b.text("#stale"); !strings.Contains(said, "This page is old") {
			return fmt.Errorf("the page says %q", said)
		}
		return nil
	})
	b.accessible("old")
}

// Names come from people, and from programs: the longest that PostgreSQL takes, markup, and writing that runs from right to left change
// neither the width of the page nor what it does.
func TestHostileNamesInChromium(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	pg := pgtest.New(t, pgtest.Options{})
	long, markup, hebrew := strings.Repeat("W", 63), "<img src=x onerror=document.title=1>", "\u202eשלום"
	err := pg.Exec(t.Context(), fmt.Sprintf(`CREATE TABLE "%s" AS SELECT 1 AS "%s"`, long, markup),
		fmt.Sprintf(`CREATE ROLE "%s" SUPERUSER`, hebrew+long[:40]), fmt.Sprintf(`SELECT pg_create_physical_replication_slot('%s')`, strings.ToLower(long)))
	if err != nil {
		t.Fatal(err)
	}
	for _, wait := range []bool{false, true} {
		conn, err := pg.Connect(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		sql := fmt.Sprintf(`SET application_name = '%s'; SET SESSION AUTHORIZATION "%s"; BEGIN; LOCK TABLE "%s"`, markup+long,
			hebrew+long[:40], long)
		if !wait {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			continue
		}
		go func() { _, _ = conn.Exec(t.Context(), sql+"; SELECT 1") }()
	}
	r := launch(t, pg.MonitorDSN(), "--probe.interval=200ms")
	r.until(t, func(s status.Status) error {
		if s.Sessions == nil || len(s.Sessions.Blocking) < 2 || s.Replication == nil || len(s.Replication.Slots) != 1 {
			return fmt.Errorf("%+v, %+v", s.Sessions, s.Replication)
		}
		return nil
	})
	b.do(chromedp.Navigate(r.url + "/"))
	for _, width := range []int64{1280, 390} {
		b.look(width, "light")
		b.accessible(fmt.Sprintf("hostile names at %d pixels", width))
		b.picture(fmt.Sprintf("hostile-%d", width))
	}
	if title := ask(b, chromedp.Title()); !strings.HasPrefix(title, "Up") {
		t.Errorf("title %q: a name was run as a script", title)
	}
	b.silent()
}

// comeBack is what a user does who has looked at another tab: the page updates itself without waiting for its time.
func (b *browser) comeBack() {
	b.t.Helper()
	evaluate[bool](b, `document.dispatchEvent(new Event('visibilitychange'))`)
}

// silent looks whether the console complained of anything so far.
func (b *browser) silent() {
	b.t.Helper()
	evaluate[bool](b, `console.info('that is all'), true`)
	for m, err := range b.console {
		switch {
		case err != nil:
			b.t.Fatal(err)
		case m.Text == "that is all":
			return
		case m.Type == chromedp.ConsoleError, m.Type == chromedp.ConsoleWarning, m.IsException():
			b.t.Errorf("the console says: %s %s", m, m.URL)
		}
	}
}

// focus is the element that has it.
type focus struct {
	Text string
	Seen bool
}

// keyboard walks through the page with the tab key: every link is reached, in the order of the page, and is seen.
func (b *browser) keyboard() {
	b.t.Helper()
	evaluate[bool](b, `document.activeElement.blur(), true`)
	want := evaluate[[]string](b, `[...document.querySelectorAll('a[href], summary')].map(e => e.innerText)`)
	var got []string
	for range want {
		b.do(chromedp.KeyEvent(kb.Tab))
		focused := evaluate[focus](b, `(() => { const e = document.activeElement, s = getComputedStyle(e)
			return {Text: e.innerText, Seen: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2} })()`)
		got = append(got, focused.Text)
		if !focused.Seen {
			b.t.Errorf("the focus on %q can't be seen", focused.Text)
		}
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("the tab key goes through %q, want %q", got, want)
	}
}

// An exporter that hangs, or a network that drops everything, refuses nothing: the page must notice all the same.
func TestStatusPageOfAnExporterThatHangs(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	r := launch(t, "postgres://nobody@127.0.0.1:1/none")
	exporter, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	var hangs atomic.Bool
	through := httputil.NewSingleHostReverseProxy(exporter)
	network := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			<-r.Context().Done()
			return
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { network.CloseClientConnections(); network.Close() })
	b.do(chromedp.Navigate(network.URL + "/"))
	says := func(want string) {
		t.Helper()
		pgtest.Eventually(t, 40*time.Second, func() error {
			if said := b.text("#stale"); !strings.HasPrefix(said, want) || want == "" && said != "" {
				return fmt.Errorf("the page says %q, want %q", said, want)
			}
			return nil
		})
	}
	hangs.Store(true)
	b.comeBack()
	says("This page is old")
	hangs.Store(false)
	says("")
}
