package offsite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-kit/log/level"
	"github.com/minio/minio-go/v7"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// errStalled is the cause of a transfer that was given up.
var errStalled = errors.New("nothing moved any more")

// leastMoved is what must move within Options.Stall: who sends a byte now and then is no better than who sends none.
const leastMoved = 256 << 10

// guard ends a transfer that moves less than leastMoved within Options.Stall, unless that is all there is.
type guard struct {
	timer *time.Timer
	after time.Duration
	moved func(n int)
	since int // what has moved since the timer was set
}

func (s *Store) guard(ctx context.Context, moved func(n int)) (context.Context, *guard, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	after := s.o.Stall
	g := &guard{after: after, moved: moved}
	g.timer = time.AfterFunc(after, func() { cancel(fmt.Errorf("%w for %s", errStalled, after)) })
	return ctx, g, func() { g.timer.Stop(); cancel(nil) }
}

func (g *guard) alive(n int) {
	if n > 0 {
		if g.since += n; g.since >= leastMoved {
			g.since = 0
			g.timer.Reset(g.after)
		}
		if g.moved != nil {
			g.moved(n)
		}
	}
}

func (g *guard) reader(r io.Reader) io.Reader { return guarded{r, g} }

type guarded struct {
	io.Reader
	g *guard
}

func (r guarded) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.g.alive(n)
	return n, err
}

// within bounds what is asked of the store by Options.Timeout.
func (s *Store) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.o.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, s.o.Timeout, failure.New(failure.Offsite, "it took longer than %s", s.o.Timeout).
		WithHint("Set --offsite-timeout to more than copies take, or 0; a copy that was begun goes on where it stopped."))
}

// retry repeats a transfer while the network or the store is at fault.
func (s *Store) retry(ctx context.Context, what string, f func(context.Context) error) error {
	for try := 0; ; try++ {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || try >= s.o.Retries || !passing(err) {
			return s.explain(ctx, what, err)
		}
		wait := min(30*time.Second, 250*time.Millisecond<<try)
		_ = level.Warn(s.o.Log).Log("msg", "off-site transfer failed, trying again", "what", what, "try", try+1, "wait", wait, "err", s.mask(err))
		select {
		case <-ctx.Done():
			return s.explain(ctx, what, err)
		case <-time.After(wait):
		}
	}
}

// passing says that the next try may go better.
func passing(err error) bool {
	var n net.Error
	if errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, errStalled) {
		return true
	}
	r := minio.ToErrorResponse(err)
	switch r.Code {
	case "SlowDown", "InternalError", "RequestTimeout", "ServiceUnavailable", "BadDigest", "IncompleteBody":
		return true
	}
	return r.StatusCode >= http.StatusInternalServerError || r.StatusCode == http.StatusTooManyRequests
}

// explain makes an error of reason Offsite, with a remedy for the usual causes.
func (s *Store) explain(ctx context.Context, what string, err error) error {
	var f *failure.Error
	if errors.As(err, &f) {
		return err
	}
	if errors.As(context.Cause(ctx), &f) { // Options.Timeout
		return fmt.Errorf("off-site: %s: %w", what, context.Cause(ctx))
	}
	if ctx.Err() != nil {
		return &failure.Error{Reason: failure.Interrupted, Err: fmt.Errorf("off-site: %s: interrupted: %w", what, context.Cause(ctx))}
	}
	r := minio.ToErrorResponse(err)
	e := failure.New(failure.Offsite, "off-site: %s: %w", what, masked{s.mask(err), err})
	switch r.Code {
	case "NoSuchBucket":
		return e.WithHint("Make the bucket %s; it is never made by a backup job, which would hide a wrong name.", s.bucket)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken", "InvalidToken":
		return e.WithHint("Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (or their _FILE variants) and --offsite-region.")
	case "AccessDenied":
		return e.WithHint("The key needs s3:PutObject, GetObject, DeleteObject and ListBucket on %s, and AbortMultipartUpload.", s.bucket)
	case "RequestTimeTooSkewed", "RequestExpired":
		return e.WithHint("This machine's clock is wrong by more than 15 minutes: synchronise it.")
	}
	if r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden || strings.Contains(r.Message, "access key") {
		return e.WithHint("Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (or their _FILE variants), and what the key may do on %s.", s.bucket)
	}
	var n net.Error
	if errors.As(err, &n) {
		return e.WithHint("Is %s reachable from here?", s.client.EndpointURL().Host)
	}
	return e
}

// masked is an error whose text was cleaned.
type masked struct {
	text  string
	cause error
}

func (m masked) Error() string { return m.text }

func (m masked) Unwrap() error { return m.cause }

// mask keeps keys out of a text that the store or a library wrote.
func (s *Store) mask(err error) string {
	return server.Mask(server.Mask(strings.TrimSuffix(err.Error(), "."), s.o.SecretKey), s.o.SessionToken)
}

// send stores one file and returns what is stored. want is the file's digest in the manifest; "" where
// the manifest has none (for itself).
func (s *Store) send(ctx context.Context, object, path, want string, moved func(int)) (catalog.File, error) {
	var done catalog.File
	err := s.retry(ctx, "upload "+object, func(ctx context.Context) error {
		in, err := s.open(path)
		if err != nil {
			return failure.New(failure.Offsite, "off-site: read the local backup: %w", err)
		}
		defer func() { _ = in.close() }()
		ctx, g, stop := s.guard(ctx, moved)
		defer stop()
		_, err = s.client.PutObject(ctx, s.bucket, object, g.reader(in), in.size, minio.PutObjectOptions{ContentType: "application/octet-stream"})
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
		if err != nil {
			return err
		}
		if sum := hexSum(in.plain); want != "" && sum != want {
			return failure.New(failure.Offsite, "off-site: %s is not what the manifest says: the local backup is damaged", path).
				WithHint("`pg_reliability_backup verify --level=1` tells; the next good backup is copied.")
		}
		done = catalog.File{Bytes: in.size, SHA256: hexSum(in.stored)}
		return nil
	})
	return done, err
}

// receive reads an object to its end into w, and compares it with what should be stored.
func (s *Store) receive(ctx context.Context, object string, want catalog.File, w io.Writer, moved func(int)) error {
	ctx, g, stop := s.guard(ctx, moved)
	defer stop()
	fail := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	o, err := s.client.GetObject(ctx, s.bucket, object, minio.GetObjectOptions{})
	if err != nil {
		return fail(err)
	}
	defer func() { _ = o.Close() }()
	h := sha256.New()
	// One byte more than there should be is enough to see that it differs.
	n, err := io.Copy(io.MultiWriter(w, h), g.reader(io.LimitReader(o, want.Bytes+1)))
	if err != nil {
		return fail(err)
	}
	if n != want.Bytes || hexSum(h) != want.SHA256 {
		return fmt.Errorf("%w: %d bytes with sha256 %s, %d with %s were written", errDiffers, n, hexSum(h), want.Bytes, want.SHA256)
	}
	return nil
}

// errDiffers is wrapped when the store has other bytes than were sent.
var errDiffers = errors.New("the object is not what was stored")

// get reads a small object whole.
func (s *Store) get(ctx context.Context, object string, limit int64) ([]byte, error) {
	var text []byte
	err := s.retry(ctx, "read "+object, func(ctx context.Context) error {
		ctx, g, stop := s.guard(ctx, nil)
		defer stop()
		o, err := s.client.GetObject(ctx, s.bucket, object, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer func() { _ = o.Close() }()
		text, err = io.ReadAll(io.LimitReader(g.reader(o), limit+1))
		if err == nil && int64(len(text)) > limit {
			err = failure.New(failure.Offsite, "off-site: %s is larger than %d bytes", object, limit)
		}
		return err
	})
	return text, err
}

// object is what a list tells of one that is there.
type object struct{ Size int64 }

const (
	// maxObjects is what the copies of forty backups of ten thousand tables have.
	maxObjects = 400_000
	// objectWeight is what a name counts for as a sign of life.
	objectWeight = 1 << 10
)

// list lists the objects below a prefix by name: those that belong to a copy, by their names. A store that tells the same name twice, or
// has no end, is not believed.
func (s *Store) list(ctx context.Context, prefix string) (map[string]object, error) {
	var all map[string]object
	what := "list " + s.bucket + "/" + prefix
	err := s.retry(ctx, what, func(ctx context.Context) error {
		all = map[string]object{}
		ctx, g, stop := s.guard(ctx, nil)
		defer stop()
		told := 0
		for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if cause := context.Cause(ctx); o.Err != nil && cause != nil {
				return fmt.Errorf("%w: %w", cause, o.Err)
			}
			if o.Err != nil {
				return o.Err
			}
			if told++; told > maxObjects {
				return s.endless(what)
			}
			g.alive(objectWeight)
			if !namePattern.MatchString(strings.TrimPrefix(o.Key, s.prefix)) {
				continue
			}
			if _, twice := all[o.Key]; twice {
				return failure.New(failure.Offsite, "off-site: %s: the store lists %.200q twice", what, o.Key).
					WithHint("Its list can't be relied on; the store, or what stands before it, is at fault.")
			}
			all[o.Key] = object{o.Size}
		}
		return context.Cause(ctx) // the client ends a list that is given up without an error: half of one is none
	})
	return all, err
}

func (s *Store) endless(what string) error {
	return failure.New(failure.Offsite, "off-site: %s: there are more than %d", what, maxObjects).
		WithHint("Give the copies a prefix of their own: --offsite-url s3://%s/prefix.", s.bucket)
}
