package job

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

const (
	// notableRows make a table worth a word when it is empty or gone.
	notableRows = 100
	// remembered is how many earlier backups say what is usual for a table.
	remembered = 7
	// swing is how many times the rows of a queue are more on one night than on another: a table that did so is no news when empty.
	swing = 10
	// unknown is the number of rows of a table that was not counted.
	unknown = -1
	// namesShown bounds the names in a message.
	namesShown = 10
)

// Suspicion compares a backup with those before it, of its own kind, newest first. None of them is a suspect itself, so that a
// second run after a collapse does not make the collapse look normal. It is nil when nothing is strange, and
// always when below is 0.
func Suspicion(m catalog.Manifest, before []catalog.Manifest, below float64) *catalog.Suspect {
	if len(before) == 0 || below <= 0 {
		return nil
	}
	p := before[0]
	s := &catalog.Suspect{Against: p.ID}
	var said []string
	rows, size := weight(m, p)
	rowsBefore, sizeBefore := weight(p, m)
	switch {
	case float64(rows) < below*float64(rowsBefore):
		s.Reason = "rows"
		said = append(said, fmt.Sprintf("%d rows, the backup before had %d", rows, rowsBefore))
	case float64(size) < below*float64(sizeBefore):
		s.Reason = "size"
		said = append(said, fmt.Sprintf("%d bytes, the backup before had %d", size, sizeBefore))
	}
	s.Databases = vanishedDatabases(m, p)
	said = append(said, list("vanished database", s.Databases)...)
	said = append(said, list("vanished or emptied table", vanishedTables(m, before[:min(len(before), remembered)]))...)
	if len(said) == 0 {
		return nil
	}
	if s.Reason == "" {
		s.Reason = "vanished"
	}
	s.Message = strings.Join(said, "; ")
	return s
}

// weight is what two backups are compared by: the databases that neither is known to lack. An incremental backup is small by
// design: there the size of the databases counts.
func weight(m, other catalog.Manifest) (rows, bytes int64) {
	for _, d := range m.Databases {
		switch {
		case comesAndGoes(d.Name), other.Lacks(d.Name):
		case m.External != nil:
			rows, bytes = rows+d.Contents.Rows(), bytes+d.ServerBytes
		default:
			rows, bytes = rows+d.Contents.Rows(), bytes+d.Bytes
		}
	}
	return rows, bytes
}

// comesAndGoes says that a database may be in one backup and not in the next: one that a restore set aside, and template1, which is
// dumped while it is not as it was made.
func comesAndGoes(database string) bool { return database == "template1" || catalog.SetAside(database) }

// vanishedDatabases are those the backup before has and this one lacks, without a reason of its own: one that could not be dumped
// tonight, or that somebody excluded, did not vanish.
func vanishedDatabases(m, before catalog.Manifest) []string {
	var gone []string
	for _, d := range before.Databases {
		if _, here := m.Database(d.Name); !here && !comesAndGoes(d.Name) && !m.Lacks(d.Name) {
			gone = append(gone, d.Name)
		}
	}
	slices.Sort(gone)
	return gone
}

// vanishedTables are those that had rows worth a word and are empty now, or gone. What production does every night is no
// suspicion: a partition that rotates out, a table that is not logged, one that was empty or absent in any of the
// earlier backups since it first appeared, or had ten times the rows in one than in another, as queues do, and one that appeared
// only in the last of several.
func vanishedTables(m catalog.Manifest, before []catalog.Manifest) []string {
	if !m.Counted() || before[0].Format < 2 { // rows, or what a partition is, are not known
		return nil
	}
	var gone []string
	for _, d := range before[0].Databases {
		now, here := m.Database(d.Name)
		if !here || catalog.SetAside(d.Name) {
			continue // named already
		}
		rows := map[[2]string]int64{}
		for _, t := range now.Contents.Tables {
			rows[[2]string{t.Schema, t.Name}] = t.Rows
			if t.Uncounted {
				rows[[2]string{t.Schema, t.Name}] = 1 // it is there
			}
		}
		history := tableHistory(before[1:], d.Name)
		for _, t := range d.Contents.Tables {
			key := [2]string{t.Schema, t.Name}
			if t.Rows < notableRows || t.Passing || rows[key] > 0 || !steady(history, key, t.Rows) {
				continue
			}
			what := "empty"
			if _, exists := rows[key]; !exists {
				what = "gone"
			}
			gone = append(gone, fmt.Sprintf("%s.%s.%s (%s, it had %d rows)", d.Name, t.Schema, t.Name, what, t.Rows))
		}
	}
	return gone
}

// tableHistory is the rows of a database's tables in earlier backups, newest first.
func tableHistory(before []catalog.Manifest, database string) []map[[2]string]int64 {
	var all []map[[2]string]int64
	for _, m := range before {
		d, ok := m.Database(database)
		if !ok {
			break
		}
		rows := map[[2]string]int64{}
		for _, t := range d.Contents.Tables {
			if t.Uncounted {
				t.Rows = unknown
			}
			rows[[2]string{t.Schema, t.Name}] = t.Rows
		}
		all = append(all, rows)
	}
	return all
}

// steady says whether a table always had rows, and about as many as last, since it first appeared, and was there for longer than one
// of several backups.
func steady(history []map[[2]string]int64, table [2]string, last int64) bool {
	absent := false
	for i, rows := range history {
		n, there := rows[table]
		switch {
		case !there && i == 0:
			return false // it appeared only in the last
		case !there:
			absent = true
		case n == unknown:
		case absent || n < last/swing || last < n/swing:
			return false // it comes and goes
		}
	}
	return true
}

// list names things in a message.
func list(what string, names []string) []string {
	if len(names) == 0 {
		return nil
	}
	if len(names) > 1 {
		what += "s"
	}
	if n := len(names) - namesShown; n > 0 {
		names = append(slices.Clone(names[:namesShown]), fmt.Sprintf("and %d more", n))
	}
	return []string{what + " " + strings.Join(names, ", ")}
}
