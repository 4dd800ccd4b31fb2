package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// patient is a server that suffers faults, and the way to it.
type patient struct {
	t  *testing.T
	pg *pgtest.Cluster
	to *pgtest.Proxy
}

// misfortune is a fault that lasts until it is mended, and its cause. It is begun once; what ends it is returned.
type misfortune struct {
	name  string
	want  incident.Cause
	begin func(p *patient) (end func())
	// closed: while it lasts nobody, not even a superuser, can ask the server for anything.
	closed bool
	// asks: it needs a server that answers a superuser.
	asks bool
}

var misfortunes = []misfortune{
	{name: "a backend is killed", want: incident.KilledBySignal, asks: true,
		begin: func(p *patient) func() { return p.kill(syscall.SIGKILL) }},
	{name: "a backend crashes", want: incident.KilledBySignal, asks: true, begin: func(p *patient) func() { return p.kill(syscall.SIGSEGV) }},
	{name: "a fast restart", want: incident.Restarted, begin: func(p *patient) func() { return p.stop(syscall.SIGINT) }},
	{name: "an immediate shutdown", want: incident.ImmediateShutdown, begin: func(p *patient) func() { return p.stop(syscall.SIGQUIT) }},
	{name: "all is killed", want: incident.ServerKilled, begin: func(p *patient) func() { return p.stop(syscall.SIGKILL) }},
	{name: "connections are used up", want: incident.ConnectionsExhausted, asks: true, begin: func(p *patient) func() { return p.fill() }},
	{name: "pg_hba.conf", want: incident.AccessChanged, begin: func(p *patient) func() { return p.reject() }},
	{name: "a new password", want: incident.LoginRefused, asks: true, begin: func(p *patient) func() {
		p.sql("ALTER ROLE " + pgtest.Monitor + " PASSWORD 'another'")
		return func() { p.sql("ALTER ROLE " + pgtest.Monitor + " PASSWORD '" + pgtest.Password + "'") }
	}},
	{name: "the network is gone", want: incident.Network, begin: func(p *patient) func() { return p.leave() }},
	{name: "it is frozen", want: incident.Frozen, closed: true, begin: func(p *patient) func() {
		p.pg.Pause()
		return p.pg.Resume
	}},
	{name: "the roles are locked", want: incident.LockQueue, closed: true, asks: true, begin: func(p *patient) func() { return p.lock() }},
}

func (p *patient) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) sql(text string) {
	p.t.Helper()
	pgtest.Eventually(p.t, 20*time.Second, func() error { return p.pg.Exec(p.t.Context(), text) })
}

func (p *patient) connect() *pgx.Conn {
	p.t.Helper()
	conn, err := p.pg.Connect(p.t.Context(), "postgres")
	p.must(err)
	return conn
}

func (p *patient) kill(signal syscall.Signal) func() {
	conn := p.connect()
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		_, _ = conn.Exec(context.Background(), "SELECT 'secret', pg_sleep(600)", pgx.QueryExecModeSimpleProtocol)
		conn.Close(context.Background())
	}()
	pgtest.Eventually(p.t, 10*time.Second, func() error {
		n, err := p.pg.Query(p.t.Context(), "postgres",
			"SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query ~ 'secret'", conn.PgConn().PID())
		if err != nil || n != "1" {
			return fmt.Errorf("%q sessions run the statement, %w", n, err)
		}
		return nil
	})
	p.must(syscall.Kill(int(conn.PgConn().PID()), signal))
	<-cut
	return func() { p.must(p.pg.WaitReady(p.t.Context())) }
}

func (p *patient) stop(signal syscall.Signal) func() {
	if signal == syscall.SIGKILL {
		p.pg.KillServer()
	} else {
		p.must(p.pg.StopWith(signal))
	}
	return func() { p.must(p.pg.LaunchNoWait()) }
}

func (p *patient) fill() func() {
	var held []*pgx.Conn
	for range 1000 {
		conn, err := pgx.Connect(p.t.Context(), p.pg.MonitorDSN())
		if err != nil {
			break
		}
		held = append(held, conn)
	}
	return func() {
		for _, conn := range held {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = conn.Close(ctx)
			cancel()
		}
	}
}

func (p *patient) reject() func() {
	hba, err := os.ReadFile(filepath.Join(p.pg.DataDir(), "pg_hba.conf"))
	p.must(err)
	p.must(p.pg.WriteHBA("host all " + pgtest.Monitor + " 127.0.0.1/32 reject\n" + string(hba)))
	_ = p.pg.Reload() // a server that is down reads it when it starts
	return func() {
		p.must(p.pg.WriteHBA(string(hba)))
		_ = p.pg.Reload()
	}
}

// leave takes the network away, while users of the server's own machine go on.
func (p *patient) leave() func() {
	p.to.Leave()
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			each, stop := context.WithTimeout(ctx, time.Second)
			_ = p.pg.Exec(each, "SELECT 1 / 0")
			stop()
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return func() {
		cancel()
		<-done
		p.must(p.to.Return())
	}
}

func (p *patient) lock() func() {
	conn := p.connect()
	_, err := conn.Exec(p.t.Context(), "BEGIN; LOCK TABLE pg_authid", pgx.QueryExecModeSimpleProtocol)
	p.must(err)
	return func() {
		_, _ = conn.Exec(p.t.Context(), "ROLLBACK")
		_ = conn.Close(p.t.Context())
	}
}

// besides is whether one may begin while the other lasts, in this test's hands.
func (m misfortune) besides(lasting misfortune) bool {
	return m.name != lasting.name && !(lasting.closed && m.asks) && !(m.closed && lasting.asks) &&
		!(isStop(m) && isStop(lasting)) && !(isStop(lasting) && (m.asks || m.closed)) && !(isStop(m) && lasting.name == "it is frozen")
}

func isStop(m misfortune) bool {
	return slices.Contains([]incident.Cause{incident.Restarted, incident.ImmediateShutdown, incident.ServerKilled}, m.want)
}

// TestRandomIncidents has a real server suffer 30 faults in a random order, each for a random time and a random while after the one before,
// so that the windows of several reach over each other; a third of them while another one lasts. At least 27 must be told rightly, and
// none wrongly: unknown is no cause. Of two at a time either is right. RANDOM_INCIDENTS is the seed.
func TestRandomIncidents(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_LONG") == "" {
		t.Skip("takes minutes. HINT: Set PG_RELIABILITY_LONG=1, and PGTEST_VERSIONS=all for each version")
	}
	pgtest.EachVersion(t, pgtest.Options{Settings: map[string]string{"max_connections": "30"}}, randomIncidents)
}

func randomIncidents(t *testing.T, pg *pgtest.Cluster) {
	const all, least = 30, 27
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number does
	if n, err := strconv.ParseUint(os.Getenv("RANDOM_INCIDENTS"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's order
	upTo := func(d time.Duration) { time.Sleep(time.Duration(random.Int64N(int64(d)))) }
	p := &patient{t, pg, pgtest.NewProxy(t, pg)}
	r := launch(t, p.to.DSN(pg.MonitorDSN()), "--state.dir="+t.TempDir(), "--log.file="+pg.LogFile(), "--probe.login-interval=1s",
		"--probe.calm-login-interval=1s")
	pgtest.Eventually(t, 20*time.Second, func() error { // it has looked around
		if n := r.scrape(t)[`pg_reliability_session_sampling_total{result="ok"}`]; n < 8 {
			return fmt.Errorf("%v samples were taken", n)
		}
		return r.health(t, "ok")
	})
	suffer := func(m misfortune) func() {
		end := m.begin(p)
		return func() { upTo(4 * time.Second); end() }
	}
	type told struct{ alone, beside, right, unknown int }
	table := map[string]*told{}
	right := 0
	known := map[string]bool{}
	for i := range all {
		first := misfortunes[random.IntN(len(misfortunes))]
		name, want := first.name, []incident.Cause{first.want}
		end := suffer(first)
		r.isDown(t, known)
		row := table[first.name]
		if row == nil {
			row = &told{}
			table[first.name] = row
		}
		second := misfortunes[random.IntN(len(misfortunes))]
		for range 5 {
			if !second.besides(first) {
				second = misfortunes[random.IntN(len(misfortunes))]
			}
		}
		if random.IntN(2) == 0 && second.besides(first) {
			name, want = name+" and "+second.name, append(want, second.want)
			row.beside++
			upTo(3 * time.Second)
			endSecond := suffer(second)
			if random.IntN(2) == 0 || second.closed || isStop(second) && first.asks {
				endSecond()
				end()
			} else {
				end()
				endSecond()
			}
		} else {
			row.alone++
			end()
		}
		stories := r.settled(t, known)
		is := incident.Unknown
		for _, s := range stories {
			known[s.ID] = true
			switch {
			case slices.Contains(want, s.Cause):
				is = s.Cause
			case s.Cause != incident.Unknown:
				t.Errorf("incident %d, %s: it is told as %s: %s", i, name, s.Cause, s.Sentence)
				r.keep(t, s.ID)
			}
		}
		t.Logf("incident %d, %s: %s", i, name, is)
		if is != incident.Unknown {
			right++
			row.right++
		} else {
			row.unknown++
			for _, s := range stories {
				t.Logf("incident %d: %s %s", i, s.ID, s.Sentence)
				r.keep(t, s.ID)
			}
		}
		upTo(6 * time.Second)
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		t.Logf("| %s | %d | %d | %d | %d |", name, table[name].alone, table[name].beside, table[name].right, table[name].unknown)
	}
	t.Logf("%d of %d causes are right", right, all)
	if right < least {
		t.Errorf("%d of %d causes are right, want at least %d", right, all, least)
	}
}

// isDown waits for an incident that is not known yet.
func (r *running) isDown(t *testing.T, known map[string]bool) {
	t.Helper()
	pgtest.Eventually(t, 30*time.Second, func() error {
		list, err := r.incidents(t)
		if err == nil && !slices.ContainsFunc(list, func(is incident.Summary) bool { return !known[is.ID] }) {
			err = errors.New("no incident has begun")
		}
		return err
	})
}

func (r *running) incidents(t *testing.T) ([]incident.Summary, error) {
	t.Helper()
	code, text, err := r.get(t, "/api/incidents")
	if err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("/api/incidents: %d, %w", code, err)
	}
	var answer struct{ Incidents []incident.Summary }
	err = json.Unmarshal([]byte(text), &answer)
	return answer.Incidents, err
}

// keep writes a window where a person may look at it.
func (r *running) keep(t *testing.T, id string) {
	t.Helper()
	dir := os.Getenv("RANDOM_INCIDENTS_DIR")
	if dir == "" {
		return
	}
	_, text, err := r.get(t, "/api/incidents/"+id)
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, id+".json"), []byte(text), 0o600)); err != nil {
		t.Log(err)
	}
}

// settled are the incidents that are not known yet, once they have ended and what the server's log said of them is read.
func (r *running) settled(t *testing.T, known map[string]bool) (stories []incident.Summary) {
	t.Helper()
	var since time.Time
	said := ""
	pgtest.Eventually(t, 60*time.Second, func() error {
		list, err := r.incidents(t)
		if err = errors.Join(err, r.health(t, "ok")); err != nil {
			return err
		}
		stories = stories[:0]
		var now strings.Builder
		for _, is := range list {
			if known[is.ID] {
				continue
			}
			if is.End.IsZero() {
				return errors.New("it goes on")
			}
			stories = append(stories, is)
			fmt.Fprintln(&now, is.ID, is.Cause)
		}
		if len(stories) == 0 {
			return errors.New("there is no incident")
		}
		if now.String() != said {
			said, since = now.String(), time.Now()
		}
		if time.Since(since) < 3*time.Second { // lines come for a while
			return errors.New("it is new")
		}
		return nil
	})
	return stories
}
