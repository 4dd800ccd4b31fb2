//go:build !linux

package clients

import "syscall"

func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}
