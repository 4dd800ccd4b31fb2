package restore

import (
	"fmt"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// candidates lists the backups to try, best first. None and no error: this repository never had one.
func (s *session) candidates(ofServer string) ([]catalog.Backup, error) {
	r := s.Restorer
	all, err := r.Repo.List()
	if err != nil {
		return nil, err
	}
	servers := r.servers(all)
	id := s.facts.SystemIdentifier
	if ofServer != "" {
		id = ofServer
	}
	if all, err = servers.Of(all, id, ofServer != ""); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	var verified, rest []catalog.Backup
	others := map[catalog.Health]int{}
	for _, b := range all {
		switch {
		case b.Manifest.Engine != "" && !r.loads(b):
			others["of engine "+catalog.Health(b.Manifest.Engine)]++
		case b.Health == catalog.Unreadable && len(verified)+len(rest) == 0: // newer than all that can be read
			return nil, failure.New(failure.Repository, "bootstrap: backup %s, newer than those that can be read, can't be read for now (%s), "+
				"nothing was changed",
				b.ID, b.Problem).WithHint("Mend the repository's disk or permissions and start again, or restore an older backup by its id.")
		case b.Health == catalog.Verified:
			verified = append(verified, b)
		case b.Health == catalog.Unverified:
			rest = append(rest, b)
		default:
			others[b.Health]++
		}
	}
	candidates := append(verified, rest...)
	if len(candidates) > 0 {
		return candidates, nil
	}
	if len(others) > 0 {
		return nil, failure.New(failure.Nothing, "bootstrap: none of the repository's %d backups can be used here (%v), nothing was changed",
			len(all), others).
			WithHint("`pg_reliability_backup list` says why. One whose files were brought back is good again after `verify ID`; to begin from " +
				"nothing, move the repository away.")
	}
	state, err := r.Repo.State()
	if err != nil {
		return nil, failure.New(failure.Repository, "bootstrap: %w", err)
	}
	if !state.Rebuilt.IsZero() {
		return nil, failure.New(failure.Repository, "bootstrap: the repository holds no backup, and its journal was lost or cut and made anew "+
			"on %s: "+
			"whether there were backups is unknown, nothing was changed", state.Rebuilt.Format(time.RFC3339)).
			WithHint("Find out where its backups went before the application begins from nothing; a new repository is made with `init` in " +
				"another directory.")
	}
	if !state.LastSuccess.IsZero() {
		return nil, failure.New(failure.Repository, "bootstrap: the repository had a backup on %s and has none now, nothing was changed",
			state.LastSuccess.Format(time.RFC3339)).WithHint("Find out where its backups went before the application begins from nothing.")
	}
	return nil, nil
}

// servers is what the repository knows of its servers: where that can't be read, what the manifests say must do.
func (r *Restorer) servers(all []catalog.Backup) catalog.Servers {
	servers, err := r.Repo.Servers(all)
	if err != nil {
		_ = level.Warn(r.Log).Log("msg", "what the repository was told about its servers can't be read", "err", err)
	}
	return servers
}
