package offsite

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"filippo.io/age"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// methodAge names the encryption in indexes and statuses.
const methodAge = "age"

// suffix of encrypted objects, so that `age -d` of a downloaded one is what a reader would try.
const suffix = ".age"

// Sizes of age's payload (its specification, v1): chunks of 64 KiB, a 16-byte tag each.
const (
	chunkBytes = 64 << 10
	tagBytes   = 16
)

func parseRecipients(keys []string) ([]age.Recipient, error) {
	var all []age.Recipient
	for _, k := range keys {
		if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(k)), "AGE-SECRET-KEY-") {
			return nil, failure.New(failure.Config, "off-site: a recipient is a secret key").
				WithHint("The job gets the public key (age1...); `age-keygen -y KEY-FILE` prints it. Keep the secret one elsewhere.")
		}
		r, err := age.ParseRecipients(strings.NewReader(k))
		if err != nil {
			return nil, failure.New(failure.Config, "off-site: recipient %q: %w", k, err).
				WithHint("Write a public key as age-keygen prints it: age1...")
		}
		all = append(all, r...)
	}
	return all, nil
}

// Identities reads age's secret keys, as age-keygen writes them.
func Identities(file string) ([]age.Identity, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, failure.New(failure.Config, "off-site: identity file: %w", err)
	}
	defer f.Close()
	ids, err := age.ParseIdentities(f)
	if err != nil {
		return nil, failure.New(failure.Config, "off-site: identity file %s holds no secret key of age", file).
			WithHint("It has a line AGE-SECRET-KEY-1..., as age-keygen writes it.")
	}
	return ids, nil
}

// encryption is what the status and the index say.
func (s *Store) encryption() *catalog.Encryption {
	if len(s.recipients) == 0 {
		return nil
	}
	return &catalog.Encryption{Method: methodAge, Recipients: s.o.Recipients}
}

// stream is a local file on its way out: what is read from it is what is stored.
type stream struct {
	io.Reader
	size   int64     // of what is stored
	stored hash.Hash // of what was read from the stream
	plain  hash.Hash // of what was read from the file
	close  func() error
}

// open opens a local file for sending; its size is that of the manifest.
func (s *Store) open(path string) (*stream, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	out := &stream{size: fi.Size(), stored: sha256.New(), plain: sha256.New(), close: f.Close}
	in := io.TeeReader(f, out.plain)
	if len(s.recipients) == 0 {
		out.Reader = io.TeeReader(in, out.stored)
		return out, nil
	}
	header, body, err := encrypt(in, s.recipients)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	out.size = int64(len(header)) + payloadBytes(fi.Size())
	out.Reader = io.TeeReader(io.MultiReader(bytes.NewReader(header), body), out.stored)
	out.close = func() error { return errors.Join(body.Close(), f.Close()) }
	return out, nil
}

// payloadBytes is the size of age's payload without its header: there is one chunk at least.
func payloadBytes(plain int64) int64 {
	chunks := max(1, (plain+chunkBytes-1)/chunkBytes)
	return plain + chunks*tagBytes
}

// encrypt returns the header at once, so that the whole size is known before the first byte is
// sent, and the payload as it is read. Closing the payload ends the encryption.
func encrypt(in io.Reader, to []age.Recipient) ([]byte, io.ReadCloser, error) {
	var header bytes.Buffer
	out := &turnout{Writer: &header}
	w, err := age.Encrypt(out, to...)
	if err != nil {
		return nil, nil, fmt.Errorf("encrypt: %w", err)
	}
	r, pipe := io.Pipe()
	out.Writer = pipe
	go func() {
		_, err := io.Copy(w, in)
		if err == nil {
			err = w.Close()
		}
		_ = pipe.CloseWithError(err) // nil means the end
	}()
	return header.Bytes(), r, nil
}

// turnout is a writer that leads elsewhere later.
type turnout struct{ io.Writer }

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
