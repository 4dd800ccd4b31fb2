package setup

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // PostgreSQL's own old way, only to compare
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Of SCRAM-SHA-256 as PostgreSQL does it.
const (
	scram           = "SCRAM-SHA-256"
	scramIterations = 4096
	scramSalt       = 16
	mostIterations  = 10_000_000 // a verifier with more is not computed
)

// verifier is what the server keeps of a password (RFC 5803). A server that is given one never sees the password, and can't log it.
func verifier(password string) (string, error) {
	salt := make([]byte, scramSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return verifierOf(password, salt, scramIterations)
}

func verifierOf(password string, salt []byte, iterations int) (string, error) {
	for _, c := range password {
		if c < ' ' || c > '~' { // others would have to be normalised as the server does
			return "", failure.New(failure.Config, "the password holds a character that is not printable ASCII").
				WithHint("Choose another: head -c 24 /dev/urandom | base64")
		}
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", scram, iterations, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// matches says whether a verifier of pg_authid is of that password.
func matches(kept, role, password string) bool {
	if digest, old := strings.CutPrefix(kept, "md5"); old {
		sum := md5.Sum([]byte(password + role)) //nolint:gosec // as above
		return subtle.ConstantTimeCompare([]byte(digest), []byte(hex.EncodeToString(sum[:]))) == 1
	}
	parts := strings.Split(kept, "$")
	if len(parts) != 3 || parts[0] != scram {
		return false
	}
	count, text, _ := strings.Cut(parts[1], ":")
	iterations, err := strconv.Atoi(count)
	salt, err2 := base64.StdEncoding.DecodeString(text)
	if err != nil || err2 != nil || iterations < 1 || iterations > mostIterations {
		return false
	}
	again, err := verifierOf(password, salt, iterations)
	return err == nil && subtle.ConstantTimeCompare([]byte(again), []byte(kept)) == 1
}
