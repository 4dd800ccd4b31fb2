package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// stateDir is where a target's counts are kept: they belong to its address, so that it may be renamed or get another
// password. One that is not listed may be watched with two auth modules at once.
func stateDir(base string, t TargetConfig, listed bool) string {
	if base == "" {
		return ""
	}
	key := t.Address.String()
	if !listed {
		key += "@" + t.AuthModule
	}
	// Readable, without what file systems don't like, and still different for each.
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_@", r) {
			return r
		}
		return '_'
	}, key)
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(base, "targets", readable[:min(len(readable), 100)]+"-"+hex.EncodeToString(sum[:4]))
}
