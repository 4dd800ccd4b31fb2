// Command generate writes the boards' JSON files; `go generate` runs it in dashboards/.
package main

import (
	"fmt"
	"os"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/dashboards"
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
	files, err := dashboards.Files(config)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return fmt.Errorf("write a board: %w", err)
		}
	}
	return nil
}
