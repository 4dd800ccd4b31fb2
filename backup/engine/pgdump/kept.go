package pgdump

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
)

// countKept counts the rows of extensions that pg_dump takes, and returns the file that each count was read from, by the table's oid. It
// waits for nobody's lock: what it can't have stays uncounted.
func (a *attempt) countKept(ctx context.Context) (files map[uint32]uint32, err error) {
	err = a.briefly(ctx, func(tx pgx.Tx) error {
		a.kept, err = contents.KeptTables(ctx, tx)
		return err
	})
	if err != nil || len(a.kept) == 0 {
		return nil, err
	}
	files = map[uint32]uint32{}
	for _, k := range a.kept {
		t := k.Table()
		err := a.briefly(ctx, func(tx pgx.Tx) error {
			rows, file, ok, err := k.Count(ctx, tx)
			if ok {
				t.Rows, t.Uncounted, files[k.OID] = rows, false, file
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		a.db.Contents.Kept = append(a.db.Contents.Kept, t)
	}
	return files, nil
}

// sameFiles takes back the counts of tables that have another file after pg_dump's end than when they were counted: what a TRUNCATE in
// between left to pg_dump is not known.
func (a *attempt) sameFiles(ctx context.Context, files map[uint32]uint32) error {
	for i, k := range a.kept {
		file, counted := files[k.OID]
		if !counted {
			continue
		}
		var now uint32
		if err := a.look.QueryRow(ctx, "SELECT coalesce(pg_catalog.pg_relation_filenode($1::oid), 0::oid)", k.OID).Scan(&now); err != nil {
			return fmt.Errorf("look at the tables of extensions: %w", err)
		}
		if t := &a.db.Contents.Kept[i]; now != file {
			t.Rows, t.Uncounted = 0, true
		}
	}
	return nil
}
