package main

import "syscall"

// killWithParent leaves no program behind also when the demo is killed.
func killWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
