package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A part that hangs for good, as on a dead mount, kept the program from ending.
func TestTheEndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hangs := make(chan struct{})
		defer close(hangs)
		time.AfterFunc(time.Minute, cancel)
		began := time.Now()
		err := bounded(ctx, func() error { <-hangs; return nil })
		if took := time.Since(began); took != time.Minute+stopTimeout || err == nil || !strings.Contains(err.Error(), "hangs") {
			t.Errorf("after %s: %v", took, err)
		}
		want := errors.New("no port")
		if err := bounded(t.Context(), func() error { return want }); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if err := bounded(ctx, func() error { time.Sleep(time.Second); return nil }); err != nil {
			t.Error(err)
		}
	})
}
