package gather

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/collector/source"
	"github.com/pg-reliability/pg_reliability_exporter/collector/sqlmetric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
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
func (p page) each(d *metric.Desc, f func(labels map[string]string, value float64)) {
	for _, m := range p[d.Name].GetMetric() {
		labels := make(map[string]string, len(m.GetLabel()))
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		f(labels, m.GetGauge().GetValue()+m.GetCounter().GetValue()+m.GetUntyped().GetValue())
	}
}

// by is the first sample of each value of these labels, several values put together.
func (p page) by(d *metric.Desc, labels ...string) map[string]float64 {
	out := map[string]float64{}
	p.each(d, func(l map[string]string, value float64) {
		if key := keyOf(l, labels); !math.IsNaN(value) && !math.IsInf(value, 0) {
			if _, twice := out[key]; !twice {
				out[key] = value
			}
		}
	})
	return out
}

// keyOf puts the values of labels together.
func keyOf(l map[string]string, labels []string) string {
	values := make([]string, len(labels))
	for i, name := range labels {
		values[i] = l[name]
	}
	return strings.Join(values, "\x00")
}

// whole is a value as a number without a fraction, nil where it is absent.
func whole(of map[string]float64, key string) *int64 {
	v, ok := of[key]
	if !ok {
		return nil
	}
	n := int64(v)
	return &n
}

// number is the first sample whose labels are these name-value pairs, nil when there is none.
func (p page) number(d *metric.Desc, pairs ...string) (found *float64) {
	p.each(d, func(labels map[string]string, value float64) {
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

func (p page) count(d *metric.Desc, pairs ...string) *int64 {
	v := p.number(d, pairs...)
	if v == nil {
		return nil
	}
	n := int64(*v)
	return &n
}

func (p page) yes(d *metric.Desc, pairs ...string) *bool {
	v := p.number(d, pairs...)
	if v == nil {
		return nil
	}
	is := *v != 0
	return &is
}

func (p page) time(d *metric.Desc) *time.Time {
	v := p.number(d)
	if v == nil {
		return nil
	}
	t := time.UnixMilli(int64(*v * 1000)).UTC()
	return &t
}

// word is the label of the one sample that is 1, such as a container's state.
func (p page) word(d *metric.Desc, label string) (word string) {
	p.each(d, func(labels map[string]string, value float64) {
		if value == 1 {
			word = labels[label]
		}
	})
	return word
}

func (p page) connections() *status.Connections {
	used, most := p.count(sqlmetric.ConnectionsUsed), p.count(sqlmetric.ConnectionsMax)
	free, reserved := p.count(sqlmetric.ConnectionsFree), p.count(sqlmetric.ConnectionsSuperuserReserved)
	if used == nil || most == nil || free == nil || reserved == nil {
		return nil
	}
	c := &status.Connections{
		Used: *used, Max: *most, Free: *free, SuperuserReserved: *reserved, Reserved: p.count(sqlmetric.ConnectionsReserved),
	}
	p.each(sqlmetric.PgStatActivityCount, func(labels map[string]string, value float64) {
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
		size, available := p.count(source.VolumeSize, "volume", name), p.count(source.VolumeAvailable, "volume", name)
		if size == nil || available == nil {
			out = append(out, v)
			continue
		}
		v.OK, v.SizeBytes, v.AvailableBytes = true, size, available
		if free := p.count(source.VolumeFree, "volume", name); free != nil {
			used := *size - *free
			v.UsedBytes = &used
		}
		if *size > 0 {
			ratio := 1 - float64(*available)/float64(*size)
			v.UsedRatio = &ratio
		}
		v.ReadOnly = p.yes(source.VolumeReadOnly, "volume", name)
		inodes, inodesFree := p.number(source.VolumeInodes, "volume", name), p.number(source.VolumeInodesFree, "volume", name)
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
	running, restarts := p.yes(source.ContainerRunning), p.count(source.ContainerRestarts)
	if running == nil || restarts == nil {
		return nil
	}
	c := &status.Container{
		Running: *running, RestartCount: *restarts, State: p.word(source.ContainerState, "state"),
		Health:    p.word(source.ContainerHealth, "status"),
		StartedAt: p.time(source.ContainerStarted), ExitCode: p.count(source.ContainerExitCode),
		MemoryLimitBytes: p.count(source.ContainerMemoryLimit), Image: p.word(source.ContainerInfo, "image"),
	}
	if killed := p.yes(source.ContainerOOMKilled); killed != nil {
		c.OOMKilled = *killed
	}
	p.each(source.ContainerRunning, func(labels map[string]string, _ float64) { c.Name = labels["container"] })
	return c
}

func (p page) replication() *status.Replication {
	replica := p.yes(sqlmetric.PgReplicationIsReplica)
	if replica == nil {
		return nil
	}
	r := &status.Replication{
		Streaming: p.yes(sqlmetric.ReplicationStreaming), ReplayPaused: p.yes(sqlmetric.ReplicationReplayPaused),
		BehindBytes:  p.count(sqlmetric.ReplicationBehindBytes),
		SyncRequired: p.yes(sqlmetric.ReplicationSyncRequired), SyncClients: p.count(sqlmetric.ReplicationSyncClients),
		ClientCount: p.count(sqlmetric.ReplicationClients),
		Clients:     p.clients(), Slots: p.slots(),
	}
	if *replica {
		r.LagSeconds = p.number(sqlmetric.PgReplicationLagSeconds)
	}
	if n := int64(len(r.Slots)); p[sqlmetric.PgReplicationSlotsSlotIsActive.Name] != nil {
		r.SlotCount = &n
	}
	return r
}

func (p page) clients() []status.ReplicationClient {
	out := []status.ReplicationClient{}
	is := []string{"application_name", "client_addr", "state", "slot_name"}
	lag, behind := p.by(sqlmetric.ReplicationClientReplayLagSeconds, is...), p.by(sqlmetric.PgStatReplicationPgWalLsnDiff, is...)
	p.each(sqlmetric.PgStatReplicationPgCurrentWalLsnBytes, func(l map[string]string, _ float64) {
		c := status.ReplicationClient{
			ApplicationName: l["application_name"], Address: l["client_addr"], State: l["state"], SlotName: l["slot_name"],
			ReplayLagBytes: whole(behind, keyOf(l, is)),
		}
		if seconds, ok := lag[keyOf(l, is)]; ok {
			c.ReplayLagSeconds = &seconds
		}
		out = append(out, c)
	})
	if len(out) > listed { // those furthest behind
		slices.SortFunc(out, func(a, b status.ReplicationClient) int {
			return cmp.Compare(status.OrZero(b.ReplayLagBytes), status.OrZero(a.ReplayLagBytes))
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
	is := []string{"slot_name", "slot_type"}
	safe, invalid := p.by(sqlmetric.PgReplicationSlotsSafeWalSizeBytes, is...), p.by(sqlmetric.SlotInvalidated, is...)
	retained := p.by(sqlmetric.PgReplicationSlotsPgWalLsnDiff, "slot_name")
	words := map[string]string{}
	p.each(sqlmetric.PgReplicationSlotsWalStatus, func(l map[string]string, _ float64) { words[keyOf(l, is)] = l["wal_status"] })
	p.each(sqlmetric.PgReplicationSlotsSlotIsActive, func(l map[string]string, active float64) {
		s := status.Slot{
			Name: l["slot_name"], Type: l["slot_type"], Active: active == 1, WALStatus: words[keyOf(l, is)],
			RetainedBytes: whole(retained, l["slot_name"]), SafeBytes: whole(safe, keyOf(l, is)),
		}
		if lost, ok := invalid[keyOf(l, is)]; ok {
			invalidated := lost != 0
			s.Invalidated = &invalidated
		}
		out = append(out, s)
	})
	// Those that somebody must look at come first: lost, read by nobody, keeping much.
	slices.SortFunc(out, func(a, b status.Slot) int {
		return cmp.Or(last(status.OrZero(b.Invalidated), status.OrZero(a.Invalidated)), last(a.Active, b.Active),
			cmp.Compare(status.OrZero(b.RetainedBytes), status.OrZero(a.RetainedBytes)), cmp.Compare(a.Name, b.Name))
	})
	return out
}
