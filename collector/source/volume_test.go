package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// measured is a source, as the engine sees it.
type measured interface {
	Collect(ctx context.Context, out *metric.Sink) error
}

// collected runs one collection and returns its samples as `name{value,value}`.
func collected(t *testing.T, s measured) (map[string]float64, error) {
	t.Helper()
	declared := slices.Concat(DeclaredVolumes(), DeclaredContainer())
	var out metric.Sink
	err := s.Collect(t.Context(), &out)
	values := map[string]float64{}
	for _, sample := range out.Samples {
		if !slices.Contains(declared, sample.Desc) {
			t.Errorf("%s is emitted but not in Declared", sample.Desc.Name)
		}
		if len(sample.Labels) != len(sample.Desc.Labels) {
			t.Errorf("%s has labels %v, declares %v", sample.Desc.Name, sample.Labels, sample.Desc.Labels)
		}
		key := sample.Desc.Name + "{" + strings.Join(sample.Labels, ",") + "}"
		if _, twice := values[key]; twice {
			t.Errorf("%s is emitted twice", key)
		}
		values[key] = sample.Value
	}
	return values, err
}

func newVolumes(t *testing.T, specs ...string) *Volumes {
	t.Helper()
	v, err := NewVolumes(specs)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVolumeSpecErrorsSayWhatIsRight(t *testing.T) {
	for name, tc := range map[string]struct {
		specs []string
		want  string
	}{
		"no name":       {[]string{"/var/lib"}, `volume "/var/lib" has no name. HINT: Write name=/path`},
		"empty name":    {[]string{"=/var/lib"}, `the name "" is not fit for a label. HINT:`},
		"bad name":      {[]string{"Data-1=/var/lib"}, `the name "Data-1" is not fit for a label. HINT:`},
		"relative path": {[]string{"data=var/lib"}, `the path "var/lib" is not absolute. HINT:`},
		"no path":       {[]string{"data="}, `the path "" is not absolute. HINT:`},
		"twice":         {[]string{"data=/a", "data=/b"}, `the name "data" is taken by /a. HINT:`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewVolumes(tc.specs)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to hold %q", err, tc.want)
			}
		})
	}
}

func TestVolumeMissingDoesNotHideOthers(t *testing.T) {
	dir := t.TempDir()
	got, err := collected(t, newVolumes(t, "gone="+dir+"/gone", "data="+dir))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "volume gone at "+dir+"/gone: statfs: ") ||
		!strings.Contains(err.Error(), "HINT: Name a directory as this machine has it") {
		t.Errorf("error %v, want it to name the volume, its path, the cause and the remedy", err)
	}
	if reason := postgres.ReasonOf(err); reason != postgres.Other {
		t.Errorf("a missing path has the reason %s", reason)
	}
	if got["pg_reliability_volume_success{gone}"] != 0 || got["pg_reliability_volume_success{data}"] != 1 {
		t.Errorf("success is wrong: %v", got)
	}
	size, free, available := got["pg_reliability_volume_size_bytes{data}"],
		got["pg_reliability_volume_free_bytes{data}"], got["pg_reliability_volume_available_bytes{data}"]
	if size <= 0 || free > size || available > free {
		t.Errorf("size %v >= free %v >= available %v > 0 does not hold", size, free, available)
	}
	if v, ok := got["pg_reliability_volume_read_only{data}"]; !ok || v != 0 {
		t.Errorf("read_only is %v (%v), want 0", v, ok)
	}
	if _, ok := got["pg_reliability_volume_size_bytes{gone}"]; ok {
		t.Error("a missing volume has a size")
	}
}

func TestVolumeWithoutInodesHasNoInodeValues(t *testing.T) {
	v := newVolumes(t, "data=/data")
	v.measure = func(string) (volumeStat, error) { return volumeStat{size: 1}, nil } // as btrfs answers
	got, err := collected(t, v)
	if err != nil {
		t.Fatal(err)
	}
	for key := range got {
		if strings.Contains(key, "inodes") || strings.Contains(key, "info") {
			t.Errorf("%s is emitted though unknown", key)
		}
	}
}

func TestVolumeThatHangsCostsOneGoroutineAndComesBack(t *testing.T) {
	v := newVolumes(t, "wal=/wal", "data=/data")
	v.wait = 20 * time.Millisecond
	release := make(chan struct{})
	var calls int // only the first call for /wal hangs
	v.measure = func(path string) (volumeStat, error) {
		if path == "/wal" {
			if calls++; calls == 1 {
				<-release
				return volumeStat{size: 111}, nil
			}
		}
		return volumeStat{size: 222}, nil
	}
	before := runtime.NumGoroutine()
	for range 10 {
		got, err := collected(t, v)
		if err == nil || !strings.Contains(err.Error(), "volume wal at /wal: the file system has not answered for") {
			t.Fatalf("error %v, want the hang", err)
		}
		if reason := postgres.ReasonOf(err); reason != postgres.Timeout {
			t.Fatalf("a hang has the reason %s", reason)
		}
		if _, ok := got["pg_reliability_volume_size_bytes{wal}"]; ok || got["pg_reliability_volume_success{wal}"] != 0 {
			t.Fatalf("the hung volume has values: %v", got)
		}
		if got["pg_reliability_volume_size_bytes{data}"] != 222 {
			t.Fatalf("the other volume is hidden: %v", got)
		}
	}
	pgtest.Eventually(t, time.Minute, func() error { // those of the volumes that answered end a moment after their answer
		if more := runtime.NumGoroutine() - before; more > 1 {
			return fmt.Errorf("%d goroutines more than before, want one", more)
		}
		return nil
	})
	hung := v.volumes[0].pending
	close(release)
	<-hung.done
	got, err := collected(t, v)
	if err != nil {
		t.Fatal(err)
	}
	if size := got["pg_reliability_volume_size_bytes{wal}"]; size != 222 {
		t.Errorf("size is %v, want 222, measured now and not when the call began", size)
	}
}

func TestVolumeReturnsAtTheContextsEnd(t *testing.T) {
	v := newVolumes(t, "data=/data")
	v.wait = time.Hour
	release := make(chan struct{})
	defer close(release)
	v.measure = func(string) (volumeStat, error) { <-release; return volumeStat{}, nil }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := v.Collect(ctx, &metric.Sink{}); err == nil {
		t.Error("no error for a volume that did not answer")
	}
}
