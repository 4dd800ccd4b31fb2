package serverlog

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
)

// samples are what busy servers write most of, in each format.
var samples = map[string][]string{
	"log": {
		`2026-11-28 10:07:16.123 UTC [4711] app@shop/web LOG:  duration: 0.313 ms  statement: UPDATE pgbench_accounts SET abalance = abalance + 42 WHERE aid = 4711;`,
		`2026-11-28 10:07:16.124 UTC [4712] app@shop/web LOG:  connection received: host=10.0.0.1 port=54321`,
		`2026-11-28 10:07:16.124 UTC [4712] app@shop/web LOG:  connection authorized: user=app database=shop application_name=web`,
		`2026-11-28 10:07:16.125 UTC [4711] app@shop/web ERROR:  duplicate key value violates unique constraint "orders_pkey"`,
		`2026-11-28 10:07:16.125 UTC [4711] app@shop/web DETAIL:  Key (id)=(42) already exists.`,
		`2026-11-28 10:07:16.125 UTC [4711] app@shop/web STATEMENT:  INSERT INTO orders (id, customer, amount) VALUES (42, 'Ada', 12.50)`,
	},
	"csv": {
		`2026-11-28 10:07:16.123 UTC,"app","shop",4711,"10.0.0.1:54321",6928f0a4.1267,7,"UPDATE",2026-11-28 10:07:16 UTC,3/12,0,LOG,00000,"duration: 0.313 ms  statement: UPDATE pgbench_accounts SET abalance = abalance + 42 WHERE aid = 4711;",,,,,,,,,"web","client backend",,0`,
		`2026-11-28 10:07:16.125 UTC,"app","shop",4711,"10.0.0.1:54321",6928f0a4.1267,8,"INSERT",2026-11-28 10:07:16 UTC,3/13,771,ERROR,23505,"duplicate key value violates unique constraint ""orders_pkey""","Key (id)=(42) already exists.",,,,,"INSERT INTO orders (id, customer, amount)` + "\n" + `VALUES (42, 'Ada', 12.50)",,,"web","client backend",,0`,
	},
	"json": {
		`{"timestamp":"2026-11-28 10:07:16.123 UTC","user":"app","dbname":"shop","pid":4711,"remote_host":"10.0.0.1","remote_port":54321,"session_id":"6928f0a4.1267","line_num":7,"ps":"UPDATE","session_start":"2026-11-28 10:07:16 UTC","vxid":"3/12","txid":0,"error_severity":"LOG","message":"duration: 0.313 ms  statement: UPDATE pgbench_accounts SET abalance = abalance + 42 WHERE aid = 4711;","application_name":"web","backend_type":"client backend","query_id":0}`,
		`{"timestamp":"2026-11-28 10:07:16.125 UTC","user":"app","dbname":"shop","pid":4711,"remote_host":"10.0.0.1","remote_port":54321,"session_id":"6928f0a4.1267","line_num":8,"ps":"INSERT","session_start":"2026-11-28 10:07:16 UTC","vxid":"3/13","txid":771,"error_severity":"ERROR","state_code":"23505","message":"duplicate key value violates unique constraint \"orders_pkey\"","detail":"Key (id)=(42) already exists.","statement":"INSERT INTO orders (id, customer, amount)\nVALUES (42, 'Ada', 12.50)","application_name":"web","backend_type":"client backend","query_id":0}`,
	},
}

// BenchmarkParse is the parser's speed: 200 MB/s are 10 MB/s of log for 5 % of one CPU.
func BenchmarkParse(b *testing.B) {
	for ext, lines := range samples {
		b.Run(ext, func(b *testing.B) {
			data := []byte(strings.Repeat(strings.Join(lines, "\n")+"\n", chunk/len(strings.Join(lines, "\n"))))
			l, err := New(Options{Files: []string{"x"}, Logger: log.NewNopLogger()})
			if err != nil {
				b.Fatal(err)
			}
			l.Learn(Settings{Prefix: "%m [%p] %q%u@%d/%a ", TimeZone: "UTC"})
			fl := &file{path: "x." + ext, reader: reader{log: l, live: true}}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				fl.take(data)
			}
		})
	}
}

// TestCost follows 10 MB of log a second for some seconds, and says what it takes. It measures the whole of this process, so it
// runs alone: PG_RELIABILITY_LONG=1 go test ./internal/serverlog -run Cost -v.
func TestCost(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_LONG") == "" {
		t.Skip("a measurement of ten seconds; PG_RELIABILITY_LONG=1 asks for it")
	}
	for ext, lines := range samples {
		t.Run(ext, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x."+ext)
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			block := strings.Join(lines, "\n") + "\n"
			block = strings.Repeat(block, (1<<20)/len(block))
			_, _ = out.WriteString(block)
			follow(t, Settings{Prefix: "%m [%p] %q%u@%d/%a "}, "", path) // warms up
			const seconds = 10
			before, start := cpu(), time.Now()
			var written int
			for time.Since(start) < seconds*time.Second {
				n, err := out.WriteString(block)
				if err != nil {
					t.Fatal(err)
				}
				written += n
				time.Sleep(time.Until(start.Add(time.Duration(float64(written) / (10 << 20) * float64(time.Second)))))
			}
			spent := cpu() - before
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Printf("%s: %.1f MB/s, %.1f %% of one CPU with the writing of it, heap %.1f MB\n", ext, float64(written)/1e6/time.Since(start).
				Seconds(),
				100*spent.Seconds()/time.Since(start).Seconds(), float64(m.HeapInuse)/1e6)
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
