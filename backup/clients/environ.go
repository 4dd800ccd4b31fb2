package clients

import (
	"os"
	"slices"
	"strings"
)

// passed are the variables that programs get of ours: where things are found, nothing that names a server or holds a
// secret.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
	"KRB5CCNAME", "KRB5_CONFIG", "KRB5_CLIENT_KTNAME", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF",
}

// Environ is the environment of every program we start, with the named variables in addition. Messages come in English:
// some are looked at.
func Environ(more ...string) []string {
	env := []string{"LC_ALL=C"}
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); slices.Contains(passed, name) || slices.Contains(more, name) {
			env = append(env, line)
		}
	}
	return env
}
