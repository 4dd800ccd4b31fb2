package collector

import (
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
)

func TestEmbeddedIsValid(t *testing.T) {
	defs, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if err := definition.Validate(defs, nil); err != nil {
		t.Error(err)
	}
}
