package main

import (
	"context"
	"fmt"
	"time"
)

// quietLoad is the load of the last minute under which nothing else is to be heard.
const quietLoad = 0.7

// awaitQuiet waits until the machine does nothing else, for so long at most, and returns the load.
func awaitQuiet(ctx context.Context, patience time.Duration) (float64, error) {
	for until := time.Now().Add(patience); ; {
		now := load()
		if now <= quietLoad || time.Now().After(until) {
			return now, nil
		}
		fmt.Printf("waiting for a quiet machine: the load is %.2f, and has to be %.1f\n", now, quietLoad)
		if err := wait(ctx, 20*time.Second); err != nil {
			return 0, err
		}
	}
}
