package sessions

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
)

// Tree is who blocked whom at a moment.
type Tree struct {
	At time.Time `json:"at"`
	// Nodes are the sessions that wait for a lock, or are waited for. One that is waited for comes before those that wait for it; who
	// waits for nobody has depth 0.
	Nodes []Node `json:"nodes"`
}

// Node is a session of a Tree.
type Node struct {
	// PID is 0 for prepared transactions, which have no process.
	PID         int    `json:"pid"`
	Depth       int    `json:"depth"`
	User        string `json:"user,omitempty"`
	Application string `json:"application,omitempty"`
	// Backend is its kind where that is no client's.
	Backend string `json:"backend,omitempty"`
	State   string `json:"state,omitempty"`
	// Wait is what it waits for, such as Lock:relation.
	Wait string `json:"wait,omitempty"`
	// TransactionSeconds is how old its transaction is, StateSeconds how long it has been in its state.
	TransactionSeconds float64 `json:"transaction_seconds"`
	StateSeconds       float64 `json:"state_seconds"`
	// Blocks is how many sessions wait for it, also those that wait for one that does.
	Blocks int `json:"blocks"`
	// BlockedBy are the processes that it waits for.
	BlockedBy []int `json:"blocked_by,omitempty"`
	// Statement is as --web.show-statements says.
	Statement string `json:"statement,omitempty"`
	// Remedy is the statement that ends it, of a session that others wait for and that waits for nobody.
	Remedy string `json:"remedy,omitempty"`

	user string // the role's number
	// login: it is no session yet. ours: it is of the exporter's own role.
	login, ours bool
	// logins and oursBehind are how many of these wait for it.
	logins, oursBehind int
}

const (
	maxNodes     = 200
	maxBlockers  = 100 // of one session
	maxUsers     = 10
	maxText      = 64
	maxStatement = 300
	keptBlockers = 3
)

// treeSQL asks who waits for a lock and for whom, of 13 to 19. It reads shared memory alone, and no name of a role: for that a session
// may have to read pg_authid, which may be what is locked. Waiters are those of the lock manager: a login that waits is no session yet
// before PostgreSQL 18, and then pg_stat_activity does not have it.
const treeSQL = `WITH a AS MATERIALIZED (
    SELECT a.pid, a.usesysid, pg_catalog.left(a.application_name, 64) AS application, a.backend_type, a.state, a.wait_event_type,
           a.wait_event, a.xact_start, a.state_change, a.query
      FROM pg_catalog.pg_stat_get_activity(NULL) AS a
), w AS MATERIALIZED (
    SELECT l.pid, l.locktype, pg_catalog.pg_blocking_pids(l.pid) AS blockers
      FROM (SELECT l.pid, min(l.locktype) AS locktype FROM pg_catalog.pg_lock_status() AS l
              LEFT JOIN a ON a.pid = l.pid
             WHERE NOT l.granted AND l.pid IS NOT NULL GROUP BY l.pid ORDER BY min(a.state_change) NULLS FIRST LIMIT 100) AS l
), p AS (
    SELECT w.pid FROM w UNION SELECT pg_catalog.unnest(w.blockers) FROM w
)
SELECT p.pid, a.usesysid, a.application, a.backend_type, a.state,
       coalesce(a.wait_event_type, CASE WHEN w.pid IS NOT NULL THEN 'Lock' END), coalesce(a.wait_event, w.locktype),
       extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.float8,
       extract(epoch FROM pg_catalog.clock_timestamp() - a.state_change)::pg_catalog.float8,
       pg_catalog.left(a.query, 1000),
       pg_catalog.array_to_string(w.blockers, ','),
       (a.usesysid = (SELECT me.usesysid FROM a AS me WHERE me.pid = pg_catalog.pg_backend_pid()))::pg_catalog.int4
  FROM p LEFT JOIN a ON a.pid = p.pid LEFT JOIN w ON w.pid = p.pid
 WHERE a.pid IS NOT NULL OR w.pid IS NOT NULL
 LIMIT 200`

// usersSQL asks whose the connections are.
const usersSQL = `SELECT a.usesysid, count(*) FROM pg_catalog.pg_stat_get_activity(NULL) AS a
 WHERE a.backend_type = 'client backend' AND a.usesysid IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 10`

// namesSQL asks for the names of roles.
func namesSQL(numbers []string) string {
	return "SELECT n, pg_catalog.pg_get_userbyid(n::pg_catalog.oid) FROM pg_catalog.unnest('{" + strings.Join(numbers, ",") +
		"}'::pg_catalog.int8[]) AS n"
}

const treeColumns = 12

// parseTree reads the answer to treeSQL.
func parseTree(at time.Time, rows [][]*string, show sqltext.Show) (Tree, error) {
	t := Tree{At: at.UTC(), Nodes: []Node{}}
	if len(rows) > maxNodes {
		return t, fmt.Errorf("%d sessions wait or are waited for, more than the %d that were asked for", len(rows), maxNodes)
	}
	seen := map[int]bool{}
	prepared := false
	for _, row := range rows {
		if len(row) != treeColumns {
			return t, fmt.Errorf("a row of the blocking tree has %d columns, not %d", len(row), treeColumns)
		}
		pid, err := number(row[0], 1<<31-1)
		age, err1 := number(row[7], maxAge)
		state, err2 := number(row[8], maxAge)
		ours, err3 := number(row[11], 1)
		if err := cmp.Or(err, err1, err2, err3); err != nil {
			return t, fmt.Errorf("read the blocking tree: %w", err)
		}
		n := Node{
			PID: int(pid), user: text(row[1]), Application: sqltext.Plain(text(row[2]), maxText), TransactionSeconds: age, StateSeconds: state,
			Statement: show.Statement(text(row[9]), maxStatement),
		}
		if kind := text(row[3]); kind != "client backend" {
			n.Backend = sqltext.Plain(kind, maxText)
		}
		k := keyOf(text(row[4]), text(row[5]), text(row[6]))
		if n.State = k.state; n.Backend != "" && text(row[4]) == "" {
			n.State = ""
		}
		n.login, n.ours = n.State == starting, ours > 0
		if k.event != none {
			n.Wait = k.kind + ":" + k.event
		}
		if n.BlockedBy, err = pids(text(row[10])); err != nil {
			return t, err
		}
		if n.PID == 0 || seen[n.PID] {
			continue
		}
		seen[n.PID] = true
		prepared = prepared || slices.Contains(n.BlockedBy, 0)
		t.Nodes = append(t.Nodes, n)
	}
	if prepared {
		t.Nodes = append(t.Nodes, Node{State: "prepared transaction"})
	}
	t.arrange()
	return t, nil
}

func pids(list string) (out []int, err error) {
	if list == "" {
		return nil, nil
	}
	for _, word := range strings.Split(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("read the blocking tree: %.20q is no process", word)
		}
		if !slices.Contains(out, n) && len(out) < maxBlockers {
			out = append(out, n)
		}
	}
	return out, nil
}

// arrange makes a tree of what is a graph: each session once, below the one that is nearest to the root of its trouble. Where all wait
// for each other, which the server ends as a deadlock, the first is the root.
func (t *Tree) arrange() {
	index := map[int]int{}
	for i, n := range t.Nodes {
		index[n.PID] = i
	}
	waiters := make([][]int, len(t.Nodes)) // who waits for a node
	for i, n := range t.Nodes {
		for _, pid := range n.BlockedBy {
			if j, ok := index[pid]; ok && j != i {
				waiters[j] = append(waiters[j], i)
			}
		}
	}
	for i := range t.Nodes {
		behind := reached(i, waiters)
		t.Nodes[i].Blocks = len(behind) - 1
		for j := range behind {
			if j != i && t.Nodes[j].login {
				t.Nodes[i].logins++
			}
			if j != i && t.Nodes[j].ours {
				t.Nodes[i].oursBehind++
			}
		}
	}
	order := make([]int, len(t.Nodes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(t.Nodes[b].Blocks, t.Nodes[a].Blocks) })
	placed := make([]bool, len(t.Nodes))
	var out []Node
	place := func(root int) { // its nearest first, so that depths are the least; then each below its own
		depth, below := map[int]int{root: 0}, map[int][]int{}
		placed[root] = true
		for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
			for _, w := range waiters[queue[0]] {
				if !placed[w] {
					placed[w], depth[w] = true, depth[queue[0]]+1
					below[queue[0]] = append(below[queue[0]], w)
					queue = append(queue, w)
				}
			}
		}
		for stack := []int{root}; len(stack) > 0; {
			i := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			n := t.Nodes[i]
			n.Depth = depth[i]
			out = append(out, n)
			slices.Reverse(below[i])
			stack = append(stack, below[i]...)
		}
	}
	for _, i := range order {
		if len(t.Nodes[i].BlockedBy) == 0 && !placed[i] {
			place(i)
		}
	}
	for _, i := range order {
		if !placed[i] {
			place(i)
		}
	}
	for i := range out {
		if out[i].Depth == 0 && out[i].Blocks > 0 {
			out[i].Remedy = remedy(out[i].PID)
		}
	}
	t.Nodes = append([]Node{}, out...)
}

// reached are all that wait for a node, directly or not, and itself.
func reached(from int, waiters [][]int) map[int]bool {
	seen := map[int]bool{from: true}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		for _, w := range waiters[queue[0]] {
			if !seen[w] {
				seen[w] = true
				queue = append(queue, w)
			}
		}
	}
	return seen
}

func remedy(pid int) string {
	if pid == 0 {
		return "SELECT 'ROLLBACK PREPARED ' || quote_literal(gid), prepared FROM pg_prepared_xacts ORDER BY prepared"
	}
	return fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid)
}

// Waiting is how many of them wait for a lock.
func (t *Tree) Waiting() (n int) {
	for i := range t.Nodes {
		if len(t.Nodes[i].BlockedBy) > 0 {
			n++
		}
	}
	return n
}

// blockers are the roots with the longest queues.
func (t *Tree) blockers() (out []Blocker) {
	for _, n := range t.Nodes {
		if n.Depth == 0 && n.Blocks > 0 && len(out) < keptBlockers {
			out = append(out, Blocker{PID: n.PID, User: n.User, Application: n.Application, State: cmp.Or(n.State, n.Backend),
				Seconds: cmp.Or(n.TransactionSeconds, n.StateSeconds), Wait: n.Wait, Blocks: n.Blocks, Logins: n.logins, Ours: n.oursBehind,
				Statement: n.Statement})
		}
	}
	return out
}
