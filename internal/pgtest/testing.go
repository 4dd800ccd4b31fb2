package pgtest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// New starts a cluster for a test and closes it at the test's end. On a failure the end of the
// server's log is shown.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Install.BinDir == "" {
		o.Install = install(t, defaultMajor(t))
	}
	c, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("server log:\n%s", lastLines(c.Log(), 20))
		}
		if err := c.Close(); err != nil {
			t.Errorf("close the cluster: %v", err)
		}
	})
	return c
}

// EachVersion runs a test against PostgreSQL 13 to 19 when PGTEST_VERSIONS=all
// (`make test-versions`), otherwise against the one version of the other tests. A version of which there is no package is
// left out, and the test says so, unless PGTEST_BIN_19 or its like names one.
func EachVersion(t *testing.T, o Options, f func(t *testing.T, c *Cluster)) {
	t.Helper()
	majors := []int{defaultMajor(t)}
	if os.Getenv("PGTEST_VERSIONS") == "all" {
		majors = Supported()
	}
	for _, major := range majors {
		t.Run(fmt.Sprintf("postgres-%d", major), func(t *testing.T) {
			if major != 0 && !packaged(major) && os.Getenv("PGTEST_VERSIONS") == "all" {
				if _, err := Find(major); err != nil && os.Getenv(binVariable(major)) == "" {
					t.Skip(err)
				}
			}
			o := o
			o.Install = install(t, major)
			f(t, New(t, o))
		})
	}
}

// Eventually calls f again and again until it returns nil, and fails the test with f's last error after the given time; what
// that is on a machine with other work, Patience says.
func Eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	within = Patience(within)
	deadline := time.Now().Add(within)
	for {
		asked := time.Now()
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(pause(time.Since(asked)))
	}
}

// pause is how long Eventually waits before it asks again: three times as long as the asking took, so that what is waited for has
// the most of the machine, and never so long that a test would notice.
func pause(took time.Duration) time.Duration {
	return min(max(3*took, 10*time.Millisecond), 100*time.Millisecond)
}

// defaultMajor is PGTEST_VERSION, or 0 for the newest with client tools.
func defaultMajor(t testing.TB) int {
	t.Helper()
	v := os.Getenv("PGTEST_VERSION")
	if v == "" {
		return 0
	}
	major, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("PGTEST_VERSION=%q is not a major version such as 15", v)
	}
	return major
}

// install fails the test where the version is missing: a skipped test proves nothing.
func install(t testing.TB, major int) Install {
	t.Helper()
	i, err := Find(major)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
