package postgres_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a test has started goes on after all of them, but what pgtest keeps for the process: ports, and the thread
// that its servers are the children of.
func TestMain(m *testing.M) {
	const module = "github.com/pg-reliability/pg_reliability_exporter/internal/"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(module+"pgtest.FreePort.func1"), goleak.IgnoreAnyFunction(module+"spawn.(*spawner).start.func1.1"))
}
