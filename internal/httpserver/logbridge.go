package httpserver

import (
	"bytes"
	"context"
	stdlog "log"
	"log/slog"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	sloggokit "github.com/tjhop/slog-gokit"
)

// newSlog lets exporter-toolkit, which speaks log/slog, write to our logger. The level is judged there, once.
func newSlog(logger log.Logger) *slog.Logger {
	return slog.New(bridge{sloggokit.NewGoKitHandler(logger, slog.LevelDebug)})
}

// bridge leaves out the time and the caller, which sloggokit would add beside our own.
type bridge struct{ slog.Handler }

func (b bridge) Handle(ctx context.Context, r slog.Record) error {
	r.Time, r.PC = time.Time{}, 0
	return b.Handler.Handle(ctx, r)
}

func (b bridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	return bridge{b.Handler.WithAttrs(attrs)}
}

func (b bridge) WithGroup(name string) slog.Handler { return bridge{b.Handler.WithGroup(name)} }

// newHTTPErrorLog takes what net/http has to say. Nearly all of it is about clients that left or did not speak
// TLS, such as a load balancer's TCP check each second, so only a panic is an error.
func newHTTPErrorLog(logger log.Logger) *stdlog.Logger {
	return stdlog.New(httpErrors{logger}, "", 0)
}

type httpErrors struct{ logger log.Logger }

func (h httpErrors) Write(line []byte) (int, error) {
	at := level.Debug
	if bytes.HasPrefix(line, []byte("http: panic serving")) {
		at = level.Error
	}
	_ = at(h.logger).Log("msg", "http server", "err", string(bytes.TrimSpace(line)))
	return len(line), nil
}
