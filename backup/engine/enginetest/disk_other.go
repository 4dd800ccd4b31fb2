//go:build !linux

package enginetest

import "errors"

func mountSmall(string, int64) error { return errors.New("only on Linux") }

func unmount(string) error { return nil }
