package monitor

import (
	"fmt"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// Limits are the alerts' thresholds that the screen marks.
type Limits struct {
	// DiskWarning and DiskCritical are shares of a disk in use, ConnectionsWarning one of the connections.
	DiskWarning, DiskCritical, ConnectionsWarning float64
	// FillsWarning and FillsCritical are times until a disk is full.
	FillsWarning, FillsCritical time.Duration
	// Recovery is how long a restart may take.
	Recovery time.Duration
}

// barWidth is that of a wide screen.
const barWidth = 20

// marked is a bar with a word behind it where a limit is passed.
func (s *Screen) marked(ratio, warn, crit float64) string {
	t, word := plain, ""
	switch {
	case crit > 0 && ratio >= crit:
		t, word = critical, " CRITICAL"
	case warn > 0 && ratio >= warn:
		t, word = warning, " WARNING"
	}
	return s.style.paint(t, fmt.Sprintf("%s %3.0f %%%s", s.style.bar(ratio, min(barWidth, s.width/4)), 100*ratio, word))
}

// resources are connections, disks and replication.
func (s *Screen) resources() []string {
	var lines []string
	if c := s.status.Connections; c != nil && c.Max > 0 {
		parts := []string{s.marked(float64(c.Used)/float64(c.Max), s.limits.ConnectionsWarning, 0), fmt.Sprintf("%d of %d", c.Used, c.Max)}
		if c.Free <= 0 {
			parts = append(parts, s.style.paint(critical, "NONE LEFT"))
		}
		for _, state := range []string{"active", "idle in transaction"} {
			if n := c.ByState[state]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, state))
			}
		}
		lines = append(lines, s.named("Connections", "  ", parts...))
	} else {
		lines = append(lines, s.style.named("Connections", s.style.paint(faint, "unknown")))
	}
	for _, v := range s.status.Volumes {
		lines = append(lines, s.named("Disk "+v.Name, "  ", s.volume(v)...))
	}
	if parts := s.replication(); len(parts) > 0 {
		lines = append(lines, s.named("Replication", ", ", parts...))
	}
	if n := len(s.status.Collectors.Failing); n > 0 {
		var names []string
		for _, c := range s.status.Collectors.Failing {
			names = append(names, c.Name)
		}
		lines = append(lines, s.style.named("Collectors", s.style.paint(warning, fmt.Sprintf("%d fail: %s", n, strings.Join(names, ", ")))))
	}
	return lines
}

func (s *Screen) volume(v status.Volume) []string {
	if !v.OK || v.UsedRatio == nil {
		return []string{s.style.paint(warning, "unknown: "+v.Path+" can't be asked")}
	}
	parts := []string{s.marked(*v.UsedRatio, s.limits.DiskWarning, s.limits.DiskCritical)}
	if v.ReadOnly != nil && *v.ReadOnly {
		parts = append(parts, s.style.paint(critical, "READ-ONLY"))
	}
	if v.AvailableBytes != nil {
		parts = append(parts, "free "+size(*v.AvailableBytes))
	}
	if v.TimeToFullSeconds != nil {
		left := seconds(*v.TimeToFullSeconds)
		t := plain
		switch {
		case left <= s.limits.FillsCritical:
			t = critical
		case left <= s.limits.FillsWarning:
			t = warning
		}
		parts = append(parts, s.style.paint(t, "full in "+span(left)))
	}
	return parts
}

func (s *Screen) replication() []string {
	r := s.status.Replication
	if r == nil {
		return nil
	}
	var parts []string
	if r.Streaming != nil {
		word := "streaming"
		if !*r.Streaming {
			word = s.style.paint(critical, "NOT STREAMING")
		}
		if r.LagSeconds != nil {
			word += ", lag " + latency(r.LagSeconds)
		}
		parts = append(parts, word)
	}
	if r.ClientCount != nil && *r.ClientCount > 0 {
		worst := 0.0
		for _, c := range r.Clients {
			if c.ReplayLagSeconds != nil {
				worst = max(worst, *c.ReplayLagSeconds)
			}
		}
		parts = append(parts, fmt.Sprintf("%d receive WAL, worst lag %s", *r.ClientCount, latency(&worst)))
	}
	if r.SlotCount != nil && *r.SlotCount > 0 {
		idle := 0
		for _, slot := range r.Slots {
			if !slot.Active {
				idle++
			}
		}
		text := fmt.Sprintf("%d slots", *r.SlotCount)
		if *r.SlotCount == 1 {
			text = "1 slot"
		}
		if idle > 0 {
			least := ""
			if idle == len(r.Slots) && int64(idle) < *r.SlotCount { // those that are read are listed last
				least = "at least "
			}
			text += s.style.paint(warning, fmt.Sprintf(", %s%d without a client", least, idle))
		}
		parts = append(parts, text)
	}
	return parts
}

// lastLook says since when nobody has read the files of the newest good backup.
func lastLook(b *status.Backups, now time.Time) string {
	if b.ReadBackAt == nil {
		return "nobody has read the newest backup's files since they were written"
	}
	return "the newest backup's files were last read " + ago(now, *b.ReadBackAt)
}

// backups say whether one could restore, and to when.
func (s *Screen) backups() []string {
	b := s.status.Backups
	if b == nil {
		return []string{s.style.named("Backups", s.style.paint(faint, "unknown: the exporter has no --backup.catalog, or has not read it yet"))}
	}
	if !b.Readable {
		return []string{s.style.named("Backups", s.style.paint(critical, "the repository can't be read: "+b.CatalogError))}
	}
	parts := []string{s.style.paint(critical, "NONE that is good")}
	if b.Newest != nil {
		age := "of the future"
		if b.NewestAgeSeconds != nil {
			age = rough(seconds(*b.NewestAgeSeconds)) + " ago"
		}
		parts = []string{"newest " + age, b.Newest.State}
	}
	if b.BadCount != nil && *b.BadCount > 0 {
		parts = append(parts, s.style.paint(critical, fmt.Sprintf("%d BAD", *b.BadCount)))
	}
	if b.GoodCount != nil && *b.GoodCount > 0 {
		parts = append(parts, fmt.Sprintf("%d good", *b.GoodCount))
	}
	if b.RestoreSeconds != nil {
		parts = append(parts, "restores in "+span(seconds(*b.RestoreSeconds)))
	}
	if next := b.NextRunAt; next != nil && next.After(s.now()) {
		parts = append(parts, "next "+ago(s.now(), *next))
	} else if next != nil && b.RunningSince == nil {
		parts = append(parts, "next was due "+ago(s.now(), *next))
	}
	if b.Newest != nil && b.Newest.SizeBytes != nil && s.room("") >= 100 {
		parts = append(parts, size(*b.Newest.SizeBytes))
	}
	lines := []string{s.named("Backups", ", ", parts...)}
	if b.LastFailureAt != nil && (b.Newest == nil || b.LastFailureAt.After(b.Newest.FinishedAt)) {
		lines = append(lines, s.style.named("",
			s.style.paint(critical, fmt.Sprintf("the last run FAILED %s: %s", ago(s.now(), *b.LastFailureAt), b.LastFailureReason))))
	} else if b.RunningSince != nil && s.backupSince.IsZero() {
		lines = append(lines, s.style.named("", "one is being made for "+span(s.now().Sub(*b.RunningSince))))
	}
	if b.Unwatched {
		job := "the job is LATE: "
		if b.DaemonAlive != nil && !*b.DaemonAlive {
			job = "the job is GONE: "
		}
		lines = append(lines, s.style.named("", s.style.paint(critical, job+lastLook(b, s.now()))))
	}
	return lines
}
