package collector

import (
	"embed"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
)

//go:embed metrics/*.yml
var embedded embed.FS

// Embedded returns the collectors that come with the program, in the order of their files.
func Embedded() ([]definition.Definition, error) { return definition.FromFS(embedded, "metrics/*.yml") }
