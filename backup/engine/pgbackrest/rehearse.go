package pgbackrest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
)

// replayPatience bounds the replay of WAL; the verification's own deadline is meant to be shorter.
const replayPatience = 24 * time.Hour

// Rehearse implements engine.ServerRestorer: pgBackRest restores into the room, and the server there replays
// WAL until the backup is consistent. It never touches the archive but to read: its configuration is
// not the backup's own, whose paths, sizes and archive_command are another server's.
func (e *Engine) Rehearse(ctx context.Context, b catalog.Backup, room *scratch.Room) error {
	s, i, err := e.present(ctx, b)
	if err != nil {
		return err
	}
	if err := e.checkWAL(ctx, i, s); err != nil { // before hours of restoring files that can't become consistent
		return err
	}
	free, err := catalog.FreeBytes(room.Dir)
	if err != nil {
		return err
	}
	if need := s.Info.Size + s.Info.Size/20 + 128<<20; free < need {
		return failure.New(failure.Space, "restore into %s: %d MB are free, %d MB are needed", room.Dir, free>>20, need>>20).
			WithHint("Choose another place with --scratch-dir.")
	}
	if su := b.Manifest.External.Superuser; su != "" {
		room.ActAs(su)
	}
	return e.intoRoom(ctx, s.Label, room, "--type=immediate", "--target-action=promote")
}

// intoRoom restores into the room with a target of recovery, lets the server there recover, and starts it anew, with no way out.
func (e *Engine) intoRoom(ctx context.Context, label string, room *scratch.Room, target ...string) error {
	options := append([]string{
		"--set=" + label, "--pg1-path=" + room.DataDir(), "--archive-mode=off",
		"--tablespace-map-all=" + filepath.Join(room.Dir, "tablespaces"), "--lock-path=" + filepath.Join(room.Dir, "lock"),
		"--spool-path=" + filepath.Join(room.Dir, "spool"), // a restore empties it
	}, target...)
	if _, err := e.run(ctx, "restore", append(options, e.Options...)...); err != nil {
		if damaged(err) && ctx.Err() == nil {
			return failure.New(failure.Verify, "%w", err)
		}
		return err
	}
	settings, err := e.isolate(ctx, room)
	if err != nil {
		return err
	}
	room.Patience = replayPatience
	if err := room.Recover(ctx, settings); err != nil {
		return condemn(ctx, room, err)
	}
	maps.DeleteFunc(settings, func(name, _ string) bool {
		return name == "restore_command" || strings.HasPrefix(name, "recovery_target")
	})
	if err := room.Start(ctx, settings); err != nil {
		return condemn(ctx, room, err)
	}
	return nil
}

// isolate replaces the restored server's configuration by one that has nothing of the original but
// the target of recovery, and returns the settings without which its WAL can't be replayed.
func (e *Engine) isolate(ctx context.Context, room *scratch.Room) (map[string]string, error) {
	auto := filepath.Join(room.DataDir(), "postgresql.auto.conf")
	text, err := os.ReadFile(auto)
	if err != nil {
		return nil, fmt.Errorf("read what pgBackRest restored: %w", err)
	}
	program, err := e.program()
	if err != nil {
		return nil, err
	}
	var command []string
	for _, word := range append([]string{program}, e.args("archive-get", "--pg1-path="+room.DataDir(), "--lock-path="+
		filepath.Join(room.Dir, "lock"),
		"--no-archive-async", "--log-level-file=off")...) {
		command = append(command, strings.ReplaceAll(quoteShell(word), "%", "%%"))
	}
	settings := places(room)
	settings["hot_standby"] = "off" // then too few connections or locks don't end the recovery
	settings["restore_command"] = strings.Join(command, " ") + ` %f "%p"`
	for name, value := range recoveryTarget(string(text)) {
		settings[name] = value
	}
	// The written names keep their owner: files in the room are the servers' system user's.
	for path, content := range map[string]string{auto: "", settings["config_file"]: "", settings["ident_file"]: ""} {
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o644), os.Chmod(path, 0o644)); err != nil { // whatever the mask
			return nil, fmt.Errorf("configure the throwaway server: %w", err)
		}
	}
	control, err := controlData(ctx, room)
	if err != nil {
		return nil, err
	}
	for label, name := range map[string]string{
		"max_prepared_xacts setting": "max_prepared_transactions", "max_locks_per_xact setting": "max_locks_per_transaction",
		"max_connections setting": "max_connections", "track_commit_timestamp setting": "track_commit_timestamp",
	} {
		if v := control[label]; v != "" {
			settings[name] = v
		}
	}
	return settings, nil
}

// places are the files of the throwaway server, none of them the original's.
func places(room *scratch.Room) map[string]string {
	return map[string]string{
		"config_file": filepath.Join(room.Dir, "postgresql.conf"), "ident_file": filepath.Join(room.Dir, "ident.conf"),
		"data_directory": room.DataDir(),
	}
}

// recoveryTarget reads the recovery_target settings that pgBackRest wrote, the last of each. What
// stands before is the original server's.
func recoveryTarget(conf string) map[string]string {
	const header = "# Recovery settings generated by pgBackRest"
	settings := map[string]string{}
	at := strings.LastIndex(conf, header)
	if at < 0 {
		return settings
	}
	for line := range strings.Lines(conf[at:]) {
		name, value, ok := strings.Cut(line, " = ")
		if ok && strings.HasPrefix(name, "recovery_target") {
			settings[name] = strings.ReplaceAll(strings.Trim(strings.TrimSpace(value), "'"), "''", "'")
		}
	}
	return settings
}

// controlData reads pg_controldata's lines.
func controlData(ctx context.Context, room *scratch.Room) (map[string]string, error) {
	var out bytes.Buffer
	cmd := room.Command(room.Programs().Path("pg_controldata"), "-D", room.DataDir())
	cmd.Stdout = &out
	if err := room.Run(ctx, cmd); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return nil, failure.New(failure.Version, "read the restored server's control file: %w", err).
				WithHint("pg_controldata belongs to the server's package.")
		}
		return nil, failure.New(failure.Verify, "read the restored server's control file: %w", err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			lines[name] = strings.TrimSpace(value)
		}
	}
	return lines, nil
}

// condemn makes a server that does not come up a verdict on the backup, unless the cause is this machine.
func condemn(ctx context.Context, room *scratch.Room, err error) error {
	text := err.Error()
	switch {
	case ctx.Err() != nil, failure.Of(err) == failure.Space, failure.Of(err) == failure.Timeout:
		return err
	case strings.Contains(text, "No space left on device"):
		return failure.New(failure.Space, "%w", err).WithHint("Choose another place with --scratch-dir.")
	case strings.Contains(text, "could not map anonymous shared memory"), strings.Contains(text, "could not create shared memory"):
		return failure.New(failure.Other, "%w", err).
			WithHint("The restored server needs as many connections and locks as the original; give this machine memory.")
	case strings.Contains(text, "could not access file"), strings.Contains(text, "resource manager"):
		return failure.New(failure.Version, "%w", err).
			WithHint("Give the throwaway server the library: --scratch-setting shared_preload_libraries=...")
	case !room.Running():
		return failure.New(failure.Verify, "the restored server does not recover: %w", err)
	}
	return err
}

// quoteShell quotes a word for sh.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
