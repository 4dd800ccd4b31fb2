package gather

import (
	"fmt"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// Objectives are what was promised to somebody; zero where nothing was.
type Objectives struct {
	// Loss is RPO: how much may be lost. Return is RTO: how long a restore may take.
	Loss, Return time.Duration
}

// recovery says for each store what a loss of the server's data would cost now. It measures, and never guesses: the loss is the age of the
// newest state that the store has, the time of the return is that of the last restore that was compared, per byte, of today's newest
// backup. What was not measured is left out, and the sentence says so.
func recovery(l *metrics.Listing, o Objectives, now time.Time) []status.Recovery {
	local := status.Recovery{Store: status.Repository, LossSeconds: ageOf(now, l.RecoveryPoint)}
	if estimate, ok := metrics.Estimate(l); ok {
		local.ReturnSeconds = &estimate
	}
	if v := l.Verification; v != nil {
		local.ProvedAt = timeOf(v.At)
	}
	offsite := status.Recovery{Store: status.Offsite, LossSeconds: ageOf(now, l.OffsiteFinished)}
	if offsite.LossSeconds != nil {
		offsite.ReturnSeconds, offsite.ProvedAt = local.ReturnSeconds, local.ProvedAt
	}
	list := []status.Recovery{local, offsite}
	for i := range list {
		list[i].Sentence = sentence(list[i], now)
		list[i].LossMissed, list[i].ReturnMissed = missed(list[i].LossSeconds, o.Loss), missed(list[i].ReturnSeconds, o.Return)
	}
	return list
}

// recovery is a problem where the repository itself does not keep what was promised.
func (f *found) recovery(b *status.Backups) {
	if b == nil {
		return
	}
	for _, r := range b.Recovery {
		f.critical(r.Store == status.Repository && r.LossMissed, "PostgresRecoveryPointMissed",
			"more would be lost than was promised: %s", r.Sentence)
		f.warning(r.Store == status.Repository && r.ReturnMissed, "PostgresRecoveryTimeMissed", "a restore takes longer than was promised: %s",
			r.Sentence)
	}
}

func missed(seconds *float64, objective time.Duration) bool {
	return seconds != nil && objective > 0 && *seconds > objective.Seconds()
}

// sentence says one for people.
func sentence(r status.Recovery, now time.Time) string {
	what, back := "If the server's data is lost now", "back in about %s"
	if r.Store == status.Offsite {
		what, back = "If this host burns now, and the repository with it", "back in about %s, and what the download takes"
	}
	if r.LossSeconds == nil {
		if r.Store == status.Offsite {
			return what + ", everything is lost: no complete copy is off-site."
		}
		return what + ", everything is lost: there is no good backup."
	}
	text := fmt.Sprintf("%s, you lose the last %s; ", what, status.Lasting(*r.LossSeconds))
	if r.ReturnSeconds != nil {
		text += fmt.Sprintf(back, status.Lasting(*r.ReturnSeconds))
	} else {
		text += "how long a restore takes is not known"
	}
	if r.ProvedAt == nil {
		return text + ", and no backup was proven by a restore."
	}
	return text + fmt.Sprintf(", proved %s ago.", status.Lasting(max(0, now.Sub(*r.ProvedAt).Seconds())))
}
