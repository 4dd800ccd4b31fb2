package dashboards_test

// emptyByDesign are queries without data in the proof's minute, each with its reason. One that has data after all, or
// that no board has any more, fails the test: take it off the list.
var emptyByDesign = []struct {
	board, panel, ref string // the board's uid, the panel's title, the query's letter
	reason            string
}{
	{"pgr-backups", "Time since WAL was archived", "B", "only pgBackRest says how far archived WAL reaches, and this repository is of pg_dump"},
}
