package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
)

// waiting is a line of treeSQL's answer.
func waiting(pid, by string) []*string {
	return row(pid, "10", "app", "client backend", "active", "Lock", "relation", "5", "4", "SELECT 'secret'", by, "0")
}

// shape is the tree in short: process, depth, and how many it blocks.
func (t *Tree) shape() string {
	var out []string
	for _, n := range t.Nodes {
		out = append(out, fmt.Sprintf("%d/%d/%d", n.PID, n.Depth, n.Blocks))
	}
	return strings.Join(out, " ")
}

func TestWhoBlocksWhomIsATreeWhateverAServerSays(t *testing.T) {
	for name, tc := range map[string]struct {
		rows [][]*string
		want string
	}{
		"nobody": {nil, ""},
		"a queue behind a queue": {[][]*string{waiting("3", "2"), waiting("2", "1"), waiting("1", "NULL"), waiting("4", "2,3")},
			"1/0/3 2/1/2 3/2/1 4/2/0"},
		"two roots": {[][]*string{waiting("1", "NULL"), waiting("5", "NULL"), waiting("6", "5"), waiting("7", "5"),
			waiting("2", "1")}, "5/0/2 6/1/0 7/1/0 1/0/1 2/1/0"},
		"a deadlock":                   {[][]*string{waiting("1", "2"), waiting("2", "1")}, "1/0/1 2/1/1"},
		"a prepared transaction":       {[][]*string{waiting("2", "0")}, "0/0/1 2/1/0"},
		"itself, and who is not there": {[][]*string{waiting("2", "2,99"), waiting("2", "1")}, "2/0/0"},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := parseTree(time.Now(), tc.rows, sqltext.Masked)
			if err != nil || tree.shape() != tc.want {
				t.Errorf("%q, %v, want %q", tree.shape(), err, tc.want)
			}
		})
	}
	for _, bad := range [][][]*string{{waiting("x", "1")}, {waiting("1", "1,x")}, {waiting("1", "-5")}, {row("1")},
		make([][]*string, maxNodes+1)} {
		if _, err := parseTree(time.Now(), bad, sqltext.Masked); err == nil {
			t.Errorf("taken: %d rows", len(bad))
		}
	}
	var all [][]*string // as large as it gets, all of all
	for i := range maxNodes {
		all = append(all, waiting(fmt.Sprint(i+1), strings.TrimPrefix(strings.Repeat(",1", 500)+fmt.Sprint(",", (i*7)%200+1), ",")))
	}
	began := time.Now()
	if tree, err := parseTree(began, all, sqltext.Full); err != nil || len(tree.Nodes) != maxNodes ||
		time.Since(began) > pgtest.Patience(time.Second) {
		t.Errorf("%d nodes after %s, %v", len(tree.Nodes), time.Since(began), err)
	}
}

// asks over a session of its own.
func asks(t *testing.T, dsn string) Query {
	t.Helper()
	c, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn, Settings: postgres.Settings{LockTimeout: 250 * time.Millisecond}})
	must(t, err)
	s, err := c.Connect(t.Context())
	must(t, err)
	t.Cleanup(s.Close)
	return func(ctx context.Context, sql string) ([][]*string, time.Duration, error) {
		began := time.Now()
		rows, err := s.Query(ctx, sql)
		return rows, time.Since(began), err
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, c *pgtest.Cluster) *pgx.Conn {
	t.Helper()
	conn, err := c.Connect(t.Context(), "postgres")
	must(t, err)
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// The root of a queue is named with its user, its state and its statement, also where the table of roles is what is locked.
func TestTheRootOfAQueueIsNamed(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS queue (id int)"))
		query := asks(t, c.MonitorDSN())
		for _, sql := range []string{treeSQL, usersSQL} { // as the first sample has it
			_, _, err := query(t.Context(), sql)
			must(t, err)
		}
		holder, first := connect(t, c), connect(t, c)
		_, err := holder.Exec(t.Context(), "BEGIN")
		must(t, err)
		_, err = holder.Exec(t.Context(), "LOCK TABLE queue, pg_authid /* secret */")
		must(t, err)
		waits, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = first.Exec(waits, "INSERT INTO queue SELECT length('secret')") }()
		login := make(chan struct{})
		go func() { // a login is no session yet before 18, and waits all the same
			defer close(login)
			if conn, err := pgx.Connect(waits, c.MonitorDSN()); err == nil {
				conn.Close(waits)
			}
		}()
		t.Cleanup(func() { stop(); <-ended; <-login })

		var told []Sample
		w := NewWatcher(NewSampler(), query, sqltext.Masked, log.NewNopLogger(), func(s Sample) { told = append(told, s) })
		pgtest.Eventually(t, 15*time.Second, func() error {
			s, err := w.look(t.Context(), Sample{Blocked: 1, Used: 90, Max: 100})
			tree := w.Tree()
			switch {
			case err != nil:
				return err
			case tree == nil || len(tree.Nodes) != 3 || tree.Nodes[0].PID != int(holder.PgConn().PID()) || tree.Nodes[0].Blocks != 2:
				return fmt.Errorf("the tree is %+v", tree)
			case len(s.Blockers) != 1 || s.Blockers[0].PID != tree.Nodes[0].PID || s.Blockers[0].Logins != 1 || len(s.ByUser) == 0:
				return fmt.Errorf("the sample is %+v", s)
			}
			return nil
		})
		root, waiter := w.Tree().Nodes[0], w.Tree().Nodes[1]
		if waiter.login {
			waiter = w.Tree().Nodes[2]
		}
		if root.State != "idle in transaction" || !strings.Contains(root.User, "role 10") && root.User == "" || root.TransactionSeconds <= 0 ||
			root.Statement != "LOCK TABLE queue, pg_authid" || root.Remedy != fmt.Sprintf("SELECT pg_terminate_backend(%d)", root.PID) {
			t.Errorf("the root is %+v", root)
		}
		if waiter.Wait != "Lock:relation" || waiter.Statement != "INSERT INTO queue SELECT length('?')" || waiter.Remedy != "" ||
			waiter.Depth != 1 {
			t.Errorf("who waits is %+v", waiter)
		}
		w.LoginHangs(true) // reason enough, though no sample has it
		if s, err := w.look(t.Context(), Sample{}); err != nil || len(s.Blockers) != 1 || s.Blocked != 2 {
			t.Errorf("a login that hangs: %+v, %v", s, err)
		}
		w.LoginHangs(false)
		if s, err := w.look(t.Context(), Sample{Used: 1, Max: 100}); err != nil || s.Blockers != nil || s.ByUser != nil {
			t.Errorf("without a reason it looked: %+v, %v", s, err)
		}
	})
}

// TestNewSessionsPractise: whoever will be asked while roles are locked has asked before, also after the server, or the network, was away.
func TestNewSessionsPractise(t *testing.T) {
	now := time.Now()
	var asked []string
	var fails error
	w := NewWatcher(NewSampler(), func(_ context.Context, sql string) ([][]*string, time.Duration, error) {
		asked = append(asked, sql)
		return nil, 0, fails
	}, sqltext.Masked, log.NewNopLogger(), func(Sample) {})
	w.now = func() time.Time { return now }
	for _, step := range []struct {
		name  string
		do    func()
		tree  int
		users int
	}{
		{"the first sample", func() {}, 1, 1},
		{"a moment later", func() { now = now.Add(time.Second) }, 0, 0},
		{"the server was restarted", w.Anew, 1, 1},
		{"a minute later", func() { now = now.Add(learnEvery) }, 0, 1},
		{"the network is gone", func() { w.Anew(); fails = errors.New("no connection") }, 1, 1},
		{"a moment later", func() { now = now.Add(time.Second) }, 0, 0},
		{"it is back", func() { now, fails = now.Add(learnAgain), nil }, 1, 1},
	} {
		asked = nil
		step.do()
		if w.toLearn() {
			w.learn(t.Context())
		}
		tree := len(slices.DeleteFunc(slices.Clone(asked), func(sql string) bool { return sql != treeSQL }))
		if tree != step.tree || len(asked)-tree != step.users {
			t.Errorf("%s: asked are %q", step.name, asked)
		}
	}
}

func TestTheCloserLookIsRareAndEndsWithItsReason(t *testing.T) {
	asked := make(chan string, 100)
	broken := errors.New("no connection")
	w := NewWatcher(NewSampler(), func(_ context.Context, sql string) ([][]*string, time.Duration, error) {
		asked <- sql
		return nil, 0, broken
	},
		sqltext.Masked, log.NewNopLogger(), func(Sample) {})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	w.practised.Store(true)
	w.learned.Store(time.Now().UnixNano())
	w.sample(Sample{Used: 10, Max: 100})
	for range 50 {
		w.sample(Sample{Blocked: 1})
	}
	if sql := <-asked; sql != treeSQL {
		t.Errorf("asked is %s", sql)
	}
	stop()
	<-ended
	if n := len(asked); n > 0 {
		t.Errorf("%d further looks at once", n)
	}
	w.tree.Store(&Tree{At: time.Now()})
	if w.sample(Sample{}); w.Tree() != nil {
		t.Error("a tree is shown while nobody waits")
	}
	w.tree.Store(&Tree{At: time.Now().Add(-treeFresh - time.Second)})
	if w.Tree() != nil {
		t.Error("an old tree is shown")
	}
}
