package restore

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// BootstrapOptions of filling an empty server.
type BootstrapOptions struct {
	// Schema are SQL files, run in order in one transaction, for a server that never had a backup.
	Schema []string
	// Database the Schema makes; "" means the connection string's.
	Database string
	// Wait is how long the server may take to accept connections.
	Wait time.Duration
	// OfServer is the system identifier of the server whose backups are meant, where the repository has those of several.
	// "" means this server's, and where it is a new one, those of the only server there is.
	OfServer string
	// DryRun says what would be done.
	DryRun bool
}

// Outcomes of a bootstrap.
const (
	HadData  = "had_data" // nothing was done
	Restored = "restored" // from a backup
	Schema   = "schema"   // the initial schema was run
	Fresh    = "fresh"    // nothing to restore, no schema: an empty server, as expected
)

// Outcome says what a bootstrap did.
type Outcome struct {
	Result    string   `json:"result"`
	Backup    string   `json:"backup,omitempty"`
	Databases []string `json:"databases,omitempty"`
	// From names, by database, the other backups that those came from which Backup's server had and Backup does not hold.
	From    map[string]string `json:"from,omitempty"`
	Rows    int64             `json:"rows,omitempty"`
	Seconds float64           `json:"seconds"`
	// Rejected are newer backups that were unusable, each with its reason.
	Rejected []string `json:"rejected,omitempty"`
	// Lacks is what of the backup's server is not in the backup, and so not on this one.
	Lacks []string `json:"lacks,omitempty"`
	// Found is what the server has, when nothing was done.
	Found string `json:"found,omitempty"`
	// Kept are the new names of the empty databases that stood in the place of restored ones.
	Kept []string `json:"kept,omitempty"`
	// Warnings are what did not come back, or not as it was, one sentence each.
	Warnings []string `json:"warnings,omitempty"`
}

// Bootstrap fills an empty server from the newest verified backup, else the newest good one, else with
// the initial schema. On a server with data it does nothing, and a database that can't be looked into counts as data.
// All databases appear in one transaction at the end: what an interrupted bootstrap left is never served, and removed
// by the next. Empty databases that stood in their places are still there under other names.
//
// A repository that is unreachable, or lost the backups it had, is an error: an application must
// not begin from nothing because a disk was not mounted.
func (r *Restorer) Bootstrap(ctx context.Context, o BootstrapOptions) (Outcome, error) {
	began := r.Now()
	if err := r.awaitServer(ctx, o.Wait); err != nil {
		return Outcome{}, err
	}
	open := r.open
	if o.DryRun {
		open = r.look
	}
	s, err := open(ctx, "postgres")
	if err != nil {
		return Outcome{}, err
	}
	defer s.close()
	s.whole = true
	what, err := s.occupied(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if what != "" {
		_ = level.Info(r.Log).Log("msg", "the server has data: nothing to do", "found", what)
		return Outcome{Result: HadData, Found: what}, nil
	}
	if r.Repo == nil {
		return Outcome{}, failure.New(failure.Repository, "bootstrap: no repository was opened, nothing was changed")
	}
	candidates, err := s.candidates(o.OfServer)
	if err != nil {
		return Outcome{}, err
	}
	if o.DryRun {
		out := Outcome{Result: Fresh}
		if len(candidates) > 0 {
			if out, err = s.foretell(ctx, candidates[0], candidates); err != nil {
				return Outcome{}, err
			}
		} else if len(o.Schema) > 0 {
			out = Outcome{Result: Schema, Databases: []string{o.Database}}
		}
		return out, nil
	}
	var out Outcome
	if len(candidates) == 0 {
		out, err = s.schema(ctx, o)
	} else {
		out, err = s.first(ctx, candidates)
	}
	out.Seconds = r.Now().Sub(began).Seconds()
	if len(candidates) > 0 || err != nil {
		r.enter(ctx, out, err)
	}
	return out, err
}

// awaitServer waits until the server takes connections.
func (r *Restorer) awaitServer(ctx context.Context, wait time.Duration) error {
	deadline := r.Now().Add(wait)
	for {
		conn, _, err := r.connectAside(ctx, nil)
		if err == nil {
			return conn.Close(ctx)
		}
		if failure.Of(err) != failure.Connection || !r.Now().Before(deadline) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// loads says whether single databases of a backup can be restored.
func (r *Restorer) loads(b catalog.Backup) bool {
	e, err := engine.Of(r.Engines, b)
	return err == nil && e.Restoring().Databases != nil
}

// first restores the first candidate that can be.
func (s *session) first(ctx context.Context, candidates []catalog.Backup) (Outcome, error) {
	var out Outcome
	var last error
	for _, b := range candidates {
		_ = level.Info(s.Log).Log("msg", "the server is empty: restoring", "backup", b.ID, "state", b.Health, "rows", b.Manifest.Rows())
		s.warnings = nil
		rows, places, err := s.everything(ctx, b, candidates)
		if err == nil {
			out.Result, out.Backup, out.Rows, out.Warnings = Restored, b.ID, rows, s.warnings
			out.enter(places)
			for _, o := range b.Manifest.Omitted {
				if out.lent(o) {
					continue
				}
				out.Lacks = append(out.Lacks, o.String())
				_ = level.Warn(s.Log).Log(append(o.Said("the backup does not hold all of its server: "), "backup", b.ID)...)
			}
			if len(out.Rejected) > 0 {
				_ = level.Error(s.Log).Log("msg", "an OLDER backup was restored: newer ones were unusable", "backup", b.ID,
					"taken", b.Manifest.RecoveryPoint.Format(time.RFC3339), "unusable", strings.Join(out.Rejected, " | "))
			}
			return out, nil
		}
		last = err
		_ = level.Error(s.Log).Log("msg", "the backup could not be restored", "backup", b.ID, "err", err)
		out.Rejected = append(out.Rejected, b.ID+": "+err.Error())
		switch failure.Of(err) {
		case failure.Verify, failure.Restore, failure.Dump, failure.Other: // the backup's fault, maybe: try the next
		default:
			return out, err
		}
		if ctx.Err() != nil {
			return out, err
		}
		if s.conn.IsClosed() { // the server went away meanwhile
			return out, failure.New(failure.Connection, "bootstrap: the server cut the connection: %w", err)
		}
	}
	return out, failure.New(failure.Nothing, "bootstrap: none of %d backups could be restored, nothing is served: %w", len(candidates), last)
}

// everything restores all databases of a backup, and those that its run could not dump from other ones, and makes them
// appear at once.
func (s *session) everything(ctx context.Context, b catalog.Backup, candidates []catalog.Backup) (int64, []*place, error) {
	if err := s.notOlder(b); err != nil {
		return 0, nil, err
	}
	loader, release, err := s.examine(b)
	if failure.Of(err) == failure.Verify {
		s.condemn(ctx, b, err)
	}
	if err != nil {
		return 0, nil, err
	}
	defer release()
	places, err := s.placesOf(ctx, loader, b)
	if err != nil {
		return 0, nil, err
	}
	loans := s.loans(b, candidates)
	places = append(places, reserve(loans)...)
	s.beforeSwap = func() {
		// Before the data appear: were we killed in between, the server's own backups would be refused.
		if err := s.Repo.Filled(ctx, s.facts.SystemIdentifier, b, s.Now()); err != nil {
			s.warn("the repository does not know this server yet: its backups are refused until `init --take-over=%s` (%v)",
				b.Manifest.Server.SystemIdentifier, err)
		}
	}
	rows, err := s.bring(ctx, loader, b, places)
	return rows, places, err
}

// lent says whether what a backup lacks is a whole database that came from another one.
func (out *Outcome) lent(o catalog.Omission) bool {
	_, here := out.From[o.Database]
	return here && o.Name == "" && (o.Kind.Incomplete() || o.Kind == catalog.ClosedDatabase || o.Kind == catalog.ExcludedDatabase)
}

// enter notes what came to be.
func (out *Outcome) enter(places []*place) {
	for _, p := range places {
		if p.absent {
			continue
		}
		out.Databases = append(out.Databases, p.as)
		if p.from != "" {
			if out.From == nil {
				out.From = map[string]string{}
			}
			out.From[p.as] = p.from
		}
		if p.kept != "" {
			out.Kept = append(out.Kept, p.kept)
		}
	}
}

// placesOf puts all databases of a backup in their places. The server has postgres and template1 already: what the
// backup has nothing in gets its properties where it is, and template1 is never replaced.
func (s *session) placesOf(ctx context.Context, loader engine.Loader, b catalog.Backup) (places []*place, err error) {
	s.alike = nil
	programs, err := loader.Programs(ctx, s.facts.Major())
	if err != nil {
		return nil, err
	}
	for _, db := range b.Manifest.Databases {
		p := &place{database: db, as: db.Name, vacant: true}
		if db.Name != "postgres" && db.Name != "template1" {
			places = append(places, p)
			continue
		}
		there, err := exists(ctx, s.conn, db.Name)
		if err != nil {
			return nil, err
		}
		hollow, err := isHollow(ctx, source{Backup: b, loader: loader, programs: programs}, db)
		switch {
		case err != nil:
			return nil, err
		case there && (hollow || db.Name == "template1"):
			s.alike = append(s.alike, db)
			if !hollow && !s.throwaway {
				s.warn("what template1 holds is not brought back by a bootstrap: restore it with --database=template1 --as=NAME")
			}
			if !hollow && s.throwaway { // proved all the same
				p.as, p.vacant = "template1_of_the_backup", false
				places = append(places, p)
			}
		default:
			places = append(places, p)
		}
	}
	return places, nil
}

// isHollow says whether the backup of a database has nothing in it that a user made.
func isHollow(ctx context.Context, src source, db catalog.Database) (bool, error) {
	var list bytes.Buffer
	if err := src.loader.List(ctx, src.Backup, db, src.programs, &list); err != nil {
		return false, err
	}
	for line := range strings.Lines(list.String()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, ";") {
			return false, nil
		}
	}
	return true, nil
}

// condemn notes in a backup's status that it is damaged, so that nobody chooses it again.
func (r *Restorer) condemn(ctx context.Context, b catalog.Backup, why error) {
	err := r.Repo.UpdateStatus(context.WithoutCancel(ctx), b.ID, func(s *catalog.Status) {
		s.Damage = &catalog.Damage{At: r.Now().UTC(), Level: 1, Message: why.Error()}
	})
	if err != nil { // a repository mounted read-only can be restored from all the same
		_ = level.Warn(r.Log).Log("msg", "the damage could not be noted in the repository", "backup", b.ID, "err", err)
	}
}

// like reads the properties of a database that exists, or gives those of template1.
func (s *session) like(ctx context.Context, name string, db *catalog.Database) error {
	there, err := exists(ctx, s.conn, name)
	if err != nil {
		return err
	}
	from := name
	if !there {
		from = "template1"
	}
	var tooLong []catalog.Omission
	if *db, tooLong, err = server.Properties(ctx, s.conn, from, nil); err != nil {
		return err
	}
	for _, o := range tooLong {
		_ = level.Warn(s.Log).Log("msg", "left out: "+o.String())
	}
	if !there { // its locale, and nothing else of it
		*db = catalog.Database{Properties: db.Properties}
	}
	db.Name = name
	return nil
}

// schema runs the initial schema into a database beside, and swaps it in.
func (s *session) schema(ctx context.Context, o BootstrapOptions) (out Outcome, err error) {
	if len(o.Schema) == 0 {
		_ = level.Info(s.Log).Log("msg", "the server is empty, the repository is new, and there is no initial schema")
		return Outcome{Result: Fresh}, nil
	}
	if o.Database == "" || o.Database == "postgres" || o.Database == "template1" {
		return out, failure.New(failure.Config, "bootstrap: no database for the initial schema is named").
			WithHint("Name it with --database, or in the connection string; not postgres or template1.")
	}
	p := &place{as: o.Database, vacant: true}
	if err := s.like(ctx, o.Database, &p.database); err != nil {
		return out, err
	}
	programs, err := s.psql(ctx)
	if err != nil {
		return out, err
	}
	if err := s.survey(ctx, []*place{p}); err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			s.dropQuietly(ctx, []*place{p})
		}
	}()
	s.report("initial schema")
	if err := s.create(ctx, p, "the initial schema"); err != nil {
		return out, err
	}
	args := []string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"}
	for _, f := range o.Schema {
		args = append(args, "--file="+f)
	}
	psql := server.Child{Programs: programs, Name: "psql", Database: p.beside, Encoding: "UTF8", Script: true, Args: args}
	if err := s.Target.Run(ctx, psql); err != nil {
		return out, failure.New(failure.Restore, "bootstrap: run the initial schema: %w", err)
	}
	if err := s.swap(ctx, []*place{p}); err != nil {
		return out, err
	}
	out = Outcome{Result: Schema}
	out.enter([]*place{p})
	return out, nil
}

// psql finds the server's own, by whatever engine knows where programs are.
func (s *session) psql(ctx context.Context) (clients.Programs, error) {
	for _, e := range s.Engines {
		if l := e.Restoring().Databases; l != nil {
			return l.Programs(ctx, s.facts.Major(), "psql")
		}
	}
	return clients.Programs{}, failure.New(failure.Config, "bootstrap: there is no engine that restores databases")
}

// enter counts an automatic restore in the repository's state. A repository that can't be written
// (mounted read-only) leaves it to the log.
func (r *Restorer) enter(ctx context.Context, out Outcome, err error) {
	a := catalog.AutoRestore{
		At: r.Now().UTC(), Result: catalog.Success, Backup: out.Backup, Seconds: out.Seconds, FellBack: len(out.Rejected) > 0,
		Message: strings.Join(out.Rejected, " | "),
	}
	if err != nil {
		a.Result, a.Message = catalog.Failing, err.Error()
	}
	werr := r.Repo.UpdateState(context.WithoutCancel(ctx), func(s *catalog.State) { *s = s.WithAutoRestore(a, failure.Of(err)) })
	if werr != nil {
		_ = level.Warn(r.Log).Log("msg", "the automatic restore could not be counted in the repository", "err", errors.Join(werr))
	}
	if err == nil {
		_ = level.Warn(r.Log).Log("msg", "AUTOMATIC RESTORE: the server was empty and now holds a backup", "backup", out.Backup,
			"databases", strings.Join(out.Databases, ","), "rows", out.Rows, "seconds", out.Seconds)
	}
}
