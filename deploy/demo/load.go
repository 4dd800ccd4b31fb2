package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	readEvery  = 40 * time.Millisecond
	writeEvery = 100 * time.Millisecond
	tidyEvery  = 5 * time.Second
	// One purchase in so many is rolled back, as customers do.
	changesMind = 20
	keepRows    = 30000
)

// errChangedMind rolls a purchase back.
var errChangedMind = errors.New("the customer changed their mind")

// startLoad reads and writes at a bounded rate, on three connections, until ctx ends. What fails is tried again: the
// server is there to be stopped.
func startLoad(ctx context.Context, dsn string) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, w := range []struct {
		every time.Duration
		do    func(context.Context, *pgx.Conn) error
	}{{readEvery, browse}, {writeEvery, buy}, {tidyEvery, tidy}} {
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = repeat(ctx, dsn, w.every, w.do)
				pause(ctx, time.Second)
			}
		})
	}
	return &wg
}

// repeat does one thing at an interval until it fails.
func repeat(ctx context.Context, dsn string, every time.Duration, do func(context.Context, *pgx.Conn) error) error {
	dial, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(dial, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for pause(ctx, every) {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := do(attempt, conn)
		cancel()
		if err != nil && !errors.Is(err, errChangedMind) {
			return err
		}
	}
	return ctx.Err()
}

func browse(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT u.bought_at, p.name, p.price FROM shop.purchase u JOIN shop.product p ON p.id = u.product_id
		WHERE u.customer_id = $1 ORDER BY u.bought_at DESC LIMIT 10`, 1+rand.IntN(2000))
	return err
}

func buy(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		product := 1 + rand.IntN(500)
		if _, err := tx.Exec(ctx, "UPDATE shop.product SET stock = CASE WHEN stock > 0 THEN stock - 1 ELSE 1000 END WHERE id = $1",
			product); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO shop.purchase (customer_id, product_id) VALUES ($1, $2)", 1+rand.IntN(2000), product); err != nil {
			return err
		}
		if rand.IntN(changesMind) == 0 {
			return errChangedMind
		}
		return nil
	})
}

// tidy keeps the shop from growing.
func tidy(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "DELETE FROM shop.purchase WHERE id <= (SELECT max(id) FROM shop.purchase) - $1", keepRows)
	return err
}

// pause waits, and is false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
