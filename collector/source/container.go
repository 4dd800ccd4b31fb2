package source

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// ContainerOptions says which container runs the database and which engine runs the container.
type ContainerOptions struct {
	// Name or id of the container, as `docker ps` shows it.
	Name string
	// Host of the engine: unix:///path or tcp://host:port. Empty means unix:///var/run/docker.sock.
	Host string
	// Timeout of one question to the engine; zero means 5 s.
	Timeout time.Duration
}

// Container reports the state of the database's container as the Docker Engine API tells it; Podman's
// compatible API does too. It only reads: one GET of /containers/NAME/json each time.
type Container struct {
	name    string
	engine  *containers.Engine
	onState func(id string, restartCount int, startedAt time.Time, waiting bool)
	// onAnswer, if set, is told each of the engine's answers.
	onAnswer func(ctx context.Context, answer containers.Inspection)
}

// containerStates are the states Docker has; Podman's others are mapped to them.
var containerStates = []string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}

var containerHealths = []string{"starting", "healthy", "unhealthy"}

// NewContainer checks the options. It does not ask the engine: that may start later than the exporter.
func NewContainer(o ContainerOptions) (*Container, error) {
	if err := containers.CheckName(o.Name); err != nil {
		return nil, err
	}
	engine, err := containers.NewEngine(o.Host, o.Timeout)
	if err != nil {
		return nil, err
	}
	return &Container{name: o.Name, engine: engine}, nil
}

// OnState registers a function that is told the container's id, the engine's count of restarts, the time of the last start, and
// whether the engine waits before it makes a restart that is counted already; after each answer for a container
// that was started at least once. It must not block, and be registered before the first Collect.
func (c *Container) OnState(f func(id string, restartCount int, startedAt time.Time, waiting bool)) {
	c.onState = f
}

// OnAnswer registers a function that is told each of the engine's answers. It may ask the engine again, within the context, and be
// registered before the first Collect.
func (c *Container) OnAnswer(f func(ctx context.Context, answer containers.Inspection)) {
	c.onAnswer = f
}

// The metrics of the container.
var (
	containerMetrics metric.List

	ContainerRunning = containerMetrics.Gauge("pg_reliability_container_running",
		"1 if the container's processes run; 0 while it is paused, restarting or stopped.", "container")
	ContainerState = containerMetrics.Gauge("pg_reliability_container_state",
		"1 for the state the container is in, 0 for the others.", "container", "state")
	ContainerRestarts = containerMetrics.Gauge("pg_reliability_container_restart_count",
		"Restarts by the engine's restart policy; starts anew when the container is recreated.", "container")
	ContainerOOMKilled = containerMetrics.Gauge("pg_reliability_container_oom_killed",
		"1 if the container's last end was for want of memory, as its engine says; newer engines also say so of a process killed in the "+
			"present run.", "container")
	ContainerHealth = containerMetrics.Gauge("pg_reliability_container_health",
		"1 for the result of the container's own health check, 0 for the others; absent without a health check.", "container", "status")
	ContainerStarted = containerMetrics.Gauge("pg_reliability_container_start_timestamp_seconds",
		"When the container was last started.", "container")
	ContainerExitCode = containerMetrics.Gauge("pg_reliability_container_exit_code",
		"Exit code of the container's last run; absent while it runs.", "container")
	ContainerMemoryLimit = containerMetrics.Gauge("pg_reliability_container_memory_limit_bytes",
		"The container's memory limit; absent without one.", "container")
	ContainerInfo = containerMetrics.Gauge("pg_reliability_container_info",
		"The container's image; the value is 1.", "container", "image")
)

// Name is container.
func (c *Container) Name() string { return "container" }

// Help is one line for users.
func (c *Container) Help() string {
	return "State, restarts, health and OOM kills of the database's container, from its engine."
}

// DeclaredContainer lists the metrics of the container.
func DeclaredContainer() []*metric.Desc { return containerMetrics }

// Collect asks the engine once. Without an answer, or without such a container, nothing is emitted.
func (c *Container) Collect(ctx context.Context, out *metric.Sink) error {
	answer, err := c.engine.Inspect(ctx, c.name)
	if err != nil {
		return err
	}
	c.emit(out, answer)
	if c.onAnswer != nil {
		c.onAnswer(ctx, answer)
	}
	if c.onState != nil && !answer.State.StartedAt.IsZero() {
		c.onState(answer.ID, answer.RestartCount, answer.State.StartedAt, answer.State.Word() == "restarting")
	}
	return nil
}

func (c *Container) emit(out *metric.Sink, a containers.Inspection) {
	state := a.State.Word()
	out.Bool(ContainerRunning, state == "running", c.name)
	metric.OneOf(out, ContainerState, containerStates, state, c.name)
	out.Add(ContainerRestarts, float64(a.RestartCount), c.name)
	out.Bool(ContainerOOMKilled, a.State.OOMKilled, c.name)
	if a.State.HasHealth() {
		metric.OneOf(out, ContainerHealth, containerHealths, a.State.Health.Status, c.name)
	}
	out.Time(ContainerStarted, a.State.StartedAt, c.name)
	// The engine says 0 also while there is no exit code yet.
	if state != "running" && state != "paused" && !a.State.FinishedAt.IsZero() {
		out.Add(ContainerExitCode, float64(a.State.ExitCode), c.name)
	}
	if a.HostConfig.Memory > 0 {
		out.Add(ContainerMemoryLimit, float64(a.HostConfig.Memory), c.name)
	}
	out.Add(ContainerInfo, 1, c.name, a.Config.Image)
}
