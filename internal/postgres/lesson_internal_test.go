package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// An address that comes to lead to an older server is not lost for a setting that the newer one needed with the login.
func TestASettingOfTheLoginThatAnOlderServerDoesNotKnow(t *testing.T) {
	c := &Connector{shared: &shared{}}
	unknown := &pgconn.PgError{Code: "42704", Message: `unrecognized configuration parameter "transaction_timeout"`}
	if c.learns(unknown) {
		t.Error("a setting that was not sent is to be left out")
	}
	for range 2 { // two sessions at once
		if !c.learns(&pgconn.PgError{Code: "25P04"}) {
			t.Error("the limit of transactions is not lifted with the next login")
		}
	}
	if !c.learns(unknown) || c.learns(unknown) {
		t.Error("the setting is not left out once it is unknown")
	}
	if _, early := c.early.Load(transactionLimit); early {
		t.Error("the setting goes on to be sent")
	}
}
