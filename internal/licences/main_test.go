package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryModuleOfThePrograms(t *testing.T) {
	var out bytes.Buffer
	if err := write(&out, []string{"../../cmd/..."}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\ngo  ", "github.com/jackc/pgx/v5 ", "github.com/prometheus/client_golang v", ": NOTICE\n",
		"Copyright 2009 The Go Authors"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in it:\n%.3000s", want, out.String())
		}
	}
}

func TestALicenceThatIsNotKnownIsRefused(t *testing.T) {
	dir := t.TempDir()
	m := module{path: "example.com/x", version: "v1.0.0", dir: dir}
	if err := m.read(); err == nil {
		t.Error("a module without a licence is taken")
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.read(); err == nil || !strings.Contains(err.Error(), "HINT: ") {
		t.Errorf("another licence is taken: %v", err)
	}
}
