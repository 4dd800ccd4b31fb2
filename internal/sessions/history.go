package sessions

import "time"

// Kept is how long samples are remembered.
const Kept = 5 * time.Minute

// maxKept bounds them where reads are more frequent than one a second.
const maxKept = 300

// history is a ring of samples, in a form that holds no text of its own.
type history struct {
	ring  []record
	next  int
	names []string
	index map[string]uint16
}

// record is a sample in 88 bytes: 26 kB in all.
type record struct {
	at                                        int64
	used, most, active, idle, blocked, waited int32
	oldest                                    float32
	waits                                     [keptWaits]struct {
		name uint16
		n    int32
	}
}

func (h *history) add(s Sample) {
	r := record{at: s.At.UnixNano(), used: int32(s.Used), most: int32(s.Max), active: int32(s.Active), idle: int32(s.IdleInTransaction),
		blocked: int32(s.Blocked), oldest: float32(s.OldestSeconds)}
	for _, w := range s.Waits[:min(len(s.Waits), keptWaits)] {
		r.waits[r.waited].name, r.waits[r.waited].n = h.nameOf(w.Event), int32(w.Sessions)
		r.waited++
	}
	if len(h.ring) < maxKept {
		if n := len(h.ring); n == cap(h.ring) { // append would leave room behind the last one
			h.ring = append(make([]record, 0, min(maxKept, max(2*n, maxKept/8))), h.ring...)
		}
		h.ring = append(h.ring, r)
		return
	}
	h.ring[h.next] = r
	h.next = (h.next + 1) % maxKept
}

func (h *history) nameOf(event string) uint16 {
	if n, ok := h.index[event]; ok {
		return n
	}
	if h.index == nil {
		h.index = map[string]uint16{}
	}
	if len(h.names) >= 2*maxSeries {
		event = other
		if n, ok := h.index[event]; ok {
			return n
		}
	}
	n := uint16(len(h.names))
	h.names, h.index[event] = append(h.names, event), n
	return n
}

// since lists the samples from a moment on, oldest first.
func (h *history) since(from time.Time) []Sample {
	out := make([]Sample, 0, len(h.ring))
	for i := range h.ring {
		r := h.ring[(h.next+i)%len(h.ring)]
		at := time.Unix(0, r.at).UTC()
		if at.Before(from) {
			continue
		}
		s := Sample{At: at, Used: int(r.used), Max: int(r.most), Active: int(r.active), IdleInTransaction: int(r.idle),
			Blocked: int(r.blocked), OldestSeconds: float64(r.oldest)}
		for _, w := range r.waits[:r.waited] {
			s.Waits = append(s.Waits, Wait{h.names[w.name], int(w.n)})
		}
		out = append(out, s)
	}
	return out
}
