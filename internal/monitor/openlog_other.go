//go:build !windows

package monitor

import "os"

// mayNotRead is what helps a user who may not read the log.
const mayNotRead = "Start the screen with sudo, or add this user to the group that may read it (Debian: adm)"

func openLog(path string) (*os.File, error) { return os.Open(path) }
