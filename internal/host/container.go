package host

import (
	"context"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
)

// Container tells what the engine's answers say of how the server's container ended. Its methods may be called at once.
type Container struct {
	// Name of the container.
	Name string
	// Ends asks the engine for the ends of the container in a time, where it tells; nil where it is not asked.
	Ends func(ctx context.Context, since, until time.Time) ([]containers.End, error)
	// Tell takes each fact; it must not block.
	Tell func(incident.Fact)

	mu   sync.Mutex
	last *containers.Inspection
}

// Observe takes an answer. It asks the engine again where that one says that the container was started anew: the code with which the run
// before ended is gone by then.
func (c *Container) Observe(ctx context.Context, is containers.Inspection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.last
	c.last = &is
	now := time.Now().UTC()
	if is.State.Word() == "paused" {
		c.Tell(incident.Fact{At: now, Kind: incident.ProcessStopped, Name: "the container " + c.Name})
	}
	if was == nil {
		return // how it came to be so is not known
	}
	anew := was.ID == is.ID && !was.State.StartedAt.Equal(is.State.StartedAt)
	ended := was.ID == is.ID && was.State.Word() == "running" && is.State.Word() != "running" && is.State.Word() != "paused"
	switch {
	case is.State.OOMKilled && (!was.State.OOMKilled || anew):
		c.Tell(incident.Fact{At: ending(is, now), Kind: incident.OOMKill, Name: "in the container " + c.Name})
	case anew && c.Ends != nil:
		c.ends(ctx, was.State.StartedAt, now)
		return
	}
	if ended && !is.State.FinishedAt.IsZero() {
		c.exited(is.State.FinishedAt, is.State.ExitCode)
	}
}

// ending is when the container of an answer ended, if it does not run.
func ending(is containers.Inspection, now time.Time) time.Time {
	if is.State.Word() == "running" || is.State.FinishedAt.IsZero() {
		return now
	}
	return is.State.FinishedAt.UTC()
}

func (c *Container) ends(ctx context.Context, since, until time.Time) {
	ends, err := c.Ends(ctx, since, until)
	if err != nil {
		return // an engine, or a proxy before it, that does not tell
	}
	for _, e := range ends[max(0, len(ends)-maxEnds):] {
		if e.OutOfMemory {
			c.Tell(incident.Fact{At: e.At.UTC(), Kind: incident.OOMKill, Name: "in the container " + c.Name})
			continue
		}
		c.exited(e.At, e.ExitCode)
	}
}

// maxEnds is how many ends are told of at once: of a container that is started anew again and again the newest say enough.
const maxEnds = 5

func (c *Container) exited(at time.Time, code int) {
	c.Tell(incident.Fact{At: at.UTC(), Kind: incident.Exited, Name: "the container " + c.Name, Value: float64(code)})
}
