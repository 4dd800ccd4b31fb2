// Package source measures what is not SQL: file systems, the container, the catalogue of backups.
package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// volumeWait is how long one collection waits for all file systems together. A healthy statfs(2)
// takes microseconds; a network file system that needs longer is as good as gone for a database.
const volumeWait = 2 * time.Second

var volumeName = regexp.MustCompile(`^[a-z0-9_]+$`)

var errVolumeHangs = errors.New("the file system has not answered")

// volumeReason keeps a file system's errors from being read as a server's: a path that is not there is
// no connection refused.
func volumeReason(err error) postgres.Reason {
	switch {
	case errors.Is(err, errVolumeHangs):
		return postgres.Timeout
	case errors.Is(err, fs.ErrPermission):
		return postgres.Permission
	}
	return postgres.Other
}

// volumeRemedy is what a person can do about a path that was mistyped or is closed.
func volumeRemedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ". HINT: Name a directory as this machine has it, or this container, in --volume=NAME=/path"
	case errors.Is(err, fs.ErrPermission):
		return ". HINT: Let the exporter's user search (chmod o+x, or a group) each directory above that path"
	}
	return ""
}

// Volumes measures the file systems the database and its backups live on.
//
// Each volume is measured by itself: one that is missing or hangs costs its own values alone. The system
// calls on a dead mount never return and can't be cancelled, so at most one is under way per volume;
// until it returns, the volume is reported as failed and its values are absent.
type Volumes struct {
	wait    time.Duration
	measure func(path string) (volumeStat, error)
	now     func() time.Time
	// onMeasured, if set, is told each volume that could be measured.
	onMeasured func(name string, used, available uint64, readOnly bool)

	collecting sync.Mutex // serialises Collect; guards the volumes' pending
	volumes    []*volume
}

type volume struct {
	name, path string
	// pending is the measurement that did not return in time, nil when there is none.
	pending *measurement
}

type measurement struct {
	started time.Time
	done    chan struct{} // closed when stat and err are set
	stat    volumeStat
	err     error
}

// volumeStat is what one file system said. Sizes are bytes.
type volumeStat struct {
	size, free, available uint64
	// inodes is 0 on file systems that do not count them.
	inodes, inodesFree uint64
	readOnly           bool
	// device, fstype and mountpoint are empty where the system does not tell.
	device, fstype, mountpoint string
}

// NewVolumes parses each "name=/path", such as "data=/var/lib/postgresql". Names are unique and of
// [a-z0-9_]; by convention data, wal and backup.
func NewVolumes(specs []string) (*Volumes, error) {
	v := &Volumes{wait: volumeWait, measure: statVolume, now: time.Now}
	seen := map[string]string{}
	for _, spec := range specs {
		name, path, found := strings.Cut(spec, "=")
		switch {
		case !found:
			return nil, fmt.Errorf("volume %q has no name. HINT: Write name=/path, such as data=/var/lib/postgresql", spec)
		case !volumeName.MatchString(name):
			return nil, fmt.Errorf("volume %q: the name %q is not fit for a label. HINT: Use a-z, 0-9 and _, such as data, wal or backup", spec,
				name)
		case !filepath.IsAbs(path):
			return nil, fmt.Errorf("volume %q: the path %q is not absolute. HINT: Begin it with /", spec, path)
		case seen[name] != "":
			return nil, fmt.Errorf("volume %q: the name %q is taken by %s. HINT: Give each volume a name of its own", spec, name, seen[name])
		}
		seen[name] = path
		v.volumes = append(v.volumes, &volume{name: name, path: filepath.Clean(path)})
	}
	return v, nil
}

// The metrics of volumes.
var (
	volumeMetrics metric.List

	VolumeSuccess = volumeMetrics.Gauge("pg_reliability_volume_success",
		"1 if the volume's file system answered in time, 0 if it failed or hangs.", "volume")
	VolumeSize = volumeMetrics.Gauge("pg_reliability_volume_size_bytes", "Size of the volume's file system.", "volume")
	VolumeFree = volumeMetrics.Gauge("pg_reliability_volume_free_bytes",
		"Free space of the file system, including what is reserved for root.", "volume")
	VolumeAvailable = volumeMetrics.Gauge("pg_reliability_volume_available_bytes",
		"Free space that PostgreSQL, not being root, can use.", "volume")
	VolumeInodes = volumeMetrics.Gauge("pg_reliability_volume_inodes",
		"Files the file system can hold; absent where it has no such limit.", "volume")
	VolumeInodesFree = volumeMetrics.Gauge("pg_reliability_volume_inodes_free",
		"Files that can still be created; absent where there is no such limit.", "volume")
	VolumeReadOnly = volumeMetrics.Gauge("pg_reliability_volume_read_only",
		"1 if nothing can be written: mounted or remounted read-only, or switched so by the kernel after an error. A file system "+
			"that is read-only for the exporter alone, as in a container, is 0.", "volume")
	VolumeInfo = volumeMetrics.Gauge("pg_reliability_volume_info",
		"What the volume is; the value is 1.", "volume", "device", "fstype", "mountpoint")
)

// OnMeasured registers a function that is told the bytes used and available of each volume that could be measured, and whether nothing
// can be written to it, each time. It must not block, and be registered before the first Collect.
func (v *Volumes) OnMeasured(f func(name string, used, available uint64, readOnly bool)) {
	v.onMeasured = f
}

// Paths are the volumes' directories by name.
func (v *Volumes) Paths() map[string]string {
	paths := map[string]string{}
	for _, vol := range v.volumes {
		paths[vol.name] = vol.path
	}
	return paths
}

// Name is volume.
func (v *Volumes) Name() string { return "volume" }

// Help is one line for users.
func (v *Volumes) Help() string {
	return "Space, inodes and read-only state of the file systems given with --volume."
}

// DeclaredVolumes lists the metrics of volumes.
func DeclaredVolumes() []*metric.Desc { return volumeMetrics }

// Collect reports each volume it can read and returns an error for each it cannot. It returns within 2 s,
// or at ctx's end if that is earlier, also when a file system never answers.
func (v *Volumes) Collect(ctx context.Context, out *metric.Sink) error {
	v.collecting.Lock()
	defer v.collecting.Unlock()

	ctx, cancel := context.WithTimeout(ctx, v.wait)
	defer cancel()
	for _, vol := range v.volumes {
		v.start(vol)
	}
	var errs []error
	for _, vol := range v.volumes {
		stat, err := v.await(ctx, vol)
		if err != nil {
			errs = append(errs, &postgres.Failure{
				Reason: volumeReason(err),
				Err:    fmt.Errorf("volume %s at %s: %w%s", vol.name, vol.path, err, volumeRemedy(err)),
			})
			out.Bool(VolumeSuccess, false, vol.name)
			continue
		}
		out.Bool(VolumeSuccess, true, vol.name)
		v.emit(out, vol.name, stat)
		if v.onMeasured != nil {
			v.onMeasured(vol.name, stat.size-stat.free, stat.available, stat.readOnly)
		}
	}
	return errors.Join(errs...)
}

// start begins a measurement unless an earlier one still hangs.
func (v *Volumes) start(vol *volume) {
	if m := vol.pending; m != nil {
		select {
		case <-m.done: // it came back, but tells of an earlier time: measure anew
		default:
			return
		}
	}
	m := &measurement{started: v.now(), done: make(chan struct{})}
	vol.pending = m
	go func() {
		defer close(m.done)
		m.stat, m.err = v.measure(vol.path)
	}()
}

// await returns the measurement, or an error when it is not there at ctx's end.
func (v *Volumes) await(ctx context.Context, vol *volume) (volumeStat, error) {
	m := vol.pending
	select {
	case <-m.done:
	case <-ctx.Done():
		select {
		case <-m.done: // both were ready: a result counts more than the deadline
		default:
			return volumeStat{}, fmt.Errorf(
				"%w for %s. HINT: See the kernel's log: a dead network mount or a failing disk",
				errVolumeHangs, v.now().Sub(m.started).Round(time.Millisecond))
		}
	}
	vol.pending = nil
	return m.stat, m.err
}

func (v *Volumes) emit(out *metric.Sink, name string, s volumeStat) {
	out.Add(VolumeSize, float64(s.size), name)
	out.Add(VolumeFree, float64(s.free), name)
	out.Add(VolumeAvailable, float64(s.available), name)
	if s.inodes > 0 {
		out.Add(VolumeInodes, float64(s.inodes), name)
		out.Add(VolumeInodesFree, float64(s.inodesFree), name)
	}
	out.Bool(VolumeReadOnly, s.readOnly, name)
	if s.fstype != "" {
		out.Add(VolumeInfo, 1, name, s.device, s.fstype, s.mountpoint)
	}
}
