package httpserver

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a test has started goes on after all of them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
