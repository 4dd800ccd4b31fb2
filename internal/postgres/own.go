package postgres

import (
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
)

// ownWants are what connect and its like fail with before anything was sent: this process or its machine has no file, no memory, no port
// or no address left to ask with.
var ownWants = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL}

// IsOwn is whether an attempt to connect failed for want of something of our own, so that it tells nothing of the server: nobody was asked.
// Where several addresses were tried, it is so with each.
func IsOwn(err error) bool {
	if err == nil {
		return false
	}
	return !slices.ContainsFunc(attempts(err), func(attempt error) bool {
		return !slices.ContainsFunc(ownWants, func(want syscall.Errno) bool {
			var dns *net.DNSError // keeps the text alone
			return errors.Is(attempt, want) || errors.As(attempt, &dns) && strings.Contains(dns.Err, want.Error())
		})
	})
}
