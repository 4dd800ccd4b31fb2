package gather

import (
	"cmp"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// listed bounds lists of clients and slots.
const listed = 50

// page is what one collection gave, by the metric's name.
type page map[string]*dto.MetricFamily

func newPage(families []*dto.MetricFamily) page {
	p := page{}
	for _, f := range families {
		p[f.GetName()] = f
	}
	return p
}

// each calls f for every sample of a metric.
func (p page) each(name string, f func(labels map[string]string, value float64)) {
	for _, m := range p[name].GetMetric() {
		labels := make(map[string]string, len(m.GetLabel()))
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		f(labels, m.GetGauge().GetValue()+m.GetCounter().GetValue()+m.GetUntyped().GetValue())
	}
}

// number is the first sample whose labels are these name-value pairs, nil when there is none.
func (p page) number(name string, pairs ...string) (found *float64) {
	p.each(name, func(labels map[string]string, value float64) {
		for i := 0; i < len(pairs); i += 2 {
			if labels[pairs[i]] != pairs[i+1] {
				return
			}
		}
		if found == nil && !math.IsNaN(value) && !math.IsInf(value, 0) {
			found = &value
		}
	})
	return found
}

func (p page) count(name string, pairs ...string) *int64 {
	v := p.number(name, pairs...)
	if v == nil {
		return nil
	}
	n := int64(*v)
	return &n
}

func (p page) yes(name string, pairs ...string) *bool {
	v := p.number(name, pairs...)
	if v == nil {
		return nil
	}
	is := *v != 0
	return &is
}

func (p page) time(name string) *time.Time {
	v := p.number(name)
	if v == nil {
		return nil
	}
	t := time.UnixMilli(int64(*v * 1000)).UTC()
	return &t
}

// word is the label of the one sample that is 1, such as a container's state.
func (p page) word(name, label string) (word string) {
	p.each(name, func(labels map[string]string, value float64) {
		if value == 1 {
			word = labels[label]
		}
	})
	return word
}

func (p page) connections() *status.Connections {
	used, most := p.count("pg_reliability_connections_used"), p.count("pg_reliability_connections_max")
	free, reserved := p.count("pg_reliability_connections_free"), p.count("pg_reliability_connections_superuser_reserved")
	if used == nil || most == nil || free == nil || reserved == nil {
		return nil
	}
	c := &status.Connections{
		Used: *used, Max: *most, Free: *free, SuperuserReserved: *reserved, Reserved: p.count("pg_reliability_connections_reserved"),
	}
	p.each("pg_stat_activity_count", func(labels map[string]string, value float64) {
		if c.ByState == nil {
			c.ByState = map[string]int64{}
		}
		c.ByState[labels["state"]] += int64(value)
	})
	return c
}

// volumes are all that were given, also those that can't be measured.
func (p page) volumes(paths map[string]string, trends *Trends) []status.Volume {
	out := []status.Volume{}
	for name, path := range paths {
		v := status.Volume{Name: name, Path: path}
		const prefix = "pg_reliability_volume_"
		size, available := p.count(prefix+"size_bytes", "volume", name), p.count(prefix+"available_bytes", "volume", name)
		if size == nil || available == nil {
			out = append(out, v)
			continue
		}
		v.OK, v.SizeBytes, v.AvailableBytes = true, size, available
		if free := p.count(prefix+"free_bytes", "volume", name); free != nil {
			used := *size - *free
			v.UsedBytes = &used
		}
		if *size > 0 {
			ratio := 1 - float64(*available)/float64(*size)
			v.UsedRatio = &ratio
		}
		v.ReadOnly = p.yes(prefix+"read_only", "volume", name)
		inodes, inodesFree := p.number(prefix+"inodes", "volume", name), p.number(prefix+"inodes_free", "volume", name)
		if inodes != nil && inodesFree != nil && *inodes > 0 {
			ratio := *inodesFree / *inodes
			v.InodesFreeRatio = &ratio
		}
		if t, ok := trends.of(name); ok {
			growth, over := t.growth, t.over.Seconds()
			v.GrowthBytesPerSecond, v.TrendSeconds = &growth, &over
			if left := float64(*available) / growth; growth > 0 && left < longestForecast.Seconds() {
				v.TimeToFullSeconds = &left
			}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b status.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (p page) container() *status.Container {
	const prefix = "pg_reliability_container_"
	running, restarts := p.yes(prefix+"running"), p.count(prefix+"restart_count")
	if running == nil || restarts == nil {
		return nil
	}
	c := &status.Container{
		Running: *running, RestartCount: *restarts, State: p.word(prefix+"state", "state"), Health: p.word(prefix+"health", "status"),
		StartedAt: p.time(prefix + "start_timestamp_seconds"), ExitCode: p.count(prefix + "exit_code"),
		MemoryLimitBytes: p.count(prefix + "memory_limit_bytes"), Image: p.word(prefix+"info", "image"),
	}
	if killed := p.yes(prefix + "oom_killed"); killed != nil {
		c.OOMKilled = *killed
	}
	p.each(prefix+"running", func(labels map[string]string, _ float64) { c.Name = labels["container"] })
	return c
}

func (p page) replication() *status.Replication {
	replica := p.yes("pg_replication_is_replica")
	if replica == nil {
		return nil
	}
	const prefix = "pg_reliability_replication_"
	r := &status.Replication{
		Streaming: p.yes(prefix + "streaming"), ReplayPaused: p.yes(prefix + "replay_paused"), BehindBytes: p.count(prefix + "behind_bytes"),
		SyncRequired: p.yes(prefix + "sync_required"), SyncClients: p.count(prefix + "sync_clients"), ClientCount: p.count(prefix + "clients"),
		Clients: p.clients(), Slots: p.slots(),
	}
	if *replica {
		r.LagSeconds = p.number("pg_replication_lag_seconds")
	}
	if n := int64(len(r.Slots)); p["pg_replication_slots_slot_is_active"] != nil {
		r.SlotCount = &n
	}
	return r
}

func (p page) clients() []status.ReplicationClient {
	out := []status.ReplicationClient{}
	p.each("pg_stat_replication_pg_current_wal_lsn_bytes", func(l map[string]string, _ float64) {
		same := []string{
			"application_name", l["application_name"], "client_addr", l["client_addr"], "state", l["state"], "slot_name", l["slot_name"],
		}
		out = append(out, status.ReplicationClient{
			ApplicationName: l["application_name"], Address: l["client_addr"], State: l["state"], SlotName: l["slot_name"],
			ReplayLagSeconds: p.number("pg_reliability_replication_client_replay_lag_seconds", same...),
			ReplayLagBytes:   p.count("pg_stat_replication_pg_wal_lsn_diff", same...),
		})
	})
	if len(out) > listed { // those furthest behind
		slices.SortFunc(out, func(a, b status.ReplicationClient) int {
			return cmp.Compare(deref(b.ReplayLagBytes), deref(a.ReplayLagBytes))
		})
		out = out[:listed]
	}
	slices.SortFunc(out, func(a, b status.ReplicationClient) int {
		return cmp.Or(cmp.Compare(a.ApplicationName, b.ApplicationName), cmp.Compare(a.Address, b.Address))
	})
	return out
}

// last sorts those for which it is true to the end.
func last(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (p page) slots() []status.Slot {
	out := []status.Slot{}
	p.each("pg_replication_slots_slot_is_active", func(l map[string]string, active float64) {
		same := []string{"slot_name", l["slot_name"], "slot_type", l["slot_type"]}
		s := status.Slot{
			Name: l["slot_name"], Type: l["slot_type"], Active: active == 1,
			RetainedBytes: p.count("pg_replication_slots_pg_wal_lsn_diff", "slot_name", l["slot_name"]),
			SafeBytes:     p.count("pg_replication_slots_safe_wal_size_bytes", same...),
			Invalidated:   p.yes("pg_reliability_slot_invalidated", same...),
		}
		p.each("pg_replication_slots_wal_status", func(of map[string]string, _ float64) {
			if of["slot_name"] == s.Name && of["slot_type"] == s.Type {
				s.WALStatus = of["wal_status"]
			}
		})
		out = append(out, s)
	})
	// Those that somebody must look at come first: lost, read by nobody, keeping much.
	slices.SortFunc(out, func(a, b status.Slot) int {
		return cmp.Or(last(deref(b.Invalidated), deref(a.Invalidated)), last(a.Active, b.Active),
			cmp.Compare(deref(b.RetainedBytes), deref(a.RetainedBytes)), cmp.Compare(a.Name, b.Name))
	})
	return out
}
