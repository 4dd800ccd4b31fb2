package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// withoutMore switches off ever more of ours: what a line costs less than the one before is what was switched off.
func withoutMore() []struct{ part, flag string } {
	return []struct{ part, flag string }{
		{"all of it", ""},
		{"visits to the other databases", "--no-databases.all"},
		{"collectors in the background", "--collector.disable-defaults"},
		{"signs of life between reads", "--probe.pulse-interval=1s"},
		{"logins", "--probe.login-interval=1h"},
	}
}

// measureParts watches ours without a scrape, with ever more switched off: all side by side for the same minute, each on a server of its
// own, so that what else the machine does disturbs all alike.
func measureParts(ctx context.Context, ours string, databases, tables int, p plan) error {
	parts := withoutMore()
	onServer, own := make([]time.Duration, len(parts)), make([]time.Duration, len(parts))
	errs := make(chan error, len(parts))
	var ready sync.WaitGroup
	ready.Add(len(parts))
	command := []string{ours, "--state.dir=none"}
	for i, part := range parts {
		if part.flag != "" {
			command = append(command, part.flag)
		}
		e := &exporter{name: part.part, command: append([]string(nil), command...), part: true}
		go func() {
			var err error
			onServer[i], own[i], err = e.idle(ctx, databases, tables, p, &ready)
			errs <- err
		}()
	}
	for range parts {
		if err := <-errs; err != nil {
			return err
		}
	}
	fmt.Printf("Load %.1f.\n\n| switched off, one after the other | the exporter | less | the server | less |\n", load())
	fmt.Println("|---|---|---|---|---|")
	for i, part := range parts {
		ms := func(d []time.Duration) string {
			if i == 0 {
				return fmt.Sprintf("%.0f ms | ", milliseconds(d[0]))
			}
			return fmt.Sprintf("%.0f ms | %.0f ms", milliseconds(d[i]), milliseconds(d[i-1]-d[i]))
		}
		name := part.part
		if i == 0 {
			name = "nothing"
		}
		fmt.Printf("| %s | %s | %s |\n", name, ms(own), ms(onServer))
	}
	return nil
}

// idle is what a minute costs without a scrape, on a server of its own.
func (e *exporter) idle(ctx context.Context, databases, tables int, p plan, ready *sync.WaitGroup) (
	onServer, own time.Duration, err error,
) {
	defer e.end()
	if err = e.begin(ctx, databases, tables); err == nil {
		err = wait(ctx, p.calm)
	}
	ready.Done()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", e.name, err)
	}
	ready.Wait() // nobody is watched while another one's server is filled
	err = e.idleMinute(ctx, p)
	return median(e.idleServerCPU), median(e.idleOwnCPU), err
}
