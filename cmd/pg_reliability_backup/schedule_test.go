package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// daemonProcess is a running `schedule`.
type daemonProcess struct {
	b    *bench
	cmd  *exec.Cmd
	url  string
	logs *pgtest.Buffer
}

func (b *bench) daemon(args ...string) *daemonProcess {
	b.t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		b.t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	d := &daemonProcess{b: b, url: "http://" + address, logs: &pgtest.Buffer{}}
	d.cmd = b.cmd(append([]string{"schedule", "--web.listen-address", address}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = d.logs, d.logs
	if err := d.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = d.cmd.Process.Kill(); _ = d.cmd.Wait() })
	return d
}

func (d *daemonProcess) get(path string) (int, string, error) {
	res, err := http.Get(d.url + path) //nolint:noctx // a test's
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// stop asks the daemon to end and expects that it does so in order.
func (d *daemonProcess) stop() {
	d.b.t.Helper()
	before := len(d.logs.String())
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		d.b.t.Errorf("the daemon: %v\n%s", err, d.logs)
	}
	if last := d.logs.String()[before:]; strings.Contains(last, "level=error") {
		d.b.t.Errorf("an orderly stop logs errors:\n%s", last)
	}
}

func parse(t *testing.T, text string) samples {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	all := samples{}
	for _, f := range families {
		for k, v := range flatten([]*dto.MetricFamily{f}) {
			all[k] = v
		}
	}
	return all
}

func TestTenRunsSevenKeptEachVerifiedMetricsAgree(t *testing.T) {
	b := newBench(t)
	textfile := filepath.Join(t.TempDir(), "backup.prom")
	d := b.daemon("--cron", "@every 1s", "--textfile", textfile)
	pgtest.Eventually(t, 90*time.Second, func() error {
		if n := b.gather()["runs_total{reason=,result=success}"]; n < 10 {
			return fmt.Errorf("%v runs\n%s", n, d.logs)
		}
		if newest := b.list()[0]; newest.Health != catalog.Verified {
			return fmt.Errorf("the newest is %s", newest.Health)
		}
		return nil
	})
	code, text, err := d.get("/-/healthy")
	if err != nil || code != http.StatusOK {
		t.Errorf("/-/healthy: %d %s %v", code, text, err)
	}
	d.stop() // ends what it is doing in order
	all := b.list()
	verified := 0
	for _, x := range all {
		if x.Health == catalog.Verified {
			verified++
		}
	}
	// The run that the stop interrupted may have published without verifying.
	if len(all) < 7 || len(all) > 8 || verified < len(all)-1 {
		t.Errorf("%d backups, %d verified, want 7 of 7\n%s", len(all), verified, d.logs)
	}
	d = b.daemon("--cron", "0 3 1 1 *", "--textfile", textfile)
	var page string
	pgtest.Eventually(t, 20*time.Second, func() error {
		_, page, err = d.get("/metrics")
		return err
	})
	b.want(0, "run", "--verify", "--textfile", textfile)
	_, page, _ = d.get("/metrics")
	fromDaemon, fromFile, fromExporter := parse(t, page), parse(t, string(read(t, textfile))), b.gather()
	for name, want := range fromExporter {
		if name == "age_limit_seconds" { // a year's, and moves with the clock
			continue
		}
		for where, s := range map[string]samples{"daemon": fromDaemon, "textfile": fromFile} {
			got, ok := s[name]
			if strings.Contains(name, "age_seconds") || strings.Contains(name, "rpo") || strings.Contains(name, "free_bytes") {
				if !ok || got < 0 || got > 60 && !strings.Contains(name, "free") {
					t.Errorf("%s in the %s = %v (present: %t)", name, where, got, ok)
				}
			} else if !ok || got != want {
				t.Errorf("%s in the %s = %v (present: %t), the exporter has %v", name, where, got, ok, want)
			}
		}
	}
	for _, name := range []string{
		"last_success_timestamp_seconds", "last_attempt_timestamp_seconds", "last_verified_timestamp_seconds", "age_seconds",
		"verified_age_seconds", "last_size_bytes", "previous_size_bytes", "last_duration_seconds", "restore_duration_seconds",
		"next_run_timestamp_seconds", "schedule_interval_seconds", "repository_size_bytes", "repository_free_bytes",
		"pg_reliability_rpo_seconds", "pg_reliability_rto_seconds",
	} {
		if v, ok := fromExporter[name]; !ok || v <= 0 {
			t.Errorf("%s = %v (present: %t), want it above 0", name, v, ok)
		}
	}
	if v, u := fromExporter["count{state=verified}"], fromExporter["count{state=unverified}"]; v+u != 7 || u > 1 {
		t.Errorf("%v verified and %v unverified, want 7 together", v, u)
	}
	fromExporter.expect(t, "count{state=damaged}", 0)
	fromExporter.expect(t, "retention_target", 7)
	fromExporter.expect(t, "catalog_up", 1)
	fromExporter.expect(t, "last_rows", 2000)
	promtool(t, page)
	promtool(t, string(read(t, textfile)))
	d.stop()
}

// promtool judges names, types and help texts.
func promtool(t *testing.T, page string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed. HINT: apt-get install prometheus")
	}
	cmd := exec.Command(path, "check", "metrics")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// A list of verified backups must not hide that the daemon is away.
func TestAListTellsOfALateRun(t *testing.T) {
	b := newBench(t)
	repo, err := catalog.Open(b.repo)
	if err != nil {
		t.Fatal(err)
	}
	for ago, late := range map[time.Duration]bool{-time.Hour: false, 20 * time.Second: false, time.Hour: true} {
		next := time.Now().Add(-ago)
		err := repo.UpdateState(t.Context(), func(s *catalog.State) {
			s.Schedule = &catalog.Schedule{Expression: "0 2 * * *", TimeZone: "UTC", Next: next}
		})
		if err != nil {
			t.Fatal(err)
		}
		if said := b.must("list"); strings.Contains(said, "late: the run of "+next.Format(time.RFC3339)) != late {
			t.Errorf("due %s ago: %s", ago, said)
		}
	}
}

func TestDaemonCatchesUpAMissedRunOnce(t *testing.T) {
	b := newBench(t)
	b.run()
	repo, err := catalog.Open(b.repo)
	if err != nil {
		t.Fatal(err)
	}
	// The daemon was there for the run of three days ago, and for none since.
	err = repo.UpdateState(t.Context(), func(s *catalog.State) {
		s.Schedule = &catalog.Schedule{Expression: "0 2 * * *", TimeZone: "UTC", LastDue: time.Now().Add(-72 * time.Hour)}
	})
	if err != nil {
		t.Fatal(err)
	}
	d := b.daemon("--no-verify", "--time-zone", "Europe/Vienna")
	pgtest.Eventually(t, 20*time.Second, func() error {
		if n := len(b.list()); n != 2 {
			return fmt.Errorf("%d backups\n%s", n, d.logs)
		}
		return nil
	})
	pgtest.Eventually(t, 10*time.Second, func() error {
		s, err := repo.State()
		if err == nil && (s.Schedule == nil || time.Since(s.Schedule.LastDue) > time.Minute) {
			err = errors.New("the catch-up is not noted")
		}
		return err
	})
	d.stop()
	again := b.daemon("--no-verify", "--time-zone", "Europe/Vienna")
	pgtest.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(again.logs.String(), "next run") {
			return fmt.Errorf("no plan yet\n%s", again.logs)
		}
		return nil
	})
	if n := len(b.list()); n != 2 {
		t.Errorf("%d backups after the second start, want 2: it was caught up already", n)
	}
	again.stop()
}

// Another server's verified backup does not stand for this one's, which nobody has proven.
func TestEachServersNewestBackupIsRehearsed(t *testing.T) {
	b := newBench(t)
	b.must("run", "--verify")
	proven := b.list()[0]
	b.must("run")
	mine := b.list()[0]
	b.clone(filepath.Join(b.repo, "backups", proven.ID), proven, 3)
	b.rewrite(filepath.Join(b.repo, "backups", b.list()[0].ID), func(m map[string]any) {
		m["server"].(map[string]any)["system_identifier"] = "7"
	})
	if theirs := b.list()[0]; theirs.Health != catalog.Verified || theirs.Sequence != 3 {
		t.Fatalf("the other server's backup is %s, of run %d", theirs.Health, theirs.Sequence)
	}
	d := b.daemon("--cron", "@daily", "--verify-schedule", "@every 1s")
	pgtest.Eventually(t, time.Minute, func() error {
		if got := b.list()[1]; got.ID != mine.ID || got.Health != catalog.Verified {
			return fmt.Errorf("%s is %s, want %s verified\n%s", got.ID, got.Health, mine.ID, d.logs)
		}
		return nil
	})
	d.stop()
}

func TestDaemonOutlivesAHangUp(t *testing.T) {
	b := newBench(t)
	b.must("run")
	d := b.daemon("--cron", "@daily", "--no-verify")
	waitFor := func(what string) {
		t.Helper()
		pgtest.Eventually(t, 20*time.Second, func() error {
			if !strings.Contains(d.logs.String(), what) {
				return fmt.Errorf("no %q in\n%s", what, d.logs)
			}
			return nil
		})
	}
	waitFor("msg=starting")
	_ = d.cmd.Process.Signal(syscall.SIGHUP)
	waitFor("SIGHUP changes nothing")
	pgtest.Eventually(t, 20*time.Second, func() error {
		code, text, err := d.get("/-/healthy")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%d %s", code, text)
		}
		return err
	})
	d.stop()
}

// Whatever mask the program was started with, its owner can read what it made.
func TestMaskOfModesTakesNothingFromTheOwner(t *testing.T) {
	b := newBench(t)
	for _, mask := range []string{"0777", "0077"} { // with the second, the other system user of the throwaway server can read nothing
		plain := b.cmd("run", "--verify")
		masked := exec.Command("sh", append([]string{"-c", "umask " + mask + `; exec "$0" "$@"`, plain.Path}, plain.Args[1:]...)...)
		masked.Env, masked.Dir, masked.SysProcAttr = plain.Env, plain.Dir, plain.SysProcAttr
		if out, err := masked.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	err := filepath.WalkDir(b.repo, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err == nil && fi.Mode().Perm()&0o400 == 0 {
			t.Errorf("%s has mode %s", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDaemonWithoutBackupsIsUnhealthyAndKeepsTrying(t *testing.T) {
	b := newBench(t)
	if err := b.pg.Stop(); err != nil {
		t.Fatal(err)
	}
	d := b.daemon("--cron", "@every 1s", "--no-verify")
	pgtest.Eventually(t, 20*time.Second, func() error {
		code, text, err := d.get("/-/healthy")
		if err == nil && code != http.StatusServiceUnavailable {
			err = fmt.Errorf("%d %s", code, text)
		}
		return err
	})
	pgtest.Eventually(t, 20*time.Second, func() error {
		if n := b.gather()["runs_total{reason=connection,result=failure}"]; n < 2 {
			return fmt.Errorf("%v failures\n%s", n, d.logs)
		}
		return nil
	})
	b.want(exitOther, "healthcheck")
	if err := b.pg.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() error {
		code, text, err := d.get("/-/healthy")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%d %s", code, text)
		}
		return err
	})
	b.must("healthcheck")
	// Unmounted while the daemon runs: counted once the disk is back.
	_, page, err := d.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Rename(b.repo, b.repo+".away"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() error {
		_, page, err = d.get("/metrics")
		if err == nil && (!strings.Contains(page, "pg_reliability_backup_catalog_up 0") ||
			!strings.Contains(page, `last_failure_info{reason="repository"} 1`)) {
			err = errors.New("the missing disk is not in the metrics")
		}
		return err
	})
	if err := syscall.Rename(b.repo+".away", b.repo); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() error {
		if n := b.gather()["runs_total{reason=repository,result=failure}"]; n < 1 {
			return fmt.Errorf("%v failures of reason repository are counted", n)
		}
		return nil
	})
	d.stop()
}

func TestVerificationOnAScheduleOfItsOwn(t *testing.T) {
	b := newBench(t)
	id := b.run()
	d := b.daemon("--cron", "0 3 1 1 *", "--verify-schedule", "@every 1s", "--max-verified-age", "1h")
	pgtest.Eventually(t, 30*time.Second, func() error {
		all := b.list()
		if len(all) != 1 || all[0].ID != id || all[0].Health != catalog.Verified {
			return fmt.Errorf("%d backups, %s\n%s", len(all), all[0].Health, d.logs)
		}
		return nil
	})
	pgtest.Eventually(t, 10*time.Second, func() error {
		code, text, err := d.get("/-/healthy")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%d %s", code, text)
		}
		return err
	})
	pgtest.Eventually(t, 10*time.Second, func() error { // it is counted after the backup's status says so
		if n := b.gather()["verifications_total{reason=,result=success}"]; n != 1 {
			return fmt.Errorf("%v verifications are counted", n)
		}
		return nil
	})
	d.stop()
}

func TestWrongSettingOfTheThrowawayServerIsNamed(t *testing.T) {
	b := newBench(t)
	out, code := b.prog("run", "--verify", "--scratch-setting=shared_buffers=many")
	if code == 0 {
		t.Error("exit code 0")
	}
	says(t, out, "HINT: ", "--scratch-setting gave it (shared_buffers)")
}
