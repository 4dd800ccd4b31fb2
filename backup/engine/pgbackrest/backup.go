package pgbackrest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// infoFile is what pgBackRest said of the backup, kept beside the manifest.
const infoFile = "pgbackrest-info.json"

// Backup implements engine.Engine. pgBackRest itself waits until the WAL that makes the backup
// consistent is in the archive, so that a backup which returns can be restored.
func (e *Engine) Backup(ctx context.Context, req engine.Request, d *catalog.Draft) error {
	if len(req.Databases.Only)+len(req.Databases.Except) > 0 {
		return failure.New(failure.Config, "--engine=%s backs up the whole server, not chosen databases", Name).
			WithHint("Leave out --database and --exclude-database.")
	}
	before, err := e.info(ctx, "")
	if err != nil {
		return err
	}
	conn, err := req.Target.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	m := &d.Manifest
	if m.Server, err = server.Facts(ctx, conn); err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	if err := e.sameServer(before, m.Server); err != nil {
		return err
	}
	databases, err := readDatabases(ctx, req.Target, conn)
	if err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	// A mark before the backup, so that its WAL counts from the first moment.
	if err := e.Observe(ctx, req.Target, e.Repository); err != nil {
		_ = level.Warn(req.Log).Log("msg", "how far archived WAL reaches is unknown", "err", err)
	}
	label, err := e.make(ctx, req, before)
	if err != nil {
		return err
	}
	if m.Databases, err = stillThere(ctx, req.Target, databases); err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	if err := e.describe(ctx, label, d); err != nil {
		return err
	}
	const bootstrap = 10 // oid of the user initdb makes
	if err := conn.QueryRow(ctx, `SELECT rolname FROM pg_catalog.pg_roles WHERE oid = $1`, bootstrap).Scan(&m.External.Superuser); err != nil {
		return failure.WithReason(fmt.Errorf("ask for the server's superuser: %w", err), failure.Dump)
	}
	if err := e.Observe(ctx, req.Target, e.Repository); err != nil {
		_ = level.Warn(req.Log).Log("msg", "how far archived WAL reaches is unknown", "err", err)
	}
	return nil
}

// sameServer refuses a stanza of another server than the one we are connected to.
func (e *Engine) sameServer(i Info, s catalog.Server) error {
	db, ok := i.current()
	if ok && db.SystemID.String() != s.SystemIdentifier {
		return failure.New(failure.Config, "stanza %s is of the server with system identifier %s, the connection leads to %s",
			e.Stanza, db.SystemID, s.SystemIdentifier).
			WithHint("Check the connection string and --pgbackrest-stanza; after an upgrade: pgbackrest --stanza=%s stanza-upgrade.", e.Stanza)
	}
	return nil
}

// make runs the backup and returns its label.
func (e *Engine) make(ctx context.Context, req engine.Request, before Info) (string, error) {
	kind := e.kind(before)
	req.Report("pgbackrest "+kind, 0, 0)
	options := append([]string{"--type=" + kind, "--no-expire-auto", e.retention("full", retainAll)}, e.Options...)
	if _, err := e.run(ctx, "backup", options...); err != nil {
		return "", err
	}
	after, err := e.info(ctx, "")
	if err != nil {
		return "", err
	}
	for _, s := range slices.Backward(after.Backups) {
		if _, old := before.find(s.Label); !old {
			return s.Label, nil
		}
	}
	return "", failure.New(failure.Dump, "stanza %s: pgBackRest reported success and lists no new backup", e.Stanza)
}

// kind is the type of the next backup.
func (e *Engine) kind(i Info) string {
	kind := e.Type
	if kind == "" {
		kind = Differential
	}
	if kind == Full || e.FullEvery == 0 {
		return kind
	}
	for _, s := range slices.Backward(i.Backups) {
		if s.Type == Full {
			if e.now().Sub(s.Started()) >= e.FullEvery {
				return Full
			}
			return kind
		}
	}
	return Full
}

// retention is an option on what pgBackRest's expire keeps: of "full" backups or of "archive".
func (e *Engine) retention(what, value string) string {
	return "--repo" + strconv.Itoa(e.repo()) + "-retention-" + what + "=" + value
}

// describe fills in the manifest of a backup that exists.
func (e *Engine) describe(ctx context.Context, label string, d *catalog.Draft) error {
	i, err := e.info(ctx, label)
	if err != nil {
		return err
	}
	s, ok := i.find(label)
	if !ok {
		return failure.New(failure.Dump, "stanza %s: backup %s vanished", e.Stanza, label)
	}
	m := &d.Manifest
	m.Engine, m.Set = Name, "all"
	m.Client = catalog.Client{Program: "pgbackrest", Version: s.Backrest.Version}
	m.RecoveryPoint = s.Stopped()
	m.Bytes = s.Info.Repository.Size
	if m.Bytes == 0 {
		m.Bytes = s.Info.Repository.Delta
	}
	m.External = &catalog.External{
		Stanza: e.Stanza, Label: s.Label, Type: s.Type, Prior: s.Prior, Repository: strconv.Itoa(e.repo()),
		WALStart: s.Archive.Start, WALStop: s.Archive.Stop, LSNStart: s.LSN.Start, LSNStop: s.LSN.Stop,
		DeltaBytes: s.Info.Repository.Delta, Config: e.Config,
	}
	if a, ok := i.archive(s.DB.ID); ok {
		m.External.Archive = a.ID
	}
	if s.Error {
		m.Suspect = &catalog.Suspect{Reason: "checksums", Message: "pgBackRest found pages with invalid checksums in the server's files"}
	}
	if m.Server.VersionNum == 0 { // made by somebody else: all we know is from pgBackRest
		db := i.server(s.DB.ID)
		m.Server = catalog.Server{Version: db.Version, VersionNum: major(db.Version) * 10000, SystemIdentifier: db.SystemID.String()}
	}
	if m.Databases == nil {
		for _, db := range s.Databases {
			m.Databases = append(m.Databases, catalog.Database{Name: db.Name, SnapshotAt: s.Stopped()})
		}
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(d.Dir, infoFile), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", infoFile, err)
	}
	return nil
}

// readDatabases reads what the server holds before a backup.
func readDatabases(ctx context.Context, t server.Target, conn *pgx.Conn) ([]known, error) {
	names, _, err := server.Databases(ctx, conn, server.Selection{})
	if err != nil {
		return nil, err
	}
	var all []known
	for _, name := range names {
		k := known{}
		if k.Database, _, err = server.Properties(ctx, conn, name, nil); err != nil {
			return nil, err
		}
		k.SnapshotAt = time.Now().UTC()
		if k.objects, err = readObjects(ctx, t, name); err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}
