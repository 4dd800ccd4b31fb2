package gather

import (
	"math"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// budgetWindow is what the error budget is of.
const budgetWindow = 30 * 24 * time.Hour

// prober fills in what the prober's books tell.
func (g *Gatherer) prober(s *status.Status, now time.Time, windows Windows) {
	p := g.o.Prober
	snapshot := p.Snapshot()
	s.Server = server(snapshot)
	hour, day, month := p.HistoryTotals(now)
	s.Availability = status.Availability{
		Hour: window(hour), Day: window(day), Month: window(month),
		Budget: budget(g.o.Thresholds.Objective, month.Down),
	}
	s.History = history(p, now, windows)
	s.Outages = outages(snapshot, p.Outages(now))
	for _, k := range probe.RestartKinds() {
		s.Restarts = append(s.Restarts, restart(p, snapshot, k))
	}
}

// server is nil before the server has answered this exporter once.
func server(s probe.Snapshot) *status.Server {
	is := s.Server
	if is.Version == 0 && is.Role == probe.UnknownRole {
		return nil
	}
	out := &status.Server{
		Role: string(is.Role), VersionNumber: is.Version, Version: versionText(is.Version), StartedAt: timeOf(is.StartTime),
		SystemIdentifier: is.SystemIdentifier, Timeline: is.Timeline, Address: is.Address,
	}
	if is.Role == probe.Standby && is.ReplayLag >= 0 {
		out.ReplayLagSeconds = seconds(is.ReplayLag)
	}
	return out
}

func window(b probe.HistoryBucket) status.Window {
	w := status.Window{UpSeconds: inSeconds(b.Up), DownSeconds: inSeconds(b.Down),
		UnknownSeconds: inSeconds(b.Unknown.Round(time.Millisecond))}
	if observed := b.Up + b.Down; observed > 0 {
		ratio := b.Up.Seconds() / observed.Seconds()
		w.Ratio = &ratio
	}
	if b.Probes > 0 {
		w.P50Seconds, w.P95Seconds, w.MaxSeconds = seconds(b.P50), seconds(b.P95), seconds(b.Max)
	}
	return w
}

func budget(objective float64, down time.Duration) status.Budget {
	allowed := math.Round((1-objective)*budgetWindow.Seconds()*1000) / 1000
	return status.Budget{
		ObjectiveRatio: objective, WindowSeconds: budgetWindow.Seconds(),
		AllowedSeconds: allowed, SpentSeconds: down.Seconds(), LeftSeconds: allowed - down.Seconds(),
	}
}

func history(p Prober, now time.Time, windows Windows) status.History {
	out := status.History{
		Hour:  status.Series{BucketSeconds: probe.HourBucket.Seconds()},
		Day:   status.Series{BucketSeconds: probe.DayBucket.Seconds()},
		Month: status.Series{BucketSeconds: probe.MonthBucket.Seconds()},
	}
	if windows == (Windows{}) {
		return out
	}
	h := p.History(now)
	if windows.Hour {
		out.Hour.Buckets = buckets(h.Hour)
	}
	if windows.Day {
		out.Day.Buckets = buckets(h.Day)
	}
	if windows.Month {
		out.Month.Buckets = buckets(h.Month)
	}
	return out
}

func buckets(of []probe.HistoryBucket) []status.Bucket {
	out := make([]status.Bucket, 0, len(of))
	for _, b := range of {
		to := status.Bucket{
			Start: b.Start, UpSeconds: inSeconds(b.Up), DownSeconds: inSeconds(b.Down), UnknownSeconds: inSeconds(b.Unknown.Round(time.Millisecond)),
			Probes: b.Probes,
		}
		if b.Probes > 0 {
			to.P50Seconds, to.P95Seconds, to.MaxSeconds = seconds(b.P50), seconds(b.P95), seconds(b.Max)
		}
		out = append(out, to)
	}
	return out
}

func outages(s probe.Snapshot, recent []probe.Outage) status.Outages {
	out := status.Outages{Count: s.Outages, DowntimeSeconds: s.Downtime.Seconds(), Recent: make([]status.Outage, 0, len(recent))}
	if s.LongestOutage > 0 {
		out.LongestSeconds = seconds(s.LongestOutage)
	}
	for _, o := range recent {
		is := status.Outage{Start: o.Start, End: timeOf(o.End), Seconds: o.Seconds, Reason: string(o.Reason)}
		for _, k := range o.Restarts {
			is.Restarts = append(is.Restarts, string(k))
		}
		out.Recent = append(out.Recent, is)
	}
	return out
}

// restart leaves the count out of what can't be told and never could, as the metric does.
func restart(p Prober, s probe.Snapshot, k probe.RestartKind) status.Restart {
	observable, known := p.Observable(k)
	out := status.Restart{Kind: string(k), LastAt: timeOf(s.LastRestart[k])}
	if known {
		out.Observable = &observable
	}
	if n := s.Restarts[k]; n > 0 || observable || !known && k != probe.Crash {
		out.Count = &n
	}
	return out
}
