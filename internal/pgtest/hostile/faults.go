package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Fault is one way to hurt a client. The zero value is a server that behaves, and whose tables are empty.
type Fault struct {
	// Name says what the server does.
	Name string
	// Login replaces everything after the client's first message; the connection is cut when it returns.
	Login func(*Conn) error
	// First replaces the answer to the first query of a session, Probe that to the exporter's read probe, Query all others but that to
	// SELECT 1.
	First, Probe, Query func(c *Conn, columns []string) error
}

// Faults lists all there are.
func Faults() []Fault {
	return slices.Concat(loginFaults(), firstFaults(), probeFaults(), queryFaults())
}

const slow = 100 * time.Millisecond

func loginFaults() []Fault {
	login := func(name string, f func(*Conn) error) Fault { return Fault{Name: "login: " + name, Login: f} }
	return []Fault{
		login("settings with ever new names", func(c *Conn) error {
			return afterOK(c, func() error {
				return newSettings(c)
			})
		}),
		login("notices without end", func(c *Conn) error { return c.Forever(encode(notice())) }),
		login("requests to authenticate without end", func(c *Conn) error {
			return c.Forever(encode(&pgproto3.AuthenticationMD5Password{Salt: [4]byte{1, 2, 3, 4}}))
		}),
		login("an error of 200 MB", func(c *Conn) error { return longError(c, 200<<20) }),
		login("a message of 1 GB, announced and never sent", func(c *Conn) error {
			return firstError(c.Write(header('E', 1<<30)), c.Silence)
		}),
		login("a message of negative length", func(c *Conn) error { return firstError(c.Write(header('R', -7)), c.Silence) }),
		login("10 million rounds of SCRAM's hash", func(c *Conn) error {
			if err := c.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}); err != nil {
				return err
			}
			if err := c.backend.SetAuthType(pgproto3.AuthTypeSASL); err != nil {
				return err
			}
			m, err := c.backend.Receive()
			initial, ok := m.(*pgproto3.SASLInitialResponse)
			if err != nil || !ok {
				return err
			}
			_, nonce, _ := strings.Cut(string(initial.Data), "r=")
			return firstError(c.Send(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=" + nonce + "more,s=c2FsdA==,i=10000000")}), c.Silence)
		}),
		login("one byte every 100 ms", func(c *Conn) error { return c.Slowly(encode(welcome()...), slow) }),
		login("half a message, and the end", func(c *Conn) error { return c.Write(encode(notice())[:20]) }),
		login("ready before it is authenticated", func(c *Conn) error {
			return firstError(c.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'}), c.Silence)
		}),
		login("the end of an exchange that never began", func(c *Conn) error {
			return firstError(c.Send(&pgproto3.AuthenticationSASLFinal{Data: []byte("v=c2FsdA==")}), c.Silence)
		}),
		login("an answer in HTTP", func(c *Conn) error { return c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }),
		login("a request of a kind that there is not", func(c *Conn) error {
			return firstError(c.Write(append(header('R', 4), 0, 0, 0, 99)), c.Silence)
		}),
		login("rows in place of a login", func(c *Conn) error { return c.Forever(encode(Row("x"))) }),
		login("rubbish", func(c *Conn) error {
			random := rand.New(rand.NewPCG(1, 2))
			b := make([]byte, 4096)
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			return c.Forever(b)
		}),
		login("an authentication that never goes on", func(c *Conn) error { return c.Silence() }),
	}
}

func firstFaults() []Fault {
	first := func(name string, f func(*Conn, []string) error) Fault {
		return Fault{Name: "first answer: " + name, First: f}
	}
	return []Fault{
		first("rows without end", endlessRows),
		first("no row", func(c *Conn, columns []string) error { return c.Send(Described(columns...), done()) }),
		first("no column", func(c *Conn, _ []string) error { return c.Send(Described(), Row(), done()) }),
		first("a row that is narrower than announced", func(c *Conn, columns []string) error {
			return c.Send(Described(columns...), Row(), done())
		}),
		first("a version that is no number", func(c *Conn, columns []string) error {
			return c.Send(Described(columns...), Row(strconv.Itoa(PID), strings.Repeat("x", 60<<10)), done())
		}),
	}
}

// probeFaults are some of the queries', done to the read probe.
func probeFaults() []Fault {
	var out []Fault
	for _, f := range queryFaults() {
		switch name := strings.TrimPrefix(f.Name, "query: "); name {
		case "rows without end", "an error of 9 MB", "a row that is narrower than announced", "half a message, and nothing more",
			"40,000 rows for everything":
			out = append(out, Fault{Name: "read probe: " + name, Probe: f.Query})
		}
	}
	return out
}

func queryFaults() []Fault {
	query := func(name string, f func(*Conn, []string) error) Fault { return Fault{Name: "query: " + name, Query: f} }
	return []Fault{
		query("rows without end", endlessRows),
		query("notices without end", func(c *Conn, _ []string) error { return c.Forever(encode(notice())) }),
		query("settings with ever new names", func(c *Conn, _ []string) error { return newSettings(c) }),
		query("notifications without end", func(c *Conn, _ []string) error {
			return c.Forever(encode(&pgproto3.NotificationResponse{PID: PID, Channel: "c", Payload: strings.Repeat("p", 7000)}))
		}),
		query("an error of 9 MB", func(c *Conn, _ []string) error { return longError(c, 9<<20) }),
		query("an error of 60 kB with control characters", func(c *Conn, _ []string) error {
			text := strings.Repeat("\x1b[31m\r\n\xff\x00"[:8], 7500)
			return c.Send(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "XX000", Message: text})
		}),
		query("9,000 columns", func(c *Conn, columns []string) error {
			names := slices.Clone(columns)
			for i := range 9_000 {
				names = append(names, "c"+strconv.Itoa(i))
			}
			return c.Send(Described(names...), done())
		}),
		query("a column's name of 900 kB", func(c *Conn, _ []string) error {
			return c.Send(Described(strings.Repeat("n", 900_000)), Row("1"), done())
		}),
		query("two columns of each name", func(c *Conn, columns []string) error {
			return c.Send(Described(slices.Concat(columns, columns)...), Row(slices.Concat(ones(columns), ones(columns))...), done())
		}),
		query("a row that is narrower than announced", func(c *Conn, columns []string) error {
			return c.Send(Described(columns...), Row(), done())
		}),
		query("a row that is wider than announced", func(c *Conn, columns []string) error {
			return c.Send(Described(columns...), Row(append(ones(columns), "1")...), done())
		}),
		query("40,000 rows for everything", func(c *Conn, columns []string) error {
			if err := c.Send(Described(columns...)); err != nil {
				return err
			}
			for from := 0; from < 40_000; from += 1000 {
				var b []byte
				for i := range 1000 {
					b = append(b, encode(Row(numbered(columns, from+i)...))...)
				}
				if err := c.Write(b); err != nil {
					return err
				}
			}
			return c.Send(done())
		}),
		query("labels of 200 kB", func(c *Conn, columns []string) error {
			if err := c.Send(Described(columns...)); err != nil {
				return err
			}
			each := 200_000 / len(columns)
			for i := range 300 {
				row := make([]string, len(columns))
				for j := range row {
					row[j] = strconv.Itoa(i) + strings.Repeat("0", each)
				}
				if err := c.Send(Row(row...)); err != nil {
					return err
				}
			}
			return c.Send(done())
		}),
		query("one byte every 100 ms", func(c *Conn, columns []string) error {
			return c.Slowly(encode(Described(columns...), Row(ones(columns)...), done()), slow)
		}),
		query("half a message, and nothing more", func(c *Conn, columns []string) error {
			b := encode(Described(columns...), Row(ones(columns)...))
			return firstError(c.Write(b[:len(b)-1]), c.Silence)
		}),
		query("half a message, and the end", func(c *Conn, columns []string) error {
			b := encode(Described(columns...), Row(ones(columns)...))
			return firstError(c.Write(b[:len(b)-1]), func() error { return errCut })
		}),
		query("a message of negative length", func(c *Conn, _ []string) error { return firstError(c.Write(header('D', -1)), c.Silence) }),
		query("a row of 1 GB, announced and never sent", func(c *Conn, columns []string) error {
			if err := c.Send(Described(columns...)); err != nil {
				return err
			}
			return firstError(c.Write(header('D', 1<<30-8)), c.Silence)
		}),
		query("the end before the beginning", func(c *Conn, columns []string) error {
			return c.Send(done(), &pgproto3.ReadyForQuery{TxStatus: 'I'}, Row(ones(columns)...), Described(columns...))
		}),
		query("a copy without end", func(c *Conn, _ []string) error {
			if err := c.Send(&pgproto3.CopyOutResponse{ColumnFormatCodes: []uint16{0}}); err != nil {
				return err
			}
			return c.Forever(encode(&pgproto3.CopyData{Data: bytes.Repeat([]byte("x"), 8000)}))
		}),
		query("numbers that are none", func(c *Conn, columns []string) error {
			row := make([]string, len(columns))
			for i := range row {
				row[i] = []string{"1e999999", "NaN", "-Infinity", "0x1p4", "", "\xff\xfe", "1_000"}[i%7]
			}
			return c.Send(Described(columns...), Row(row...), done())
		}),
	}
}

func afterOK(c *Conn, then func() error) error {
	return firstError(c.Send(&pgproto3.AuthenticationOk{}), then)
}

func firstError(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

func newSettings(c *Conn) error {
	for n := 0; ; {
		var b []byte
		for range 500 {
			n++
			b = append(b, encode(&pgproto3.ParameterStatus{Name: fmt.Sprintf("setting_%d", n), Value: strings.Repeat("v", 100)})...)
		}
		if err := c.Write(b); err != nil {
			return err
		}
	}
}

func longError(c *Conn, size int) error {
	start := []byte("SERROR\x00VERROR\x00CXX000\x00M")
	if err := c.Write(append(header('E', size), start...)); err != nil {
		return err
	}
	chunk := bytes.Repeat([]byte("e"), 64<<10)
	for left := size - len(start) - 2; left > 0; left -= len(chunk) {
		if err := c.Write(chunk[:min(left, len(chunk))]); err != nil {
			return err
		}
	}
	return c.Write([]byte{0, 0})
}

func endlessRows(c *Conn, columns []string) error {
	if err := c.Send(Described(columns...)); err != nil {
		return err
	}
	for n := 0; ; {
		var b []byte
		for range 500 {
			n++
			b = append(b, encode(Row(numbered(columns, n)...))...)
		}
		if err := c.Write(b); err != nil {
			return err
		}
	}
}

// ones is a row that is a number in each column.
func ones(columns []string) []string { return numbered(columns, 1) }

func numbered(columns []string, n int) []string {
	row := make([]string, len(columns))
	for i := range row {
		row[i] = strconv.Itoa(n)
	}
	return row
}

func notice() *pgproto3.NoticeResponse {
	return &pgproto3.NoticeResponse{Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Message: strings.Repeat("n", 100)}
}

func done() *pgproto3.CommandComplete {
	return &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
}

// header begins a message whose body has this many bytes.
func header(kind byte, body int) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(int32(body+4)))
}

func encode(messages ...pgproto3.BackendMessage) []byte {
	var b []byte
	for _, m := range messages {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic(err) // a test's own message
		}
	}
	return b
}
