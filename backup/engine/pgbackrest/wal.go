package pgbackrest

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// How far archived WAL can recover is found out without trusting a clock or a file's time: now and
// then the server's WAL position is noted with the server's time (a mark). Everything committed until
// then lies before that position; so once the segment that holds it is in the archive, without a gap
// since the newest backup, the state of that time can be recovered. On an idle server no segment is
// ever completed, and nothing would be lost either: a mark under whose snapshot nothing has been
// committed since is as good as a mark of now.

const (
	// maxMarks bounds what the state keeps while the archive is stuck; older ones are thinned out.
	maxMarks = 120
	// maxDirectories bounds what one observation lists: 256 segments each. The rest follows next time.
	maxDirectories = 64
	// pageHeader is the most that stands at a segment's start before its first record.
	pageHeader = 40
	// maxSnapshot is the longest snapshot worth keeping, in bytes.
	maxSnapshot = 200
)

// Observe implements engine.Archiver.
func (e *Engine) Observe(ctx context.Context, t server.Target, repo *catalog.Repository) error {
	mark, segmentBytes, err := readMark(ctx, t)
	if err != nil {
		return err
	}
	i, err := e.info(ctx, "")
	if err != nil {
		return err
	}
	before, err := repo.State()
	if err != nil {
		return err
	}
	var was catalog.WAL
	if before.WAL != nil && before.WAL.Engine == Name {
		was = *before.WAL
	}
	reached, err := e.reached(ctx, i, was)
	if err != nil {
		return err
	}
	now := e.now().UTC()
	return repo.UpdateState(ctx, func(s *catalog.State) {
		w := Advance(was, reached, mark, segmentBytes)
		w.Engine, w.At = Name, now
		s.WAL = &w
	})
}

// readMark notes the server's position. A standby's is what it has replayed; its time is that of
// the last transaction replayed.
func readMark(ctx context.Context, t server.Target) (catalog.WALMark, uint64, error) {
	conn, err := t.Connect(ctx, "")
	if err != nil {
		return catalog.WALMark{}, 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var m catalog.WALMark
	var at *time.Time
	var size int64
	// The statement's snapshot and time are taken before the position is read: what they cover lies before it.
	err = conn.QueryRow(ctx, `
		SELECT CASE WHEN r THEN pg_catalog.pg_last_xact_replay_timestamp() ELSE pg_catalog.statement_timestamp() END,
		       coalesce(CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn()
		                     ELSE pg_catalog.pg_current_wal_insert_lsn() END::text, ''),
		       CASE WHEN r THEN '' ELSE pg_catalog.pg_current_snapshot()::text END,
		       (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size')
		  FROM pg_catalog.pg_is_in_recovery() AS r`).Scan(&at, &m.LSN, &m.Snapshot, &size)
	if err != nil {
		return m, 0, fmt.Errorf("ask the server for its WAL position: %w", err)
	}
	if at != nil {
		m.At = at.UTC()
	}
	if len(m.Snapshot) > maxSnapshot {
		m.Snapshot = ""
	}
	return m, uint64(size), nil
}

// Advance folds one observation into what was known: reached is the last archived segment without a
// gap since the newest backup ("" when there is none), mark the server's position. It reads no clock.
func Advance(was catalog.WAL, reached string, mark catalog.WALMark, segmentBytes uint64) catalog.WAL {
	w := catalog.WAL{ArchivedTo: was.ArchivedTo, Segment: reached, Marks: slices.Clone(was.Marks)}
	if n := len(w.Marks); !mark.At.IsZero() {
		switch {
		case n > 0 && w.Marks[n-1].Snapshot != "" && w.Marks[n-1].Snapshot == mark.Snapshot:
			w.Marks[n-1].At = later(w.Marks[n-1].At, mark.At) // nothing was committed since
		case n == 0 || mark.At.After(w.Marks[n-1].At):
			w.Marks = append(w.Marks, mark)
		}
	}
	last, ok := segmentNumber(reached, segmentBytes)
	if !ok {
		w.Marks = thin(w.Marks)
		return w
	}
	for i := len(w.Marks) - 1; i >= 0; i-- {
		if needed, ok := segmentOf(w.Marks[i].LSN, segmentBytes); ok && needed <= last {
			w.ArchivedTo = later(w.ArchivedTo, w.Marks[i].At)
			w.Marks = w.Marks[i:] // it stays, to be compared with the next one
			break
		}
	}
	w.Marks = thin(w.Marks)
	return w
}

// thin leaves out every second mark of too many, but for the first and the newest.
func thin(marks []catalog.WALMark) []catalog.WALMark {
	if len(marks) <= maxMarks {
		return marks
	}
	var kept []catalog.WALMark
	for i, m := range marks {
		if i%2 == 0 || i > maxMarks-maxMarks/4 {
			kept = append(kept, m)
		}
	}
	return kept
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// segmentOf is the number of the segment that must be archived for all before the position to be.
func segmentOf(lsn string, segmentBytes uint64) (uint64, bool) {
	high, low, ok := strings.Cut(lsn, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil || segmentBytes == 0 {
		return 0, false
	}
	at := h<<32 | l
	n := at / segmentBytes
	if at%segmentBytes <= pageHeader && n > 0 {
		n--
	}
	return n, true
}

var segmentPattern = regexp.MustCompile(`^[0-9A-F]{24}$`)

// segmentNumber reads a WAL file's name: its number, whatever the timeline.
func segmentNumber(name string, segmentBytes uint64) (uint64, bool) {
	if !segmentPattern.MatchString(name) || segmentBytes == 0 {
		return 0, false
	}
	high, err1 := strconv.ParseUint(name[8:16], 16, 32)
	low, err2 := strconv.ParseUint(name[16:], 16, 32)
	return high*((1<<32)/segmentBytes) + low, err1 == nil && err2 == nil
}

// reached is the last segment in the archive up to which there is no gap, from the end of the newest
// backup, or from where the last observation ended.
func (e *Engine) reached(ctx context.Context, i Info, was catalog.WAL) (string, error) {
	if len(i.Backups) == 0 {
		return "", nil
	}
	newest := i.Backups[len(i.Backups)-1]
	from := newest.Archive.Stop
	a, ok := i.archive(newest.DB.ID)
	if !ok || a.Max == "" || !segmentPattern.MatchString(from) {
		return "", nil
	}
	if segmentPattern.MatchString(was.Segment) && was.Segment[8:] > from[8:] && was.Segment <= a.Max {
		from = was.Segment
	}
	if a.Max == from {
		return from, nil
	}
	names, err := e.segments(ctx, a.ID, from)
	if err != nil {
		return "", err
	}
	return contiguous(from, names), nil
}

// segments lists the archive from a segment on.
func (e *Engine) segments(ctx context.Context, archive, from string) (map[string]bool, error) {
	root := "archive/" + e.Stanza + "/" + archive
	directories, err := e.list(ctx, root)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	listed := 0
	for _, d := range directories {
		if len(d) != 16 || d[8:] < from[8:16] || d[:8] < from[:8] {
			continue
		}
		if listed++; listed > maxDirectories {
			break
		}
		files, err := e.list(ctx, root+"/"+d)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if name, _, ok := strings.Cut(f, "-"); ok && segmentPattern.MatchString(name) {
				names[name] = true
			}
		}
	}
	return names, nil
}

// list lists a path of pgBackRest's repository, sorted.
func (e *Engine) list(ctx context.Context, path string) ([]string, error) {
	text, err := e.run(ctx, "repo-ls", "--output=json", path)
	if err != nil {
		return nil, err
	}
	entries := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, failure.New(failure.Repository, "list %s of pgBackRest's repository: %w", path, err)
	}
	var names []string
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// contiguous walks from a segment on as long as the next one is there, over to a newer timeline
// where there is one: a promoted server archives the segment it switched in once more.
func contiguous(from string, names map[string]bool) string {
	byPosition := map[string][]string{} // timelines, by what follows them in a name
	for n := range names {
		byPosition[n[8:]] = append(byPosition[n[8:]], n[:8])
	}
	timeline, position := from[:8], from[8:]
	newest := func(position string) string { return slices.Max(append([]string{timeline}, byPosition[position]...)) }
	timeline = newest(position)
	for {
		next, ok := successor(position, byPosition)
		if !ok || !slices.ContainsFunc(byPosition[next], func(t string) bool { return t >= timeline }) {
			return timeline + position
		}
		position = next
		timeline = newest(position)
	}
}

// successor is the position after another. The last 8 digits count up to 0xFF with the usual
// segment size of 16 MB, less far with larger segments, further with smaller ones: the next high
// half follows where the archive goes on there.
func successor(position string, there map[string][]string) (string, bool) {
	high, err1 := strconv.ParseUint(position[:8], 16, 32)
	low, err2 := strconv.ParseUint(position[8:], 16, 32)
	if err1 != nil || err2 != nil {
		return "", false
	}
	next := fmt.Sprintf("%08X%08X", high, low+1)
	if len(there[next]) > 0 {
		return next, true
	}
	if low+1 < 4 || (low+1)&low != 0 { // a number of segments is a power of two, at least 4
		return "", false
	}
	next = fmt.Sprintf("%08X%08X", high+1, 0)
	return next, len(there[next]) > 0
}
