package pgbackrest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Check implements engine.Engine: `pgbackrest verify` reads every file of the stanza and compares
// its checksum (it knows no single backup), and the WAL that makes the backup consistent must be in the archive.
func (e *Engine) Check(ctx context.Context, b catalog.Backup, progress func(done, total int64)) error {
	s, i, err := e.present(ctx, b)
	if err != nil {
		return err
	}
	if err := e.checkWAL(ctx, i, s); err != nil {
		return err
	}
	if e.repo() > 1 {
		return failure.New(failure.Config, "pgbackrest verify reads its first repository only, and the backup is in repository %d", e.repo()).
			WithHint("Verify with --level=3, which restores it.")
	}
	if progress != nil {
		progress(0, b.Manifest.Bytes)
	}
	text, err := e.run(ctx, "verify", "--output=text", "--verbose")
	verdicts := ParseVerify(string(text))
	for _, label := range append([]string{s.Label}, s.Reference...) {
		switch v := verdicts[label]; {
		case v.Status != "" && v.Status != "valid":
			return failure.New(failure.Verify, "pgbackrest verify: backup %s is %s: %s", label, v.Status, v.Detail)
		case v.Status == "" && err == nil:
			return fmt.Errorf("pgbackrest verify said nothing of backup %s", label)
		}
	}
	return err
}

// present finds the backup in pgBackRest's list. A list without it condemns the entry; a list that
// can't be had does not.
func (e *Engine) present(ctx context.Context, b catalog.Backup) (Set, Info, error) {
	if !e.owns(b) {
		stanza, repo := "", ""
		if x := b.Manifest.External; x != nil {
			stanza, repo = x.Stanza, x.Repository
		}
		return Set{}, Info{}, failure.New(failure.Config, "backup %s is of stanza %q in repository %q, not of stanza %q in repository %d",
			b.ID, stanza, repo, e.Stanza, e.repo()).WithHint("Give its own --pgbackrest-stanza and --pgbackrest-repo.")
	}
	i, err := e.info(ctx, "")
	if err != nil {
		return Set{}, Info{}, err
	}
	s, ok := i.find(b.Manifest.External.Label)
	if !ok {
		return Set{}, i, failure.New(failure.Verify, "backup %s: %s", b.Manifest.External.Label, goneText)
	}
	return s, i, nil
}

// checkWAL looks for every segment between the backup's start and stop.
func (e *Engine) checkWAL(ctx context.Context, i Info, s Set) error {
	start, stop := s.Archive.Start, s.Archive.Stop
	a, ok := i.archive(s.DB.ID)
	if !ok || !segmentPattern.MatchString(start) || !segmentPattern.MatchString(stop) {
		return failure.New(failure.Verify, "backup %s needs WAL %s to %s, and there is no archive of it", s.Label, start, stop)
	}
	names, err := e.segments(ctx, a.ID, start)
	if err != nil {
		return err
	}
	if !names[start] {
		return failure.New(failure.Verify, "backup %s needs WAL segment %s, which is not in the archive", s.Label, start)
	}
	if reached := contiguous(start, names); reached[8:] < stop[8:] {
		return failure.New(failure.Verify, "backup %s needs WAL segments up to %s; the archive has a gap after %s", s.Label, stop, reached)
	}
	return nil
}

// Verdict is what pgbackrest verify says of one backup.
type Verdict struct {
	Status string // "valid", "invalid", "in-progress", "manifest not found", ...
	Detail string
}

var verdictPattern = regexp.MustCompile(`^\s*backup: (\S+), status: ([^,]+)(?:, (.*))?$`)

// ParseVerify reads the output of `pgbackrest verify --output=text --verbose`, by backup label.
func ParseVerify(text string) map[string]Verdict {
	verdicts := map[string]Verdict{}
	var label string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if m := verdictPattern.FindStringSubmatch(line); m != nil {
			label = m[1]
			verdicts[label] = Verdict{Status: strings.TrimSpace(m[2]), Detail: m[3]}
			continue
		}
		if v, ok := verdicts[label]; ok && strings.HasPrefix(line, "    ") {
			v.Detail = strings.Join(slices.DeleteFunc([]string{v.Detail, strings.TrimSpace(line)}, func(s string) bool { return s == "" }), "; ")
			verdicts[label] = v
			continue
		}
		label = ""
	}
	return verdicts
}
