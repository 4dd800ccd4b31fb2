package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// sums is the text of SHA256SUMS, as `sha256sum -c` reads it: every file, and the manifest last.
// So a backup can be checked, and is protected against a damaged manifest, without this program.
func sums(files []File, manifest []byte) []byte {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "%s  %s\n", f.SHA256, f.Path)
	}
	sum := sha256.Sum256(manifest)
	fmt.Fprintf(&b, "%s  %s\n", hex.EncodeToString(sum[:]), manifestFile)
	return b.Bytes()
}

// manifestSum finds the manifest's digest in SHA256SUMS.
func manifestSum(text []byte) (string, bool) {
	for line := range bytes.Lines(text) {
		if sum, name, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte("  ")); ok && string(name) == manifestFile {
			return string(sum), true
		}
	}
	return "", false
}
