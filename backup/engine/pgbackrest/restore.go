package pgbackrest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
)

// RestoreServer implements engine.ServerRestorer: the whole server's files into an empty directory. The server recovers to
// the target at its start, which is left to the caller: so nothing that runs is touched, and a
// failure leaves a directory that no server ever ran in. Errors of the start ("recovery ended before
// configured recovery target was reached") are in that server's log.
func (e *Engine) RestoreServer(ctx context.Context, o engine.ServerOptions) (engine.ServerReport, error) {
	began := e.now()
	s, i, err := e.present(ctx, o.Backup)
	if err != nil {
		return engine.ServerReport{}, err
	}
	aim, options, err := target(o, s)
	if err != nil {
		return engine.ServerReport{}, err
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil || o.DataDir == "" {
		return engine.ServerReport{}, failure.New(failure.Config, "restore: no data directory is named").
			WithHint("Give --data-dir DIR, an empty directory.")
	}
	if err := e.emptyDir(dir); err != nil {
		return engine.ServerReport{}, err
	}
	options = append(options, "--set="+s.Label, "--pg1-path="+dir)
	if !o.KeepArchiving {
		options = append(options, "--archive-mode=off", spoolOfCopies)
	}
	if o.TablespaceDir != "" {
		tablespaces, err := filepath.Abs(o.TablespaceDir)
		if err == nil {
			err = e.emptyDir(tablespaces)
		}
		if err != nil {
			return engine.ServerReport{}, err
		}
		options = append(options, "--tablespace-map-all="+tablespaces)
	}
	if _, err := e.run(ctx, "restore", append(options, e.Options...)...); err != nil {
		if damaged(err) && ctx.Err() == nil {
			return engine.ServerReport{}, failure.New(failure.Verify, "%w", err).
				WithHint("The directory %s is incomplete: empty it, and choose another backup.", dir)
		}
		if failure.Of(err) == failure.Other {
			err = failure.New(failure.Restore, "%w", err)
		}
		return engine.ServerReport{}, err
	}
	if !o.KeepArchiving {
		if err := fetchWithoutSpool(dir); err != nil {
			return engine.ServerReport{}, err
		}
	}
	report := engine.ServerReport{
		Backup: o.Backup.ID, Label: s.Label, DataDir: dir, Target: aim, At: o.At, Archiving: o.KeepArchiving,
		Seconds: e.now().Sub(began).Seconds(),
	}
	if !o.At.IsZero() && !slices.ContainsFunc(e.Options, func(o string) bool { return strings.HasPrefix(o, "--target-timeline") }) {
		report.NewerTimeline = newerTimeline(i, s)
	}
	return report, nil
}

// newerTimeline is the newest timeline of a backup's archive, where it is newer than the one that the backup ended on. A server that
// recovers follows the newest: after a restore that replaced it, or a promotion, the way to a moment of before may leave the old timeline
// too early.
func newerTimeline(i Info, s Set) string {
	a, ok := i.archive(s.DB.ID)
	newest, own := a.Max, s.Archive.Stop
	if !ok || !segmentPattern.MatchString(newest) || !segmentPattern.MatchString(own) || newest[:8] <= own[:8] {
		return ""
	}
	return newest[:8]
}

// spoolOfCopies is nowhere: a restore empties the spool of its stanza, also the one through which a live server
// archives, or in which a standby's next WAL lies.
const spoolOfCopies = "--spool-path=/nonexistent/pg_reliability"

// fetchWithoutSpool makes the server in a directory fetch its WAL segment by segment, whatever archive-async
// says: it would share spool and lock with a live server, and a recovery that waits too long for them ends early.
func fetchWithoutSpool(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "postgresql.auto.conf"), os.O_RDWR, 0) // it keeps its owner
	if err != nil {
		return fmt.Errorf("configure the restored server: %w", err)
	}
	text, err := io.ReadAll(f)
	if err == nil {
		// pgBackRest handed the option on to restore_command, where it is refused without archive-async.
		text = bytes.ReplaceAll(text, []byte(spoolOfCopies), []byte("--no-archive-async"))
		_, err = f.WriteAt(text, 0)
	}
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("configure the restored server: %w", err)
	}
	return nil
}

// target translates the target of recovery.
func target(o engine.ServerOptions, s Set) (string, []string, error) {
	action := "--target-action=promote"
	if o.Pause {
		action = "--target-action=pause"
	}
	switch {
	case o.Immediate && !o.At.IsZero():
		return "", nil, failure.New(failure.Config, "restore: both a time and the backup's end are asked for").WithHint("Choose one of them.")
	case o.Immediate:
		return "end of backup", []string{"--type=immediate", action}, nil
	case o.At.IsZero():
		return "end of archive", []string{"--type=default"}, nil
	case o.At.Before(s.Stopped()):
		return "", nil, failure.New(failure.Nothing, "restore: backup %s (%s) ended at %s, after %s", o.Backup.ID, s.Label,
			s.Stopped().Format(time.RFC3339), o.At.UTC().Format(time.RFC3339)).WithHint("Choose an older backup: `list` shows their times.")
	}
	return o.At.UTC().Format(time.RFC3339Nano), []string{
		"--type=time", "--target=" + o.At.UTC().Format("2006-01-02 15:04:05.999999") + "+00", action,
	}, nil
}

// emptyDir makes the directory, for the system user that pgBackRest runs as, or finds it empty.
func (e *Engine) emptyDir(dir string) error {
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		what := ""
		if _, err := os.Lstat(filepath.Join(above, "PG_VERSION")); err == nil {
			what = "a server's data directory"
		} else if _, err := catalog.Open(above); err == nil {
			what = "a repository of backups"
		}
		if what != "" {
			return failure.New(failure.Refused, "restore: %s would be within %s, %s, nothing was changed", dir, above, what).
				WithHint("Choose a directory of its own.")
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return failure.New(failure.Refused, "restore: %s is not empty, nothing was changed", dir).
			WithHint("Choose an empty directory; a server's old one is moved away first, not overwritten.")
	}
	if err != nil && !os.IsNotExist(err) {
		return failure.New(failure.Config, "restore: %w", err)
	}
	cred, err := scratch.Credential(e.User)
	if err != nil {
		return err
	}
	if err := errors.Join(makeEntrance(filepath.Dir(dir)), os.MkdirAll(dir, 0o700)); err != nil {
		return failure.New(failure.Config, "restore: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // PostgreSQL refuses anything wider
		return failure.New(failure.Config, "restore: %w", err)
	}
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

// makeEntrance makes a directory, and those above it that are missing, so that another system user can enter, whatever the process's mask.
func makeEntrance(dir string) error {
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		return err
	}
	if err := makeEntrance(filepath.Dir(dir)); err != nil {
		return err
	}
	return errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755))
}
