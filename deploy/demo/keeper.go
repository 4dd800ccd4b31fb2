package main

import (
	"context"
	"sync"
	"time"
)

const (
	// reviveAfter is how long a server that was stopped from outside stays away.
	reviveAfter = 10 * time.Second
	// chaosInterval is the time between two disturbances.
	chaosInterval = 20 * time.Second
	freezeFor     = 5 * time.Second
)

// startKeeper starts the server again when somebody has stopped it, and with chaos disturbs it by itself, until
// ctx ends.
func startKeeper(ctx context.Context, db *database, c *console, chaos bool) *sync.WaitGroup {
	var disturb <-chan time.Time
	if chaos {
		t := time.NewTicker(chaosInterval)
		context.AfterFunc(ctx, t.Stop)
		disturb = t.C
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for turn := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-db.Exited():
				if !pause(ctx, 200*time.Millisecond) {
					return // Ctrl-C in a terminal reaches the server, too
				}
				c.event("the server was stopped; it starts again in %s", reviveAfter)
				if pause(ctx, reviveAfter) {
					revive(ctx, db, c)
				}
			case <-disturb:
				disturbances[turn%len(disturbances)](ctx, db, c)
				turn++
			}
		}
	})
	return &wg
}

// revive tries until it works: a killed server's children may still hold its memory.
func revive(ctx context.Context, db *database, c *console) {
	for {
		err := db.Launch(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		c.event("the server does not start: %v", err)
		if !pause(ctx, time.Second) {
			return
		}
	}
}

// disturbances are what DEMO_CHAOS does, in turn.
var disturbances = []func(context.Context, *database, *console){
	func(ctx context.Context, db *database, c *console) {
		c.event("chaos: restart")
		if err := db.Restart(ctx); err != nil && ctx.Err() == nil {
			c.event("restart: %v", err)
		}
	},
	func(ctx context.Context, db *database, c *console) {
		c.event("chaos: kill -9 of a session, the server recovers")
		if err := db.KillBackend(ctx); err != nil && ctx.Err() == nil {
			c.event("kill: %v", err)
		}
	},
	func(ctx context.Context, db *database, c *console) {
		c.event("chaos: all processes of the server frozen for %s", freezeFor)
		db.Pause()
		pause(ctx, freezeFor)
		db.Resume()
	},
}
