package collector

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
)

// ContainerOptions says which container runs the database and which engine runs the container.
type ContainerOptions struct {
	// Name or id of the container, as `docker ps` shows it.
	Name string
	// Host of the engine: unix:///path or tcp://host:port. Empty means unix:///var/run/docker.sock.
	Host string
	// Timeout of one question to the engine; zero means 5 s.
	Timeout time.Duration
	// OnState, if set, is told the container's id, the engine's count of restarts, the time of the last start, and
	// whether the engine waits before it makes a restart that is counted already; after each answer for a container
	// that was started at least once. It must not block.
	OnState func(id string, restartCount int, startedAt time.Time, waiting bool)
}

// Container reports the state of the database's container as the Docker Engine API tells it; Podman's
// compatible API does too. It only reads: one GET of /containers/NAME/json each time.
type Container struct {
	name    string
	engine  *containers.Engine
	descs   containerDescs
	onState func(id string, restartCount int, startedAt time.Time, waiting bool)
}

// containerStates are the states Docker has; Podman's others are mapped to them.
var containerStates = []string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}

var containerHealths = []string{"starting", "healthy", "unhealthy"}

type containerDescs struct {
	running, state, restarts, oomKilled, health, started, exitCode, memoryLimit, info *Desc
}

// NewContainer checks the options. It does not ask the engine: that may start later than the exporter.
func NewContainer(o ContainerOptions) (*Container, error) {
	if err := containers.CheckName(o.Name); err != nil {
		return nil, err
	}
	engine, err := containers.NewEngine(o.Host, o.Timeout)
	if err != nil {
		return nil, err
	}
	return &Container{name: o.Name, engine: engine, descs: newContainerDescs(), onState: o.OnState}, nil
}

func newContainerDescs() containerDescs {
	gauge := func(name, help string, labels ...string) *Desc {
		return &Desc{Name: "pg_reliability_container_" + name, Help: help, Type: Gauge, Labels: append([]string{"container"}, labels...)}
	}
	return containerDescs{
		running:     gauge("running", "1 if the container's processes run; 0 while it is paused, restarting or stopped."),
		state:       gauge("state", "1 for the state the container is in, 0 for the others.", "state"),
		restarts:    gauge("restart_count", "Restarts by the engine's restart policy; starts anew when the container is recreated."),
		oomKilled:   gauge("oom_killed", "1 if the container's last end was for want of memory, as its engine says; newer engines also say so of a process killed in the present run."),
		health:      gauge("health", "1 for the result of the container's own health check, 0 for the others; absent without a health check.", "status"),
		started:     gauge("start_timestamp_seconds", "When the container was last started."),
		exitCode:    gauge("exit_code", "Exit code of the container's last run; absent while it runs."),
		memoryLimit: gauge("memory_limit_bytes", "The container's memory limit; absent without one."),
		info:        gauge("info", "The container's image; the value is 1.", "image"),
	}
}

// Name is container.
func (c *Container) Name() string { return "container" }

// Help is one line for users.
func (c *Container) Help() string {
	return "State, restarts, health and OOM kills of the database's container, from its engine."
}

// Descs lists the metrics.
func (c *Container) Descs() []*Desc {
	d := c.descs
	return []*Desc{d.running, d.state, d.restarts, d.oomKilled, d.health, d.started, d.exitCode, d.memoryLimit, d.info}
}

// Collect asks the engine once. Without an answer, or without such a container, nothing is emitted.
func (c *Container) Collect(ctx context.Context, out *Sink) error {
	answer, err := c.engine.Inspect(ctx, c.name)
	if err != nil {
		return err
	}
	c.emit(out, answer)
	if c.onState != nil && !answer.State.StartedAt.IsZero() {
		c.onState(answer.ID, answer.RestartCount, answer.State.StartedAt, answer.State.Word() == "restarting")
	}
	return nil
}

func (c *Container) emit(out *Sink, a containers.Inspection) {
	d := c.descs
	state := a.State.Word()
	out.Add(d.running, oneIf(state == "running"), c.name)
	for _, s := range containerStates {
		out.Add(d.state, oneIf(s == state), c.name, s)
	}
	out.Add(d.restarts, float64(a.RestartCount), c.name)
	out.Add(d.oomKilled, oneIf(a.State.OOMKilled), c.name)
	if a.State.HasHealth() {
		for _, s := range containerHealths {
			out.Add(d.health, oneIf(s == a.State.Health.Status), c.name, s)
		}
	}
	if !a.State.StartedAt.IsZero() {
		out.Add(d.started, float64(a.State.StartedAt.UnixNano())/1e9, c.name)
	}
	// The engine says 0 also while there is no exit code yet.
	if state != "running" && state != "paused" && !a.State.FinishedAt.IsZero() {
		out.Add(d.exitCode, float64(a.State.ExitCode), c.name)
	}
	if a.HostConfig.Memory > 0 {
		out.Add(d.memoryLimit, float64(a.HostConfig.Memory), c.name)
	}
	out.Add(d.info, 1, c.name, a.Config.Image)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
