package serverlog

import (
	"bytes"
	"time"
)

// stampLength is how long a time such as "2026-11-28 10:07:16.123 UTC" at the beginning of a line is; 0 where there is none.
func stampLength(line []byte) int {
	const seconds = len("2006-01-02 15:04:05")
	if len(line) < seconds+2 || line[4] != '-' || line[7] != '-' || line[10] != ' ' || line[13] != ':' || line[16] != ':' {
		return 0
	}
	n := seconds
	if line[n] == '.' {
		for n++; n < len(line) && line[n] >= '0' && line[n] <= '9'; n++ {
		}
	}
	if n == len(line) || line[n] != ' ' {
		return 0
	}
	zone := n + 1
	for n = zone; n < len(line) && (isLetter(line[n]) || line[n] >= '0' && line[n] <= '9' || line[n] == '+' || line[n] == '-'); n++ {
	}
	if n == zone {
		return 0
	}
	return n
}

// clock reads the server's times. Their zone is an abbreviation, which says nothing by itself: log_timezone does.
type clock struct {
	zone *time.Location // nil where it is not known
	// guessed are offsets of abbreviations, from lines that were read as they were written.
	guessed map[string]time.Duration
}

// maxGuesses bounds what a hostile log could make us remember.
const maxGuesses = 16

// read is a record's time. seen is when the line was read: it stands in where nothing else is known. live is whether the line
// was written just before.
func (c *clock) read(stamp []byte, seen time.Time, live bool) time.Time {
	if epoch, ok := epochMillis(stamp); ok {
		return epoch
	}
	n := stampLength(stamp)
	if n == 0 {
		return seen
	}
	cut := bytes.LastIndexByte(stamp[:n], ' ')
	at, err := time.Parse("2006-01-02 15:04:05", string(stamp[:cut])) // also with a fraction
	if err != nil {
		return seen
	}
	offset, ok := c.offset(string(stamp[cut+1:n]), at, seen, live)
	if !ok {
		return seen
	}
	return at.Add(-offset)
}

// offset of a zone from UTC.
func (c *clock) offset(zone string, at, seen time.Time, live bool) (time.Duration, bool) {
	switch zone {
	case "UTC", "GMT", "Z", "UCT":
		return 0, true
	}
	for _, layout := range []string{"-07", "-0700"} {
		if t, err := time.Parse(layout, zone); err == nil {
			_, offset := t.Zone()
			return time.Duration(offset) * time.Second, true
		}
	}
	if c.zone != nil {
		// At the end of summer time an hour comes twice: the abbreviation says which it is.
		for _, shift := range []time.Duration{0, -time.Hour, time.Hour} {
			local := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, c.zone).Add(shift)
			name, seconds := local.Zone()
			if name == zone && local.Format(time.DateTime) == at.Format(time.DateTime) {
				return time.Duration(seconds) * time.Second, true
			}
		}
	}
	if d, ok := c.guessed[zone]; ok {
		return d, true
	}
	if !live || len(c.guessed) >= maxGuesses {
		return 0, false
	}
	const step = 15 * time.Minute // zones differ by quarters of an hour
	d := at.Sub(seen).Round(step)
	if d.Abs() > 15*time.Hour {
		return 0, false
	}
	if c.guessed == nil {
		c.guessed = map[string]time.Duration{}
	}
	c.guessed[zone] = d
	return d, true
}

// epochMillis reads %n: seconds since 1970 with three digits after the point.
func epochMillis(stamp []byte) (time.Time, bool) {
	whole, fraction, ok := bytes.Cut(stamp, []byte("."))
	if !ok || len(whole) != 10 || len(fraction) != 3 || number(whole) == 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(number(whole)), int64(number(fraction))*int64(time.Millisecond)).UTC(), true
}
