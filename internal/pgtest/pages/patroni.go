package pages

import (
	_ "embed" // the pages below
	"fmt"
	"net/http"
	"regexp"
	"time"
)

// A primary's and a replica's pages of a real Patroni 3.0.2, as its REST API showed them at /metrics. They were recorded
// once, of a cluster of two with etcd.
var (
	//go:embed testdata/patroni-primary.txt
	patroniPrimary string
	//go:embed testdata/patroni-replica.txt
	patroniReplica string
)

var lastSeen = regexp.MustCompile(`(?m)^(patroni_dcs_last_seen\S*) \S+$`)

// PatroniPages are the pages of a primary and a replica that have reached their store just now.
func PatroniPages() []string {
	now := fmt.Sprintf("$1 %d", time.Now().Unix())
	return []string{lastSeen.ReplaceAllString(patroniPrimary, now), lastSeen.ReplaceAllString(patroniReplica, now)}
}

// Patroni adds them.
func (p *Pages) Patroni() error {
	for _, page := range PatroniPages() {
		if err := p.text(page); err != nil {
			return err
		}
	}
	return nil
}

// ServePatroni shows the page of one of them, as often as it is asked.
func ServePatroni(member int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, PatroniPages()[member]) })
}
