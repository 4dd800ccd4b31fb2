//go:build !linux

package spawn

import "syscall"

func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}
