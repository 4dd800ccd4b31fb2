package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	agefile "filippo.io/age"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestEmptyMachineComesBackFromTheOffsiteCopy: server and repository are lost, the bucket is left.
func TestEmptyMachineComesBackFromTheOffsiteCopy(t *testing.T) {
	b := newBench(t)
	store := pgtest.NewS3(t, "backups")
	key, err := agefile.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	secrets := t.TempDir()
	keyFile, secretFile := filepath.Join(secrets, "key"), filepath.Join(secrets, "secret")
	write(t, keyFile, []byte(key.String()+"\n"))
	write(t, secretFile, []byte(pgtest.S3SecretKey+"\n"))
	b.env = []string{
		"PG_RELIABILITY_BACKUP_OFFSITE_URL=s3://backups/db1", "AWS_ENDPOINT_URL=http://" + store.Addr, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + pgtest.S3AccessKey, "AWS_SECRET_ACCESS_KEY_FILE=" + secretFile,
	}
	recipient := "--offsite-recipient=" + key.Recipient().String()
	b.run(recipient)
	b.exec("shop", "INSERT INTO item (v) VALUES ('later')")
	newest := b.run(recipient)
	if st := b.list()[0].Status.Offsite; st == nil || st.Completed == nil || st.Encryption == nil {
		t.Fatalf("status = %+v, want a complete, encrypted copy", st)
	}
	s := b.gather()
	s.expect(t, "offsite_failing", 0)
	if out := b.must("offsite", "prune", "--dry-run"); strings.Contains(out, "delete") {
		t.Errorf("prune: %s", out)
	}
	// A store that is down fails the run with its own exit code; the backup is there.
	store.Kill()
	if out := b.want(exitOffsite, "run", recipient); strings.Contains(out, pgtest.S3SecretKey) {
		t.Errorf("the secret key is in the output: %s", out)
	}
	if all := b.list(); len(all) != 3 || all[0].Health != catalog.Unverified || all[0].Status.Offsite == nil ||
		all[0].Status.Offsite.Error == "" {
		t.Errorf("newest = %+v, want a good backup whose copy failed", all[0])
	}
	b.gather().expect(t, "offsite_failing", 1)
	store.Start(t)

	lost := *b
	lost.pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	lost.repo = filepath.Join(t.TempDir(), "repo")
	r := lost.super()
	r.want(exitRepository, "bootstrap") // a disk that is not mounted is not made up for
	r.want(exitConfig, "bootstrap", "--init")
	out := r.must("bootstrap", "--init", "--offsite-identity", keyFile, "--json")
	var outcome struct {
		Result, Backup string
		Rows           int64
	}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "\n{"):]), &outcome); err != nil || outcome.Backup != newest ||
		outcome.Rows != 2001 {
		t.Errorf("outcome = %+v, %v: %s", outcome, err, out)
	}
	if out := r.must("bootstrap", "--offsite-identity", keyFile); !strings.Contains(out, "nothing to do") {
		t.Errorf("second bootstrap: %s", out)
	}
}

// TestEmptyMachineGetsFromAnOlderCopyWhatTheNewestLacks: the newest copy is of an incomplete backup.
func TestEmptyMachineGetsFromAnOlderCopyWhatTheNewestLacks(t *testing.T) {
	b := newBench(t)
	store := pgtest.NewS3(t, "backups")
	b.env = []string{
		"PG_RELIABILITY_BACKUP_OFFSITE_URL=s3://backups/db1", "AWS_ENDPOINT_URL=http://" + store.Addr, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + pgtest.S3AccessKey, "AWS_SECRET_ACCESS_KEY=" + pgtest.S3SecretKey,
	}
	b.run()
	b.exec("postgres", "CREATE DATABASE orders")
	b.exec("orders", "CREATE TABLE t AS SELECT 1 AS i")
	older := b.run()
	b.exec("postgres", "REVOKE CONNECT ON DATABASE orders FROM PUBLIC")
	b.want(exitIncomplete, "run")
	b.want(exitIncomplete, "run")
	newest := b.list()[0].ID

	lost := *b
	lost.pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	lost.repo = filepath.Join(t.TempDir(), "repo")
	out := lost.super().must("bootstrap", "--init", "--json")
	var outcome struct {
		Result, Backup string
		From           map[string]string
	}
	err := json.Unmarshal([]byte(out[strings.Index(out, "\n{"):]), &outcome)
	if err != nil || outcome.Backup != newest || len(outcome.From) != 1 || outcome.From["orders"] != older {
		t.Errorf("outcome = %+v, %v, want %s, and orders from %s: %s", outcome, err, newest, older, out)
	}
	if got := lost.list(); len(got) != 2 {
		t.Errorf("%d copies were fetched, want two", len(got))
	}

	// The newest copy is of another choice of databases: of each choice the newest is fetched, and what that lacks.
	b.run("--database=postgres")
	only := b.run("--database=postgres")
	lost.pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	lost.repo = filepath.Join(t.TempDir(), "repo")
	out = lost.super().must("bootstrap", "--init", "--json")
	outcome.From = nil
	err = json.Unmarshal([]byte(out[strings.Index(out, "\n{"):]), &outcome)
	if err != nil || outcome.Backup != only || outcome.From["orders"] != older || outcome.From["shop"] != newest {
		t.Errorf("outcome = %+v, %v, want %s, shop from %s, and orders from %s: %s", outcome, err, only, newest, older, out)
	}
	if got := lost.list(); len(got) != 3 {
		t.Errorf("%d copies were fetched, want three", len(got))
	}
}

// TestEmptyMachineTakesNoOtherServersCopies: two servers share a repository, and the bucket is what is left.
func TestEmptyMachineTakesNoOtherServersCopies(t *testing.T) {
	b := newBench(t)
	store := pgtest.NewS3(t, "backups")
	b.env = []string{
		"PG_RELIABILITY_BACKUP_OFFSITE_URL=s3://backups/db1", "AWS_ENDPOINT_URL=http://" + store.Addr, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + pgtest.S3AccessKey, "AWS_SECRET_ACCESS_KEY=" + pgtest.S3SecretKey,
	}
	mine := b.run()
	other := *b
	other.pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	other.exec("postgres", "CREATE TABLE theirs AS SELECT 1 AS i")
	o := other.super()
	o.must("init", "--add-server")
	o.run()
	server := b.list()[1].Manifest.Server.SystemIdentifier

	lost := *b
	lost.pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	lost.repo = filepath.Join(t.TempDir(), "repo")
	r := lost.super()
	for _, args := range [][]string{{"bootstrap", "--init"}, {"offsite", "fetch"}} {
		out := r.want(exitConfig, args...)
		if !strings.Contains(out, "backups of 2 servers") || !strings.Contains(out, "--of-server: ") ||
			!strings.Contains(out, server+" (databases postgres, shop)") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if got := lost.list(); len(got) != 0 {
		t.Errorf("%d copies were fetched", len(got))
	}
	if out := r.must("bootstrap", "--of-server="+server); !strings.Contains(out, "restored from "+mine) {
		t.Errorf("bootstrap of the named server: %s", out)
	}
}
