package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a server may send. Who sends more is cut off: it is broken, hostile, or was asked for more than we can hold.
const (
	// maxRowMessage bounds one row, and the description of its columns: 1,600 columns, the most a table can have, need 150 kB.
	maxRowMessage = 256 << 10
	// maxOtherMessage bounds each other message: a report of an error, a setting, a notice.
	maxOtherMessage = 64 << 10
	// loginBytes and loginMessages bound a login, up to the server's being ready for a query.
	loginBytes, loginMessages = 256 << 10, 1000
	// idleBytes bound what comes while nothing was asked: changed settings, and the reason of a farewell.
	idleBytes = 64 << 10
	// queryBytes and queryRows bound the answer of Session.Query, which is kept in memory as a whole.
	queryBytes, queryRows = 1 << 20, 10_000
	// maxNotices bound the notices of a login, and of one pipeline.
	maxNotices = 1000
	// unaskedBytes bound the settings and notifications that a server reports over a connection's whole life: the driver
	// keeps each setting by its name.
	unaskedBytes = 256 << 10
	// maxAuthRequests bound the steps of an authentication; the longest there is, SCRAM, has four.
	maxAuthRequests = 10
	// maxIterations bound the hash that a server asks for with SCRAM, which costs us about 0.2 s at this number. PostgreSQL asks
	// for 4096 unless scram_iterations says otherwise.
	maxIterations = 600_000
)

// ErrTooMuch says that a server sent more than an answer of its kind can be, and was cut off for it.
var ErrTooMuch = errors.New("more than is taken from a server")

// meter counts what a server sends, message by message, before the driver sees it, and closes the connection that sends too
// much. It stands above TLS, so that it sees the protocol in both cases. The limits are of one phase: the login, then each
// pipeline.
type meter struct {
	net.Conn

	mu       sync.Mutex
	phase    string // in the error: "a login"
	bytes    int64  // that the phase may still send
	messages int64  // likewise; negative is no limit
	notices  int
	ready    bool // the login is over
	auths    int
	unasked  int64 // over the connection's life
	excess   error // set once, for good

	header [5]byte // a message's kind and length, as far as it has come
	filled int
	rest   int64  // of the message under way
	auth   []byte // the message under way, if it is a request to authenticate

	// turn is who reads. The driver may have begun to read in the background, where a write took it long, and go on when all is read
	// that it asked for: it would take the answer to a sign of life.
	turn sync.Mutex
	// back and backErr are what was read and given back.
	back    []byte
	backErr error
}

// metered puts a meter on each connection that a configuration opens.
func metered(cfg *pgconn.Config) {
	cfg.MaxProtocolMessageBodyLen = maxRowMessage
	cfg.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		return &meter{Conn: conn, phase: "a login", bytes: loginBytes, messages: loginMessages}, nil
	}
	// We listen to nothing; without a function of ours pgx would keep every notification.
	cfg.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {}
}

// meterOf is the meter of a connection that metered has configured.
func meterOf(conn *pgconn.PgConn) *meter {
	m, _ := conn.Conn().(*meter)
	return m
}

// NetConn is the connection below, as tls.Conn has it.
func (m *meter) NetConn() net.Conn { return m.Conn }

// begin starts a phase that may send this much.
func (m *meter) begin(phase string, limit int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase, m.bytes, m.messages, m.notices = phase, limit, -1, 0
}

// cut is why the server was cut off; nil where it was not.
func (m *meter) cut() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.excess
}

// giveBack has the next reads return what was read already.
func (m *meter) giveBack(p []byte, err error) { m.back, m.backErr = append(m.back, p...), err }

// Read implements net.Conn, for the driver.
func (m *meter) Read(p []byte) (int, error) {
	m.turn.Lock()
	defer m.turn.Unlock()
	return m.read(p)
}

// takeTurn has read read past the driver, until giveTurn. It is false where the driver reads already, or there is no meter.
func (m *meter) takeTurn() bool { return m != nil && m.turn.TryLock() }

func (m *meter) giveTurn() { m.turn.Unlock() }

func (m *meter) read(p []byte) (int, error) {
	if len(m.back) > 0 {
		n := copy(p, m.back)
		m.back = m.back[n:]
		return n, nil
	}
	if err := m.backErr; err != nil {
		m.backErr = nil
		return 0, err
	}
	n, err := m.Conn.Read(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.excess == nil {
		m.excess = m.count(p[:n])
	}
	if m.excess != nil {
		_ = m.Close()
		return 0, m.excess
	}
	return n, err
}

func (m *meter) count(p []byte) error {
	if m.bytes -= int64(len(p)); m.bytes < 0 {
		return m.tooMuch("bytes")
	}
	for len(p) > 0 {
		if m.rest > 0 {
			n := min(m.rest, int64(len(p)))
			if m.auth != nil {
				m.auth = append(m.auth, p[:n]...)
			}
			p, m.rest = p[n:], m.rest-n
			if m.rest == 0 && m.auth != nil {
				if err := m.request(); err != nil {
					return err
				}
			}
			continue
		}
		n := copy(m.header[m.filled:], p)
		p, m.filled = p[n:], m.filled+n
		if m.filled < len(m.header) {
			return nil
		}
		m.filled = 0
		if err := m.message(m.header[0], int64(int32(binary.BigEndian.Uint32(m.header[1:])))-4); err != nil {
			return err
		}
	}
	return nil
}

// message judges a message by its kind and the length of its body.
func (m *meter) message(kind byte, body int64) error {
	limit := int64(maxOtherMessage)
	switch kind {
	case 'D', 'T', 't', 'd': // rows and their descriptions
		limit = maxRowMessage
	}
	switch {
	case body < 0:
		return notPostgres("the server sent a message of %d bytes", body)
	case !strings.ContainsRune(kinds, rune(kind)):
		return notPostgres("the server sent a message of a kind that there is not (%q)", kind)
	case !m.ready && !strings.ContainsRune(loginKinds, rune(kind)):
		return notPostgres("the server sent a message that is no part of a login (%q)", kind)
	case body > limit:
		return fmt.Errorf("the server sent a message of %d bytes, %w: at most %d for one of this kind", body, ErrTooMuch, limit)
	}
	m.rest, m.auth = body, nil
	if m.messages == 0 {
		return m.tooMuch("messages")
	}
	m.messages = max(m.messages-1, -1)
	switch kind {
	case 'Z':
		m.ready = true
	case 'N':
		if m.notices++; m.notices > maxNotices {
			return m.tooMuch("notices")
		}
	case 'S', 'A':
		if m.unasked += body; m.unasked > unaskedBytes {
			return m.tooMuch("settings and notifications")
		}
	case 'R':
		if m.auths++; m.auths > maxAuthRequests {
			return m.tooMuch("requests to authenticate")
		}
		m.auth = make([]byte, 0, body)
	}
	return nil
}

// request reads one request to authenticate: the work that SCRAM asks for is bounded before the driver does it.
func (m *meter) request() error {
	body := m.auth
	m.auth = nil
	const kind, saslContinue = 4, 11
	if len(body) < kind || binary.BigEndian.Uint32(body) != saslContinue {
		return nil
	}
	for _, field := range bytes.Split(body[kind:], []byte(",")) {
		if text, ok := bytes.CutPrefix(field, []byte("i=")); ok {
			if n, err := strconv.ParseInt(string(text), 10, 64); err != nil || n > maxIterations {
				return fmt.Errorf("the server asks for %s rounds of SCRAM's hash, %w: at most %d. HINT: Lower the server's scram_iterations",
					clean(string(text), 20), ErrTooMuch, maxIterations)
			}
		}
	}
	return nil
}

func (m *meter) tooMuch(what string) error {
	return fmt.Errorf("the server sent %s without end, %w for %s", what, ErrTooMuch, m.phase)
}
