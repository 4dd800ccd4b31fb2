package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Plan says what a restore would meet on its server.
type Plan struct {
	// Standing is what stands in the place; nil when nothing does.
	Standing *Standing `json:"standing,omitempty"`
	// Refusal is why the restore would be refused; "" when nothing is in the way.
	Refusal string `json:"refusal,omitempty"`
	// Warnings are what would not be as before.
	Warnings []string `json:"warnings,omitempty"`

	refused error
}

// Refused is the error with which the restore would be refused, nil when nothing is in the way.
func (p Plan) Refused() error { return p.refused }

// Plan looks at the server as a restore does before it begins, and changes nothing.
func (r *Restorer) Plan(ctx context.Context, o Options) (Plan, error) {
	p, err := o.place()
	if err != nil {
		return Plan{}, err
	}
	return r.plan(ctx, o.Backup, p.as, []string{p.as}, func(s *session, plan *Plan) (err error) {
		if plan.Standing, err = standing(ctx, s.conn, p.as); err != nil {
			return err
		}
		if err := s.survey(ctx, []*place{p}); err != nil {
			return notTheBackup(err)
		}
		if err := s.checkExtensions(ctx, p.database); err != nil {
			return notTheBackup(err)
		}
		if plan.Standing != nil && plan.Standing.Sessions > 0 {
			s.warn("%d sessions in database %s would be ended", plan.Standing.Sessions, p.as)
		}
		return nil
	})
}

// PlanTable is Plan for one table's rows, for which nothing has to make room.
func (r *Restorer) PlanTable(ctx context.Context, o TableOptions) (Plan, error) {
	if _, err := o.table(); err != nil {
		return Plan{}, err
	}
	return r.plan(ctx, o.Backup, o.Schema+"."+o.Table, nil, func(s *session, _ *Plan) error { return s.mayRestoreTable(ctx, o.into()) })
}

// plan asks what holds for any restore of the backup, and then what holds for this one. What a restore would end with is no
// error, but in the plan; an error says that the plan could not be made.
func (r *Restorer) plan(ctx context.Context, b catalog.Backup, name string, swapped []string,
	this func(*session, *Plan) error) (plan Plan, err error) {
	s, err := r.look(ctx, swapped...)
	if err != nil {
		return plan, err
	}
	defer s.close()
	s.Log = log.NewNopLogger() // the plan has the warnings
	s.compareServers(b)
	if err = s.notOlder(b); err == nil {
		err = r.hasPrograms(ctx, b, s.facts.Major())
	}
	if err == nil {
		err = this(s, &plan)
	}
	plan.Warnings = s.warnings
	var refused *failure.Error
	if err != nil && !errors.As(err, &refused) {
		return plan, err
	}
	if err != nil {
		plan.refused = s.restoreFailure(name, err)
		plan.Refusal = plan.refused.Error()
	}
	return plan, nil
}

// hasPrograms says whether the machine has what loads the backup into a server of that version.
func (r *Restorer) hasPrograms(ctx context.Context, b catalog.Backup, major int) error {
	e, err := engine.Of(r.Engines, b)
	if err != nil {
		return err
	}
	if loader := e.Restoring().Databases; loader != nil {
		_, err = loader.Programs(ctx, major)
	}
	return err
}

// look opens a session that only reads: without the lock, and without removing anything.
func (r *Restorer) look(ctx context.Context, swapped ...string) (*session, error) {
	s := &session{Restorer: r.prepared()}
	s.Target = s.Target.ReadOnly()
	if err := s.enter(ctx, swapped); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// foretell says what a bootstrap from a backup would do and meet.
func (s *session) foretell(ctx context.Context, b catalog.Backup, candidates []catalog.Backup) (Outcome, error) {
	if err := s.notOlder(b); err != nil {
		return Outcome{}, err
	}
	places, err := s.foreseen(ctx, b)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Result: Restored, Backup: b.ID}
	var databases []catalog.Database
	for _, p := range places {
		out.Databases = append(out.Databases, p.as)
		out.Rows += p.database.Contents.Rows()
		databases = append(databases, p.database)
	}
	if err := s.mayRestore(ctx, databases...); err != nil {
		return Outcome{}, err
	}
	for _, db := range databases {
		if err := s.checkExtensions(ctx, db); err != nil {
			return Outcome{}, err
		}
	}
	for _, l := range s.loans(b, candidates) {
		if l.database == "postgres" && s.hollowLoan(ctx, l) {
			continue
		}
		if out.From == nil {
			out.From = map[string]string{}
		}
		out.From[l.database] = l.from[0].ID
		out.Databases = append(out.Databases, l.database)
		lent, _ := l.from[0].Manifest.Database(l.database)
		out.Rows += lent.Contents.Rows()
		out.Warnings = append(out.Warnings, l.says(l.from[0], b))
	}
	for _, o := range b.Manifest.Omitted {
		if !out.lent(o) {
			out.Lacks = append(out.Lacks, o.String())
		}
	}
	met, err := s.foresee(ctx, out.Databases)
	out.Warnings = slices.Concat(s.warnings, out.Warnings, met)
	return out, err
}

// foreseen are the places that the databases of a backup would get.
func (s *session) foreseen(ctx context.Context, b catalog.Backup) ([]*place, error) {
	e, err := engine.Of(s.Engines, b)
	if err != nil {
		return nil, err
	}
	release, err := s.Repo.Hold(b.ID)
	if err != nil {
		return nil, failure.New(failure.Repository, "backup %s: %w", b.ID, err)
	}
	defer release()
	return s.placesOf(ctx, e.Restoring().Databases, b)
}

// foresee says what would be met where databases are to come.
func (s *session) foresee(ctx context.Context, databases []string) (warnings []string, err error) {
	for _, name := range databases {
		st, err := standing(ctx, s.conn, name)
		if err != nil {
			return nil, err
		}
		if st == nil {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("the empty database %s would be kept under another name", name))
		warnings = append(warnings, st.remarks()...)
		if st.Sessions > 0 {
			warnings = append(warnings, fmt.Sprintf("%d sessions in database %s would be ended", st.Sessions, name))
		}
		if err := st.refusal(false); err != nil {
			warnings = append(warnings, "it would be refused: "+strings.TrimSuffix(err.Error(), "; nothing was changed"))
		}
	}
	return warnings, nil
}
