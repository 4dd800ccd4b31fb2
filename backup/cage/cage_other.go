//go:build !linux

package cage

import (
	"os/exec"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

// Missing says what of the cage this machine can't give.
func Missing() []Lack {
	var missing []Lack
	for _, part := range Parts() {
		missing = append(missing, Lack{part, "this system has no cage: what the rehearsal's user may do, the backup's functions may"})
	}
	return missing
}

func (c *Cage) start(cmd *exec.Cmd, orphaned syscall.Signal) error { return spawn.Start(cmd, orphaned) }
