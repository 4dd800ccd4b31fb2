package clients

import "syscall"

// SIGKILL for a dump; a server that is killed with its parent is a throwaway one, so it serves there too.
func setDeathSignal(a *syscall.SysProcAttr) {
	if a.Pdeathsig == 0 {
		a.Pdeathsig = syscall.SIGKILL
	}
}
