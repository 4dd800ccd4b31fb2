//go:build !linux && !darwin && !freebsd

package source

import (
	"errors"
	"runtime"
)

// statVolume knows no way to ask this system.
func statVolume(string) (volumeStat, error) {
	return volumeStat{}, errors.New("volumes can't be measured on " + runtime.GOOS + ". HINT: Leave out --volume")
}
