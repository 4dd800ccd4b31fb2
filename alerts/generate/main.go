// Command generate writes the rule files and the runbooks' second line from thresholds.yml; `go generate` runs it
// in alerts/.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
)

func main() {
	if err := run(); err != nil {
		_ = level.Error(log.NewLogfmtLogger(os.Stderr)).Log("err", err)
		os.Exit(1)
	}
}

func run() error {
	config, err := alerts.Load()
	if err != nil {
		return err
	}
	files, err := config.Rules(1)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the rules: %w", err)
		}
	}
	rules, err := alerts.Parse(files)
	if err != nil {
		return err
	}
	books, err := filepath.Glob("runbooks/*.md")
	if err != nil {
		return fmt.Errorf("list the runbooks: %w", err)
	}
	for _, book := range books {
		text, err := os.ReadFile(book)
		if err != nil {
			return fmt.Errorf("read a runbook: %w", err)
		}
		title, rest, _ := strings.Cut(string(text), "\n")
		if strings.HasPrefix(rest, "`") { // the facts as they were; a new runbook has none
			_, rest, _ = strings.Cut(rest, "\n")
		}
		facts := config.Facts(rules, strings.TrimSuffix(filepath.Base(book), ".md"))
		if err := os.WriteFile(book, []byte(title+"\n"+facts+"\n"+rest), 0o644); err != nil {
			return fmt.Errorf("write a runbook: %w", err)
		}
	}
	return nil
}
