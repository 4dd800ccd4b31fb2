package restore

import (
	"context"
	"fmt"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// Plan says what a restore would meet on its server.
type Plan struct {
	// Standing is what stands in the place; nil when nothing does.
	Standing *Standing `json:"standing,omitempty"`
	// Refusal is why the restore would be refused; "" when nothing is in the way.
	Refusal string `json:"refusal,omitempty"`
	// Warnings are what would not be as before.
	Warnings []string `json:"warnings,omitempty"`
}

// Plan looks at the server, and changes nothing.
func (r *Restorer) Plan(ctx context.Context, o Options) (Plan, error) {
	p, err := o.place()
	if err != nil {
		return Plan{}, err
	}
	s, err := r.look(ctx, p.as)
	if err != nil {
		return Plan{}, err
	}
	defer s.close()
	var plan Plan
	if w := otherServer(o.Backup, s.facts); w != "" {
		plan.Warnings = append(plan.Warnings, w)
	}
	if plan.Standing, err = standing(ctx, s.conn, p.as); err != nil || plan.Standing == nil {
		return plan, err
	}
	if err := plan.Standing.refusal(o.DropOld); err != nil {
		plan.Refusal = err.Error()
	}
	plan.Warnings = append(plan.Warnings, plan.Standing.remarks()...)
	if n := plan.Standing.Sessions; n > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%d sessions in database %s would be ended", n, p.as))
	}
	return plan, nil
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
	out := Outcome{Result: Restored, Backup: b.ID, Databases: databaseNames(b)}
	for _, l := range s.loans(b, candidates) {
		if out.From == nil {
			out.From = map[string]string{}
		}
		out.From[l.database] = l.from[0].ID
		out.Databases = append(out.Databases, l.database)
		out.Warnings = append(out.Warnings, l.says(l.from[0], b))
	}
	for _, o := range b.Manifest.Omitted {
		if _, here := out.From[o.Database]; !here || !o.Kind.Incomplete() {
			out.Lacks = append(out.Lacks, o.String())
		}
	}
	met, err := s.foresee(ctx, out.Databases)
	out.Warnings = append(out.Warnings, met...)
	return out, err
}

// foresee says what would be met where databases are to come.
func (s *session) foresee(ctx context.Context, databases []string) (warnings []string, err error) {
	for _, name := range databases {
		if name == "postgres" || name == "template1" {
			continue
		}
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
