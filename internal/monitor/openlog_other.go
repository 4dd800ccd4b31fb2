//go:build !windows

package monitor

import "os"

func openLog(path string) (*os.File, error) { return os.Open(path) }
