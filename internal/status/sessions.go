package status

import "time"

// Sessions are what the sessions of clients do, as the sample of the newest read tells.
type Sessions struct {
	SampledAt time.Time `json:"sampled_at"`
	// Used are connections of clients, of at most Max.
	Used   int `json:"used"`
	Max    int `json:"max,omitempty"`
	Active int `json:"active"`
	// IdleInTransaction do nothing, and hold what their transactions have locked.
	IdleInTransaction int `json:"idle_in_transaction"`
	// Blocked wait for a lock.
	Blocked int `json:"blocked"`
	// OldestTransactionSeconds is how long the oldest transaction has been open; left out without one.
	OldestTransactionSeconds float64 `json:"oldest_transaction_seconds,omitempty"`
	// Waits are what active sessions wait for, those of the most sessions first.
	Waits []SessionWait `json:"waits"`
	// BlockingAt is when it was asked who blocks whom; left out while nobody waits for a lock.
	BlockingAt *time.Time `json:"blocking_at,omitempty"`
	// Blocking are those who wait for a lock and those who are waited for; who is waited for comes before who waits.
	Blocking []Blocking `json:"blocking"`
}

// SessionWait is how many sessions wait for something.
type SessionWait struct {
	// Event is such as Lock:transactionid; none is of those that don't wait.
	Event    string `json:"event"`
	Sessions int    `json:"sessions"`
}

// Blocking is a session that waits for a lock, or that others wait for.
type Blocking struct {
	// PID of its process; 0 of a prepared transaction, which has none.
	PID int `json:"pid"`
	// Depth is 0 of who waits for nobody, 1 of who waits for such a one, and so on.
	Depth       int    `json:"depth"`
	User        string `json:"user,omitempty"`
	Application string `json:"application,omitempty"`
	// Backend is its kind, where it is no client's.
	Backend string `json:"backend,omitempty"`
	State   string `json:"state,omitempty"`
	// Wait is what it waits for, such as Lock:relation; left out where it does not wait.
	Wait string `json:"wait,omitempty"`
	// TransactionSeconds is how old its transaction is, StateSeconds how long it has been in its state.
	TransactionSeconds float64 `json:"transaction_seconds"`
	StateSeconds       float64 `json:"state_seconds"`
	// Blocks is how many sessions wait for it, also those that wait for one that does.
	Blocks int `json:"blocks"`
	// BlockedBy are the processes that it waits for.
	BlockedBy []int `json:"blocked_by,omitempty"`
	// Statement is its newest, as --web.show-statements says; left out where that is none.
	Statement string `json:"statement,omitempty"`
	// Remedy is the statement that ends the session others wait for; left out of those that wait themselves.
	Remedy string `json:"remedy,omitempty"`
}
