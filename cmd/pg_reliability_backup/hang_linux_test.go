package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// hang mounts a file system that never answers over a directory, as a network mount does whose server is dead.
func hang(t *testing.T, dir string) (end func()) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	err = unix.Mount("hanging", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", f.Fd()))
	if err != nil {
		_ = f.Close()
		t.Skipf("FUSE can't be mounted here: %v", err)
	}
	end = sync.OnceFunc(func() { // whoever waits gets an error
		_ = f.Close()
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
	t.Cleanup(end)
	return end
}

func TestHungRepositoryHoldsNobodyUp(t *testing.T) {
	b := newLoneBench(t)
	b.must("run")
	d := b.daemon("--cron", "0 3 1 1 *", "--web.max-requests=10")
	pgtest.Eventually(t, 30*time.Second, func() error {
		_, page, err := d.get("/metrics")
		if err == nil && !strings.Contains(page, "pg_reliability_backup_catalog_up 1") {
			err = fmt.Errorf("%.300s", page)
		}
		return err
	})
	end := hang(t, b.repo)
	// The reading before stands for it for a while, with its age.
	if _, page, err := d.get("/metrics"); err != nil || !strings.Contains(page, "pg_reliability_backup_catalog_up 1") ||
		!strings.Contains(page, "pg_reliability_backup_catalog_age_seconds ") {
		t.Errorf("%v\n%.500s", err, page)
	}
	// Many scrapes and health checks are all answered, or turned away, and soon.
	var clients sync.WaitGroup
	began := time.Now()
	for i := range 40 {
		path := []string{"/metrics", "/-/healthy"}[i%2]
		clients.Go(func() {
			client := http.Client{Timeout: 30 * time.Second}
			resp, err := client.Get(d.url + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			_ = resp.Body.Close()
		})
	}
	clients.Wait()
	t.Logf("40 requests of a hung repository took %s", time.Since(began))
	if !long() { // it takes a minute until the reading before is too old
		return
	}
	pgtest.Eventually(t, 2*time.Minute, func() error {
		_, page, err := d.get("/metrics")
		if err == nil && (!strings.Contains(page, "pg_reliability_backup_catalog_up 0") ||
			!strings.Contains(page, `catalog_error_info{reason="timeout"} 1`)) {
			err = fmt.Errorf("it still counts as readable")
		}
		return err
	})
	if status, text, err := d.get("/-/healthy"); err != nil || status != http.StatusServiceUnavailable ||
		!strings.Contains(text, "does not answer") {
		t.Errorf("healthy: %d %s, %v", status, text, err)
	}
	end()
	pgtest.Eventually(t, 30*time.Second, func() error {
		_, page, err := d.get("/metrics")
		if err == nil && !strings.Contains(page, "pg_reliability_backup_catalog_up 1") {
			err = fmt.Errorf("it is not read again: %.300s", page)
		}
		return err
	})
	for _, line := range strings.Split(d.logs.String(), "\n") {
		if strings.Count(" "+line, " ts=")+strings.Count(" "+line, " time=") > 1 {
			t.Errorf("two times in %s", line)
		}
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
}
