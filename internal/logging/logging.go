// Package logging makes the programs' logger.
package logging

import (
	"io"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// New is a logger that writes whole lines to w, from many goroutines. The time comes first, then the level.
func New(w io.Writer, minimum, format string) log.Logger {
	w = log.NewSyncWriter(w)
	lines := log.NewLogfmtLogger(w)
	if format == "json" {
		lines = log.NewJSONLogger(w)
	}
	timed := log.LoggerFunc(func(keyvals ...any) error {
		return lines.Log(append([]any{"ts", time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")}, keyvals...)...)
	})
	return level.NewFilter(timed, level.Allow(level.ParseDefault(minimum, level.InfoValue())))
}
