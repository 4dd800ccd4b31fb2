package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The file of the history: a mark, a version, the target, then of each ring its width and the number of its buckets that
// follow, all as unsigned varints; at the end the CRC-32 of what is before it, most significant byte first. At
// most 45 KB when every number is as large as it gets.
const (
	historyFile    = "history.bin"
	historyMark    = "pg_reliability history\n"
	historyVersion = 1
)

// encode is the file's content.
func (h *history) encode(target string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := append(make([]byte, 0, 16<<10), historyMark...)
	out = binary.AppendUvarint(out, historyVersion)
	out = binary.AppendUvarint(out, uint64(len(target)))
	out = append(out, target...)
	for _, r := range h.rings {
		used := uint64(0)
		for i := range r.buckets {
			if r.buckets[i].start != 0 {
				used++
			}
		}
		out = binary.AppendUvarint(out, uint64(r.width))
		out = binary.AppendUvarint(out, used)
		for i := range r.buckets {
			if b := &r.buckets[i]; b.start != 0 {
				out = b.append(out)
			}
		}
	}
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

func (b *bucket) append(out []byte) []byte {
	for _, n := range [...]uint32{b.start, b.up, b.down, b.max} {
		out = binary.AppendUvarint(out, uint64(n))
	}
	for _, n := range b.bins {
		out = binary.AppendUvarint(out, uint64(n))
	}
	return out
}

// decode fills an empty history from a file's content. why is empty when it can be used.
func (h *history) decode(data []byte, target string) (why setAside, err error) {
	d := decoder{rest: data}
	if d.text(len(historyMark)) != historyMark {
		return asideCorrupt, errors.New("not a history file")
	}
	if v := d.number(); v > historyVersion {
		return asideFutureVersion, fmt.Errorf("version %d is newer than this exporter's %d", v, historyVersion)
	}
	if len(data) < crc32.Size || crc32.ChecksumIEEE(data[:len(data)-crc32.Size]) != binary.BigEndian.Uint32(data[len(data)-crc32.Size:]) {
		return asideCorrupt, errors.New("its checksum is wrong")
	}
	if of := d.text(int(d.number())); of != target && !d.failed {
		return asideOtherTarget, fmt.Errorf("it belongs to %q, not to %q", of, target)
	}
	for _, r := range h.rings {
		d.ring(r)
	}
	if d.failed || len(d.rest) != crc32.Size {
		return asideCorrupt, errors.New("its content makes no sense")
	}
	return "", nil
}

// decoder reads numbers; what can't be read sets failed, and is 0.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) number() uint32 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > 1<<32-1 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return uint32(n)
}

func (d *decoder) text(size int) string {
	if size < 0 || size > len(d.rest) {
		d.failed, d.rest = true, nil
		return ""
	}
	s := string(d.rest[:size])
	d.rest = d.rest[size:]
	return s
}

func (d *decoder) ring(r ring) {
	width, used := d.number(), d.number()
	if width != r.width || used > uint32(len(r.buckets)) {
		d.failed = true
		return
	}
	for range used {
		b := bucket{start: d.number(), up: d.number(), down: d.number(), max: d.number()}
		for i := range b.bins {
			b.bins[i] = d.number()
		}
		if b.start == 0 || b.start%width != 0 || uint64(b.up)+uint64(b.down) > uint64(width)*uint64(time.Second/time.Millisecond) {
			d.failed = true
			return
		}
		*r.at(int64(b.start)) = b
	}
}
