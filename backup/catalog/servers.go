package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// serversFile holds Servers.
const serversFile = "servers.json"

// Servers is what a repository was told about the servers whose backups it holds.
type Servers struct {
	Format int      `json:"format"`
	Known  []Member `json:"servers"`
	// Gone are databases of which somebody said that they are gone for good.
	Gone []Gone `json:"gone,omitempty"`
	// Unmissed are rows of extensions of which somebody said that nobody misses them.
	Unmissed []Unmissed `json:"unmissed,omitempty"`
}

// Member is a server whose backups may be in the repository.
type Member struct {
	// ID is PostgreSQL's system identifier: initdb makes one, a physical standby or copy has its primary's.
	ID    string    `json:"system_identifier"`
	Since time.Time `json:"since"`
	// Succeeds is the identifier of the server whose place this one took (a bootstrap from this repository,
	// pg_upgrade, a new machine): retention counts the backups of both together. "" for none.
	Succeeds string `json:"succeeds,omitempty"`
	By       string `json:"by"` // how it came in: one of the By... constants
	// Heir is the identifier of the server that took the place of this one since. Its own backups are refused: an old machine that comes
	// back must not displace those of the new one. "" for none.
	Heir string `json:"heir,omitempty"`
	// Ended is the newest backup's sequence number at the time when somebody said that this server's line is gone for good: nobody waits for
	// further backups of it. 0 for none. A later backup of the line is waited for again.
	Ended uint64 `json:"ended,omitempty"`
}

// How a server came to be known.
const (
	ByBackup    = "backup"    // the first of an empty repository
	ByManifest  = "manifest"  // a backup of it was here before servers were noted
	ByBootstrap = "bootstrap" // it was filled from a backup of this repository
	ByInit      = "init"      // somebody said so
)

// Gone says that a database is gone for good: backups up to Sequence are not kept for its sake.
type Gone struct {
	Server   string    `json:"server,omitempty"` // as Line says
	Engine   string    `json:"engine"`
	Set      string    `json:"set"`
	Database string    `json:"database"`
	Sequence uint64    `json:"sequence"`
	At       time.Time `json:"at"`
}

// Unmissed says that what an extension keeps in a table or sequence (schema.name, as an Omission of kind ExtensionData names it) need be in
// no backup of a server's database.
type Unmissed struct {
	Server   string    `json:"server,omitempty"` // as Line says
	Database string    `json:"database"`
	Name     string    `json:"name"`
	At       time.Time `json:"at"`
}

// Unmiss notes what nobody misses, once.
func (s *Servers) Unmiss(u Unmissed) {
	same := func(o Unmissed) bool { return o.Server == u.Server && o.Database == u.Database && o.Name == u.Name }
	if !slices.ContainsFunc(s.Unmissed, same) {
		s.Unmissed = append(s.Unmissed, u)
	}
}

// Excuse makes what somebody said that nobody misses a choice: of kind ExcludedDatabase, which alerts nobody.
func (s Servers) Excuse(m *Manifest) {
	line := s.Line(m.Server.SystemIdentifier)
	for i, o := range m.Omitted {
		if o.Kind == ExtensionData && slices.ContainsFunc(s.Unmissed, func(u Unmissed) bool {
			return s.Line(u.Server) == line && u.Database == o.Database && u.Name == o.Of()
		}) {
			m.Omitted[i] = Omission{Kind: ExcludedDatabase, Database: o.Database, Name: o.Name, Why: "somebody said that nobody misses it"}
		}
	}
}

// Line names the line of servers that one belongs to: the first that those after it succeeded. A server that is not
// known, or an empty identifier, is a line of its own.
func (s Servers) Line(id string) string {
	for range s.Known { // bounded: a file that somebody wrote may hold a circle
		i := slices.IndexFunc(s.Known, func(m Member) bool { return m.ID == id })
		if i < 0 || s.Known[i].Succeeds == "" {
			break
		}
		id = s.Known[i].Succeeds
	}
	return id
}

// Lines lists the lines of the known servers.
func (s Servers) Lines() []string {
	var lines []string
	for _, m := range s.Known {
		if line := s.Line(m.ID); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Knows says whether backups of a server may be in the repository.
func (s Servers) Knows(id string) bool {
	return slices.ContainsFunc(s.Known, func(m Member) bool { return m.ID == id })
}

// End notes that nobody waits for backups of a line after those up to a sequence number.
func (s *Servers) End(line string, sequence uint64) {
	for i, m := range s.Known {
		if s.Line(m.ID) == line {
			s.Known[i].Ended = max(m.Ended, sequence)
		}
	}
}

// Awaited splits a list by the lines of servers whose backups somebody waits for, so that a fresh backup of one does not make another's
// late one look fresh. A server that somebody let in and that has made none yet has an empty list. Where there are not several lines it is
// the whole list, in one.
func (s Servers) Awaited(all []Backup) map[string][]Backup {
	s = s.With(all)
	of := map[string][]Backup{}
	for _, b := range all {
		if line := s.KindOf(b.Manifest).Server; line != "" {
			of[line] = append(of[line], b)
		}
	}
	for _, m := range s.Known {
		if line := s.Line(m.ID); m.By == ByInit && of[line] == nil {
			of[line] = []Backup{}
		}
	}
	if len(of) > 1 {
		maps.DeleteFunc(of, func(line string, list []Backup) bool {
			return slices.ContainsFunc(s.Known, func(m Member) bool {
				return s.Line(m.ID) == line && m.Ended > 0 && (len(list) == 0 || list[0].Sequence <= m.Ended)
			})
		})
		if len(of) > 0 {
			return of
		}
	}
	return map[string][]Backup{strings.Join(slices.Collect(maps.Keys(of)), ""): all}
}

// Kind is what backups are compared, counted and kept among: those of one line of servers, one engine and one set.
type Kind struct{ Server, Engine, Set string }

// KindOf is a backup's kind. Engine is "" of one whose manifest can't be read. One that does not say its server is of the
// only line there is, else of none.
func (s Servers) KindOf(m Manifest) Kind {
	id := m.Server.SystemIdentifier
	if lines := s.Lines(); id == "" && len(lines) == 1 && m.Engine != "" {
		id = lines[0]
	}
	return Kind{s.Line(id), m.Engine, m.Set}
}

// Of narrows a list to the backups of one server's line, where the list has those of several: whose rows come back must not
// depend on whose backup is the newest. The server is the one restored into, which may be new and have none, or named, when
// somebody said whose backups are meant. A backup whose server is not known stays in the list.
func (s Servers) Of(all []Backup, id string, named bool) ([]Backup, error) {
	s = s.With(all)
	holds := map[string][]string{} // databases by line
	for _, b := range all {
		if line := s.KindOf(b.Manifest).Server; line != "" {
			holds[line] = holds[line][:len(holds[line]):len(holds[line])] // there, with or without databases
			for _, db := range b.Manifest.Databases {
				if !slices.Contains(holds[line], db.Name) {
					holds[line] = append(holds[line], db.Name)
				}
			}
		}
	}
	if !named && len(holds) <= 1 {
		return all, nil
	}
	line := s.Line(id)
	if _, ok := holds[line]; id != "" && ok {
		return slices.DeleteFunc(slices.Clone(all), func(b Backup) bool {
			of := s.KindOf(b.Manifest).Server
			return of != "" && of != line
		}), nil
	}
	var have []string
	for _, line := range slices.Sorted(maps.Keys(holds)) {
		have = append(have, Printable(fmt.Sprintf("%s (databases %s)", line, strings.Join(slices.Sorted(slices.Values(holds[line])), ", "))))
	}
	if named {
		return nil, failure.New(failure.Nothing, "the repository has no backup of a server %s, nothing was changed", Printable(id)).
			WithHint("It has those of %s.", strings.Join(have, "; "))
	}
	if id != "" {
		id = fmt.Sprintf(", and none of this one (system identifier %s)", Printable(id))
	}
	return nil, failure.New(failure.Config, "there are backups of %d servers%s, nothing was changed", len(holds), id).
		WithHint("Say whose are meant, with --of-server: %s. A restore takes a backup's id, too.", strings.Join(have, "; "))
}

// IsGone says whether a database of a backup was said to be gone for good since.
func (s Servers) IsGone(k Kind, database string, sequence uint64) bool {
	return slices.ContainsFunc(s.Gone, func(g Gone) bool {
		return s.Line(g.Server) == k.Server && g.Engine == k.Engine && g.Set == k.Set && g.Database == database && sequence <= g.Sequence
	})
}

// GoneFromLine says whether a database of a line's backups, of whatever kind, was said to be gone for good since.
func (s Servers) GoneFromLine(line, database string, sequence uint64) bool {
	return slices.ContainsFunc(s.Gone, func(g Gone) bool {
		return s.Line(g.Server) == line && g.Database == database && sequence <= g.Sequence
	})
}

// WithoutGone is the manifest of a backup without the databases that were said to be gone for good since: nobody looks for them.
func (s Servers) WithoutGone(b Backup) Manifest {
	kind := s.KindOf(b.Manifest)
	m := b.Manifest
	m.Databases = slices.DeleteFunc(slices.Clone(m.Databases), func(d Database) bool { return s.IsGone(kind, d.Name, b.Sequence) })
	return m
}

// LetGo notes that databases of a kind are gone for good: backups up to a sequence number are not kept for their sake.
func (s *Servers) LetGo(k Kind, databases []string, sequence uint64, now time.Time) {
	for _, name := range databases {
		g := Gone{Server: k.Server, Engine: k.Engine, Set: k.Set, Database: name, Sequence: sequence, At: now.UTC()}
		i := slices.IndexFunc(s.Gone, func(o Gone) bool {
			return o.Server == g.Server && o.Engine == g.Engine && o.Set == g.Set && o.Database == name
		})
		if i < 0 {
			s.Gone = append(s.Gone, g)
		} else if s.Gone[i].Sequence < sequence {
			s.Gone[i] = g
		}
	}
}

// setAside are the names restore and bootstrap give to databases they replaced.
var setAside = regexp.MustCompile(`_before_\d{8}T\d{6}$`)

// SetAside says whether a database is one that a restore replaced and kept: dropping it loses nothing that counts.
func SetAside(database string) bool { return setAside.MatchString(database) }

// Servers reads what the repository knows of its servers. Those of the given backups are among them, whether or not they
// were ever noted.
func (r *Repository) Servers(all []Backup) (Servers, error) {
	s, err := r.readServers()
	return s.With(all), err
}

// With adds the servers of a list of backups that are not noted yet, the oldest first.
func (s Servers) With(all []Backup) Servers {
	s.Known = slices.Clone(s.Known)
	for i := len(all) - 1; i >= 0; i-- {
		m := all[i].Manifest
		if id := m.Server.SystemIdentifier; id != "" && !s.Knows(id) {
			s.Known = append(s.Known, Member{ID: id, Since: m.Started, By: ByManifest})
		}
	}
	return s
}

// everyServer is Servers with all backups of the repository.
func (r *Repository) everyServer() (Servers, error) {
	all, err := r.Brief()
	if err != nil {
		return Servers{}, err
	}
	return r.Servers(all)
}

// readServers reads the file. One that is cut is an error: who guessed would let a second server in.
func (r *Repository) readServers() (Servers, error) {
	var s Servers
	b, err := readFile(filepath.Join(r.dir, serversFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Format > FormatVersion {
		err = fmt.Errorf("it has format %d; this program knows %d", s.Format, FormatVersion)
	}
	if err != nil {
		return s, failure.New(failure.Repository, "repository %s: read %s: %w", r.dir, serversFile, err).
			WithHint("It says whose backups these are. If it is cut, move it away: it is made anew from the backups' manifests.")
	}
	return s, nil
}

// UpdateServers changes what the repository knows of its servers, atomically. Servers of manifests are noted with it.
func (r *Repository) UpdateServers(ctx context.Context, change func(*Servers)) error {
	if err := r.Present(); err != nil {
		return err
	}
	unlock, err := r.lockWait(ctx, lockState)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := r.everyServer()
	if err != nil {
		return err
	}
	s.Format = FormatVersion
	change(&s)
	return r.replace(filepath.Join(r.dir, serversFile), s)
}

// Add makes a server known; one that is known stays as it is, unless it shall take another's place.
func (s *Servers) Add(m Member) {
	if m.ID == m.Succeeds || m.Succeeds != "" && s.Line(m.Succeeds) == m.ID { // not its own successor
		m.Succeeds = ""
	}
	i := slices.IndexFunc(s.Known, func(k Member) bool { return k.ID == m.ID })
	switch {
	case i < 0:
		s.Known = append(s.Known, m)
	case m.Succeeds != "" && s.Line(m.ID) != s.Line(m.Succeeds):
		s.Known[i] = m
	}
}

// Admit refuses a server the repository does not know, unless the repository is empty: its first backup decides. The
// error is of reason failure.Config, and nothing was written.
func (r *Repository) Admit(id string) error {
	s, err := r.everyServer()
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(s.Known, func(m Member) bool { return m.ID == id && m.Heir != "" }); i >= 0 {
		heir := s.Known[i].Heir
		return failure.New(failure.Config, "repository %s: server %s took the place of this one (system identifier %s), nothing was written",
			r.dir, heir, id).WithHint("End the backups of this server: they would displace those of the other. If this is the one to go on "+
			"with: `pg_reliability_backup init --take-over=%s`. If both go on, give this one a --repository of its own.", heir)
	}
	if len(s.Known) == 0 || id == "" || s.Knows(id) {
		return nil
	}
	last := s.Known[len(s.Known)-1].ID
	return failure.New(failure.Config, "repository %s holds backups of another server (system identifier %s, this one has %s), nothing was "+
		"written",
		r.dir, last, id).WithHint("Give this server a --repository of its own. If it shall share this one: `pg_reliability_backup init "+
		"--add-server`. "+
		"If it has taken the other's place (pg_upgrade, a new machine): `pg_reliability_backup init --take-over=%s`.", last)
}

// elders are the other servers of a server's line that were known before it and have no heir yet.
func (s Servers) elders(id string) []int {
	var elders []int
	for i, m := range s.Known {
		if m.ID == id {
			break
		}
		if m.Heir == "" && s.Line(m.ID) == s.Line(id) {
			elders = append(elders, i)
		}
	}
	return elders
}

// TakePlace makes a known server the only one of its line that may go on.
func (s *Servers) TakePlace(id string) {
	for i := range s.Known {
		switch m := &s.Known[i]; {
		case m.ID == id:
			m.Heir = ""
		case m.Heir == "" && s.Line(m.ID) == s.Line(id):
			m.Heir = id
		}
	}
}

// noted makes sure that a server is in the file, for the first backup of it. With that it has taken the place of those before it in its
// line: one that was filled from this repository to look at something, and makes no backups, has not.
func (r *Repository) noted(id string, now time.Time) error {
	s, err := r.readServers()
	if err != nil || id == "" || s.Knows(id) && len(s.elders(id)) == 0 {
		return err
	}
	return r.UpdateServers(context.Background(), func(s *Servers) {
		s.Add(Member{ID: id, Since: now.UTC(), By: ByBackup})
		for _, i := range s.elders(id) {
			s.Known[i].Heir = id
		}
	})
}

// Filled notes that a server was filled from a backup of this repository: it takes the place of the backup's
// server, and its own backups follow.
func (r *Repository) Filled(ctx context.Context, id string, from Backup, now time.Time) error {
	return r.UpdateServers(ctx, func(s *Servers) {
		if !s.Knows(id) {
			s.Add(Member{ID: id, Since: now.UTC(), By: ByBootstrap, Succeeds: from.Manifest.Server.SystemIdentifier})
		}
	})
}
