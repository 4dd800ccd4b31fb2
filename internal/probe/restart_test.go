package probe

import (
	"slices"
	"testing"
	"time"
)

func at(second int) time.Time { return time.Unix(1_700_000_000+int64(second), 123_456_000).UTC() }

// primary1 is a server as it answers with pg_monitor.
func primary1() Server {
	return Server{
		Role: Primary, Version: 150018, StartTime: at(-1000), CheckpointerStart: at(-999), SystemIdentifier: "71",
		Timeline: 1, Address: "10.0.0.1:5432", ReplayLag: UnknownLag,
	}
}

func standby1() Server {
	s := primary1()
	s.Role = Standby
	return s
}

func with(s Server, change func(*Server)) Server {
	change(&s)
	return s
}

func TestRestartKindsFromFacts(t *testing.T) {
	restarted := func(s *Server) { s.StartTime, s.CheckpointerStart = at(5), at(6) }
	moved := func(s *Server) { s.Address = "10.0.0.2:5432" }
	all := func(fs ...func(*Server)) func(*Server) {
		return func(s *Server) {
			for _, f := range fs {
				f(s)
			}
		}
	}
	role := func(r Role) func(*Server) { return func(s *Server) { s.Role = r } }
	timeline := func(n int64) func(*Server) { return func(s *Server) { s.Timeline = n } }
	for name, tc := range map[string]struct {
		was    Server
		change func(*Server)
		want   []RestartKind
	}{
		"nothing changed": {primary1(), func(*Server) {}, nil},
		"first answer":    {Server{}, func(s *Server) { *s = primary1() }, nil},
		"restart":         {primary1(), restarted, []RestartKind{Restart}},
		"restart a microsecond later": {primary1(), func(s *Server) { s.StartTime = s.StartTime.Add(time.Microsecond) },
			[]RestartKind{Restart}},
		"container made anew, other address":   {primary1(), all(restarted, moved), []RestartKind{Restart}},
		"address of a server that moved alone": {primary1(), moved, nil},
		"crash":                                {primary1(), func(s *Server) { s.CheckpointerStart = at(7) }, []RestartKind{Crash}},
		"crash can't be seen":                  {primary1(), func(s *Server) { s.CheckpointerStart = time.Time{} }, nil},
		"role lost pg_monitor, and a restart": {primary1(), func(s *Server) { s.StartTime, s.CheckpointerStart = at(5), time.Time{} },
			[]RestartKind{Restart}},
		"another cluster": {primary1(), all(restarted, func(s *Server) { s.SystemIdentifier = "72" }),
			[]RestartKind{Failover}},
		"another cluster, start unknown": {primary1(), func(s *Server) { *s = Server{SystemIdentifier: "72"} },
			[]RestartKind{Failover}},
		"address led to the promoted standby":      {primary1(), all(restarted, moved, timeline(2)), []RestartKind{Failover}},
		"promoted standby behind the same address": {primary1(), all(restarted, timeline(2)), []RestartKind{Failover}},
		"back to the old primary":                  {with(primary1(), timeline(2)), all(restarted, moved, timeline(1)), []RestartKind{Failover}},
		"timeline unknown":                         {primary1(), all(restarted, timeline(0)), []RestartKind{Restart}},
		"another standby":                          {standby1(), all(restarted, moved), []RestartKind{Failover}},
		"standby restarted":                        {standby1(), restarted, []RestartKind{Restart}},
		"standby restarted on a newer timeline":    {standby1(), all(restarted, timeline(2)), []RestartKind{Restart}},
		"promotion":                                {standby1(), all(role(Primary), timeline(2)), []RestartKind{Promotion}},
		"promotion, address unknown": {standby1(), all(role(Primary), func(s *Server) { s.Address = "" }),
			[]RestartKind{Promotion}},
		"crash and promotion": {standby1(), all(role(Primary), func(s *Server) { s.CheckpointerStart = at(7) }),
			[]RestartKind{Crash, Promotion}},
		"restarted as a primary":                  {standby1(), all(restarted, role(Primary)), []RestartKind{Restart, Promotion}},
		"restarted as a standby":                  {primary1(), all(restarted, role(Standby)), []RestartKind{Restart, Demotion}},
		"address moved from primary to a standby": {primary1(), all(restarted, moved, role(Standby)), []RestartKind{Failover}},
		"nothing but the role is known":           {Server{Role: Standby}, role(Primary), []RestartKind{Promotion}},
		"start unknown, other role and address": {standby1(), all(role(Primary), moved, func(s *Server) { s.StartTime = time.Time{} }),
			[]RestartKind{Failover}},
		"all unknown": {primary1(), func(s *Server) { *s = Server{} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := identityOf(tc.was).changes(identityOf(with(tc.was, tc.change))); !slices.Equal(got, tc.want) {
				t.Errorf("changes = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestWhatIsUnknownForAWhileIsNoChange(t *testing.T) {
	silent := with(primary1(), func(s *Server) { s.CheckpointerStart, s.Address, s.Timeline = time.Time{}, "", 0 })
	crashed := with(primary1(), func(s *Server) { s.CheckpointerStart = at(3) })
	restarted := with(silent, func(s *Server) { s.StartTime = at(4) })
	checkpointerSeen := with(restarted, func(s *Server) { s.CheckpointerStart = at(5) })
	for name, tc := range map[string]struct {
		answers []Server
		want    []RestartKind
	}{
		"a crash is seen after a silent answer":       {[]Server{primary1(), silent, crashed}, []RestartKind{Crash}},
		"the checkpointer of a new start is no crash": {[]Server{primary1(), restarted, checkpointerSeen}, []RestartKind{Restart}},
		"nothing of the old cluster is kept": {
			[]Server{primary1(), {SystemIdentifier: "72"}, with(primary1(), func(s *Server) { s.SystemIdentifier, s.StartTime = "72", at(9) })},
			[]RestartKind{Failover},
		},
		"an answer without any fact between two equal ones": {[]Server{primary1(), {}, primary1()}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var known identity
			var got []RestartKind
			for _, s := range tc.answers {
				got = append(got, known.changes(identityOf(s))...)
				known = known.merge(identityOf(s))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("changes = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestContainerRestarts(t *testing.T) {
	for name, tc := range map[string]struct {
		seen []container
		want uint64
	}{
		"first sight":             {[]container{{"a", 7, at(0), false}}, 0},
		"unchanged":               {[]container{{"a", 7, at(0), false}, {"a", 7, at(0), false}}, 0},
		"restarted by the engine": {[]container{{"a", 7, at(0), false}, {"a", 9, at(4), false}}, 2},
		"seen before its start":   {[]container{{"a", 7, at(0), false}, {"a", 8, at(0), true}, {"a", 8, at(0), true}, {"a", 8, at(4), false}}, 1},
		"one seen, one not":       {[]container{{"a", 7, at(0), false}, {"a", 8, at(0), true}, {"a", 9, at(4), false}}, 2},
		"by hand after that": {[]container{{"a", 7, at(0), false}, {"a", 8, at(0), true}, {"a", 8, at(4), false}, {"a", 8, at(5), false}},
			2},
		"restarted by hand":      {[]container{{"a", 0, at(0), false}, {"a", 0, at(4), false}}, 1},
		"count reset by hand":    {[]container{{"a", 5, at(0), false}, {"a", 0, at(4), false}}, 1},
		"made anew":              {[]container{{"a", 5, at(0), false}, {"b", 1, at(4), false}}, 2},
		"start unknown for once": {[]container{{"a", 0, at(0), false}, {"a", 0, time.Time{}, false}, {"a", 0, at(0), false}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			for _, c := range tc.seen {
				s.observeContainer(c, at(9))
			}
			if got := s.Restarts[Container]; got != tc.want {
				t.Errorf("restarts = %d, want %d", got, tc.want)
			}
		})
	}
}
