package collector_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// counted is a source with one sample for each of its values, which are there after a while.
type counted struct {
	name   string
	desc   *metric.Desc
	values int
	after  time.Duration
}

func (c counted) Name() string { return c.name }
func (counted) Help() string   { return "For a test." }

func (c counted) Collect(_ context.Context, sink *metric.Sink) error {
	time.Sleep(c.after)
	for i := range c.values {
		sink.Samples = append(sink.Samples, metric.Sample{Desc: c.desc, Value: 1, Labels: []string{fmt.Sprint(i)}})
	}
	return nil
}

// A run that ends while a page is made is told with its samples or not at all. The page takes some time, as the second source has many
// samples, and the first one's first run ends within it.
func TestNoPageTellsOfSuccessWithoutTheSamples(t *testing.T) {
	var list metric.List
	first, many := list.Gauge("test_first", "For a test.", "n"), list.Gauge("test_many", "For a test.", "n")
	prober := &theProber{}
	prober.says(postgres.OK, probe.Primary)
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: "host=127.0.0.1 port=1 sslmode=disable"}) // nobody is there
	if err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.NewPool(postgres.PoolOptions{Connector: connector, Min: 1, Max: 2, Logger: log.NewNopLogger()})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for i := range 40 {
		e := collector.New(collector.Options{Pool: pool, Prober: prober, Logger: log.NewNopLogger(),
			Sources: []collector.ScheduledSource{
				{Source: counted{"first", first, 1, 20*time.Millisecond + time.Duration(i)*time.Millisecond/4}, Interval: time.Hour},
				{Source: counted{"many", many, 40_000, 0}, Interval: time.Hour},
			}})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { e.Run(ctx) })
		for success := false; !success; {
			page := flatten(e.Gather(ctx, collector.Selection{}))
			success = page[`pg_reliability_collector_success{collector="first"}`] == 1
			if _, there := page[`test_first{n="0"}`]; success && !there {
				t.Fatalf("page %d tells of a success whose samples it has not", i)
			}
		}
		cancel()
		running.Wait()
	}
}
