//go:build !linux

package alerts_test

import "os/exec"

func dieWithUs(*exec.Cmd) {}
