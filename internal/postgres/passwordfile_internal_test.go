package postgres

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A login whose password file hung, as on a dead mount, was late, and the server was called down for it.
func TestAPasswordFileThatHangsCostsNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, errors.New("it has not been read")
		}
		holds := func(content string) func(context.Context) ([]byte, error) {
			return func(context.Context) ([]byte, error) { return []byte(content), nil }
		}
		f := &passwordFile{read: hangs}
		want := func(what, password, problem string, within time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			began := time.Now()
			got, err := f.forLogin(ctx)
			if took := time.Since(began); got != password || (err == nil) != (problem == "") || took > within {
				t.Errorf("%s: %q, %v after %s", what, got, err, took)
			}
			if err != nil && !strings.Contains(err.Error(), problem) {
				t.Errorf("%s: %v", what, err)
			}
		}
		want("before it was ever read", "", "has not been read", 2*time.Second)
		f.read = holds("first\n")
		want("when it is there", "first", "", 0)
		f.read = hangs
		want("while it hangs", "first", "", fileTimeout)
		f.read = holds("second\r\n")
		want("when it is back, with another one", "second", "", 0)
		f.read = func(context.Context) ([]byte, error) { return nil, fs.ErrNotExist }
		want("when it is gone", "", fs.ErrNotExist.Error(), 0)
	})
}
