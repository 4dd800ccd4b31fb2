package restore

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// lacksTablespaces says whether the server lacks a tablespace that the backup's server had, by name: then everything
// goes into the default one.
func (s *session) lacksTablespaces(ctx context.Context, loader engine.Loader, b catalog.Backup) (bool, error) {
	if s.throwaway {
		return true, nil // their directories are the old server's
	}
	rows, err := s.conn.Query(ctx, `SELECT spcname FROM pg_catalog.pg_tablespace`)
	if err != nil {
		return false, fmt.Errorf("list the tablespaces: %w", err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return false, fmt.Errorf("list the tablespaces: %w", err)
	}
	server.Readable(&have)
	missing, err := loader.MissingTablespaces(b, have)
	if err != nil || len(missing) == 0 {
		return false, err
	}
	s.warn("the server has no tablespace %s: everything goes into the default one. Make them first, as %s in the backup has them, to have "+
		"it otherwise",
		strings.Join(missing, ", "), b.Manifest.Globals.TablespacesFile)
	return true, nil
}
