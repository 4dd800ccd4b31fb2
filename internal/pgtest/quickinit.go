package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scratchInit are the arguments with which the backup program makes a throwaway cluster, after the directory.
const scratchInit = "-U postgres -A trust -E SQL_ASCII --locale=C --no-sync --no-instructions"

// quickInit stands in initdb's place: it copies what initdb made of the same arguments once. Whoever changes the arguments of the program
// changes scratchInit, too; initdb is only run for a user who can't read what was made.
const quickInit = `#!/bin/sh
dir=$2
shift 2
if [ "$*" != "%[1]s" ]; then
	echo "pgtest: initdb $*: want what scratchInit says: %[1]s" >&2
	exit 1
fi
if [ -r "%[2]s/PG_VERSION" ]; then exec cp -a "%[2]s" "$dir"; fi
exec "%[3]s" -D "$dir" "$@"
`

// QuickInit returns a directory with an installation's programs, whose initdb takes a tenth of the time: for tests that rehearse backups
// and are not about how a throwaway server is made. Those of backup/scratch and backup/verify run initdb itself. There is none where the
// installation lacks the client tools.
func QuickInit(t testing.TB, in Install) []string {
	t.Helper()
	if !in.HasClients {
		return nil
	}
	made, err := template(in, strings.Fields(scratchInit))
	if err != nil {
		t.Fatal(err)
	}
	// Called bin, because a caged program may read what is beside its bin.
	kept := made + "-quick"
	if _, err := os.Stat(kept); err != nil {
		if err := keepQuick(in, made, kept); err != nil {
			t.Fatalf("make the programs whose initdb copies: %v", err)
		}
	}
	return []string{filepath.Join(kept, "bin")}
}

// keepQuick makes the directory kept, with bin and data in it.
func keepQuick(in Install, made, kept string) error {
	draft, err := os.MkdirTemp(filepath.Dir(kept), "draft-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(draft)
	bin := filepath.Join(draft, "bin")
	_, uid, gid := serverUser()
	programs, err := os.ReadDir(in.BinDir)
	err = errors.Join(err, os.Mkdir(bin, 0o755), os.Chmod(draft, 0o755), os.Chown(draft, uid, gid))
	for _, p := range programs {
		if p.Name() != "initdb" {
			err = errors.Join(err, os.Symlink(filepath.Join(in.BinDir, p.Name()), filepath.Join(bin, p.Name())))
		}
	}
	text := fmt.Sprintf(quickInit, scratchInit, filepath.Join(kept, "data"), in.Bin("initdb"))
	if err := errors.Join(err, os.WriteFile(filepath.Join(bin, "initdb"), []byte(text), 0o755)); err != nil {
		return err
	}
	if out, err := Command("cp", "-a", made, filepath.Join(draft, "data")).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if err := os.Rename(draft, kept); err != nil && !errors.Is(err, fs.ErrExist) { // another test's came first
		return err
	}
	return nil
}
