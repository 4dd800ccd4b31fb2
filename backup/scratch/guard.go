package scratch

import (
	"context"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

const (
	// guardEvery is the pause between two looks at a room's size; a look may take a guardShare of the time.
	guardEvery, guardShare = 200 * time.Millisecond, 20
	// spared is the share of the disk's free space, as it was when the room was made, that a room leaves to others.
	spared = 20
)

// Guard ends the context that it returns when the room has become larger than Options.MostBytes, or has all but filled its disk:
// what a backup restores can run functions of the backup's, and they write as much as they like. The context's cause is then an
// error of reason failure.Space. Who called ends the server, by Close. Call stop when the room need not be watched any more.
func (r *Room) Guard(ctx context.Context) (guarded context.Context, stop func()) {
	guarded, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for pause := guardEvery; ; {
			select {
			case <-guarded.Done():
				return
			case <-time.After(pause):
			}
			began := time.Now()
			if err := r.outgrown(guarded); err != nil {
				cancel(err)
				return
			}
			pause = max(guardEvery, guardShare*time.Since(began))
		}
	}()
	return guarded, func() { cancel(nil); <-ended }
}

// outgrown says whether the room has become too large. What can't be measured now is measured the next time.
func (r *Room) outgrown(ctx context.Context) error {
	const hint = "Either a function in the backup writes while its data is restored (a CHECK, an index or a view that calls it), or "
	if free, err := catalog.FreeBytes(r.Dir); err == nil && free < r.free/spared {
		return failure.New(failure.Space, "the throwaway server was stopped before it filled the disk of %s: %d MB of %d MB are left; that says "+
			"nothing of the backup", r.Dir, free>>20, r.free>>20).
			WithHint(hint + "others write to the disk, or it is too small: choose another place with --scratch-dir.")
	}
	most := r.opts.MostBytes
	if most <= 0 {
		return nil
	}
	if size := usage(ctx, r.Dir); size > most {
		return failure.New(failure.Space, "the throwaway server was stopped: it has written %d MB, and at most %d MB are expected by the size "+
			"of what was backed up; that says nothing of the backup", size>>20, most>>20).
			WithHint(hint + "it takes more than it did: raise --scratch-limit.")
	}
	return nil
}

// usage is what the files in a directory take on the disk. Files come and go meanwhile.
func usage(ctx context.Context, dir string) (bytes int64) {
	const block = 512 // of st_blocks, whatever the file system's
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ctx.Err()
		}
		if fi, err := e.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * block
			}
		}
		return ctx.Err()
	})
	return bytes
}
