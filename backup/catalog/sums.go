package catalog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
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
	s := bufio.NewScanner(bytes.NewReader(text))
	for s.Scan() {
		if sum, name, ok := strings.Cut(s.Text(), "  "); ok && name == manifestFile {
			return sum, true
		}
	}
	return "", false
}
