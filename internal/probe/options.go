package probe

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	DefaultReadInterval = time.Second
	// DefaultPulseInterval dates what stops answering to an eighth of a second on average.
	DefaultPulseInterval = 250 * time.Millisecond
	DefaultLoginInterval = 10 * time.Second
	DefaultWriteInterval = 5 * time.Second
	DefaultTimeout       = 2 * time.Second
	// DefaultStallThreshold is far above what a read takes, and what a user feels.
	DefaultStallThreshold = 200 * time.Millisecond

	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
	minTimeout  = 50 * time.Millisecond
	// minThreshold is for those whose reads take microseconds.
	minThreshold = time.Millisecond
	maxTimeout   = time.Minute
	maxInstance  = 200
)

// Options of a prober. Connector, Target and Logger are required.
type Options struct {
	Connector *postgres.Connector
	// Target names the server without a secret, such as db1:5432/shop: the state file belongs to it.
	Target string
	// StateDir keeps counts over restarts of the exporter; empty keeps nothing.
	StateDir string

	// ReadInterval is the time between read probes, and between attempts to connect while there is no
	// connection; 0 means DefaultReadInterval.
	ReadInterval time.Duration
	// PulseInterval is the time between signs of life asked for between reads; 0 means DefaultPulseInterval, and one as long as
	// ReadInterval asks for none.
	PulseInterval time.Duration
	// ReadTimeout is when a read probe without an answer counts as failed; 0 means DefaultTimeout.
	ReadTimeout time.Duration
	// StallThreshold is how much longer than the way to the server a read that succeeds in time takes that counts as stalled; 0 means
	// DefaultStallThreshold.
	StallThreshold time.Duration
	// LoginInterval is the time between logins; 0 means DefaultLoginInterval.
	LoginInterval time.Duration
	// CalmLoginInterval is the time between logins once nothing odd was seen for five minutes; 0 means three times LoginInterval.
	CalmLoginInterval time.Duration
	// LoginTimeout is when a login without an answer counts as failed, and six round trips as the reads find them are added to
	// it; 0 means DefaultTimeout.
	LoginTimeout time.Duration

	// Write switches the write probe on: a row of reliability.heartbeat (deploy/sql/heartbeat.sql) is updated.
	Write bool
	// WriteInterval is the time between write probes; 0 means DefaultWriteInterval.
	WriteInterval time.Duration
	// WriteTimeout is when a write probe without an answer counts as failed; 0 means DefaultTimeout.
	WriteTimeout time.Duration
	// Instance is the name of this exporter's heartbeat row; required with Write.
	Instance string

	// OnConnectionLost, if set, is called when the kept read connection broke or stopped answering. It must not block.
	OnConnectionLost func()
	Logger           log.Logger
}

// withDefaults fills in what is 0.
func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&o.ReadInterval, DefaultReadInterval}, {&o.PulseInterval, DefaultPulseInterval}, {&o.ReadTimeout, DefaultTimeout},
		{&o.StallThreshold, DefaultStallThreshold},
		{&o.LoginInterval, DefaultLoginInterval}, {&o.LoginTimeout, DefaultTimeout},
		{&o.WriteInterval, DefaultWriteInterval}, {&o.WriteTimeout, DefaultTimeout},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	if o.CalmLoginInterval == 0 {
		o.CalmLoginInterval = min(3*o.LoginInterval, maxInterval)
	}
	if o.OnConnectionLost == nil {
		o.OnConnectionLost = func() {}
	}
	return o
}

// validate speaks to the user, in the words of the flags.
func (o Options) validate() error {
	for _, d := range []struct {
		what     string
		value    time.Duration
		min, max time.Duration
	}{
		{"probe interval", o.ReadInterval, minInterval, maxInterval},
		{"pulse interval", o.PulseInterval, minInterval, maxInterval},
		{"login interval", o.LoginInterval, minInterval, maxInterval},
		{"calm login interval", o.CalmLoginInterval, minInterval, maxInterval},
		{"write interval", o.WriteInterval, minInterval, maxInterval},
		{"stall threshold", o.StallThreshold, minThreshold, maxTimeout},
		{"probe timeout", o.ReadTimeout, minTimeout, maxTimeout},
		{"login timeout", o.LoginTimeout, minTimeout, maxTimeout},
		{"write timeout", o.WriteTimeout, minTimeout, maxTimeout},
	} {
		if d.value < d.min || d.value > d.max {
			return fmt.Errorf("the %s is %s. HINT: Choose %s to %s", d.what, d.value, d.min, d.max)
		}
	}
	if o.LoginInterval < o.ReadInterval {
		return fmt.Errorf("the login interval (%s) is shorter than the probe interval (%s): logins cost the server more "+
			"than reads. HINT: Choose a login interval of at least %s", o.LoginInterval, o.ReadInterval, o.ReadInterval)
	}
	if o.CalmLoginInterval < o.LoginInterval {
		return fmt.Errorf("the calm login interval (%s) is shorter than the login interval (%s). HINT: Choose at least that", o.CalmLoginInterval,
			o.LoginInterval)
	}
	if o.Target == "" {
		return fmt.Errorf("the prober has no target. HINT: Give it host:port/database")
	}
	if o.Logger == nil {
		return fmt.Errorf("the prober has no logger")
	}
	if o.Write {
		return validateInstance(o.Instance)
	}
	return nil
}

func validateInstance(name string) error {
	if name == "" || len(name) > maxInstance || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("the write probe needs a name for this exporter's row, not %q. HINT: Choose 1 to %d printable "+
			"characters, such as the host's name", name, maxInstance)
	}
	return nil
}
