package web

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status/page"
)

// writeJSON answers with a document, or says that what it tells of can't be encoded. That the client may have left is told to nobody.
func writeJSON(w http.ResponseWriter, logger log.Logger, what string, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		level.Error(logger).Log("msg", what+" can't be encoded", "err", err)
		http.Error(w, what+" can't be encoded; the exporter's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n'))
}

// writePage answers with a page for people, or says that it can't be made.
func writePage(w http.ResponseWriter, logger log.Logger, what string, document *bytes.Buffer, err error) {
	if err != nil {
		level.Error(logger).Log("msg", what+" can't be made", "err", err)
		http.Error(w, "The page can't be made; the exporter's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", page.ContentSecurityPolicy())
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = document.WriteTo(w)
}
