package postgres

import (
	"fmt"
	"os/user"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// hostWithPort is a look-up of a name that ends with a port, as Go's resolver and pgx report it.
var hostWithPort = regexp.MustCompile(`lookup [^\s:]+:\d+(:|\s|$)`)

// Given is what a login was tried with, as far as a remedy differs by it. Its zero value is a login that named its role and had a password.
type Given struct {
	// SystemUser is the role's name where it is the name of the system's user, too, as it is when nobody named a role.
	SystemUser string
	NoPassword bool
	// Odd says what looks like a mistake about the role's name or the password, without a word of them; empty where nothing does.
	Odd string
}

// GivenTo is what was given to a login by its configuration.
func GivenTo(cfg *pgconn.Config) Given {
	g := Given{NoPassword: cfg.Password == "", Odd: odd(cfg.User, cfg.Password)}
	if me, err := user.Current(); err == nil && me.Username == cfg.User {
		g.SystemUser = cfg.User
	}
	return g
}

// assignment is how a line begins that gives a variable a password.
var assignment = regexp.MustCompile(`(?i)^(export )?\w*(pass|password|pwd)(_file)?[=:]`)

// odd is Given.Odd for a role's name and a password.
func odd(role, password string) string {
	if strings.TrimSpace(role) != role {
		return "The role's name that this program was given begins or ends with a space: look at DATA_SOURCE_USER, PGUSER, or user= in the " +
			"connection string"
	}
	is := ""
	switch {
	case strings.HasPrefix(password, "\ufeff"):
		is = "begins with a byte order mark, as some editors of Windows write it"
	case strings.ContainsAny(password, "\r\n"):
		is = "has several lines"
	case strings.TrimSpace(password) != password:
		is = "begins or ends with a space"
	case len(password) > 1 && strings.ContainsRune(`"'`+"`", rune(password[0])) && password[0] == password[len(password)-1]:
		is = "is in quotes, which are a part of it"
	case assignment.MatchString(password):
		is = "begins with a name, as an assignment does"
	default:
		return ""
	}
	return "The password that this program was given " + is + ": its file, or variable, holds the password and nothing else"
}

// authRemedy is for a role or a password that the server does not take.
func (g Given) authRemedy() string {
	switch {
	case g.SystemUser != "":
		return fmt.Sprintf("HINT: The role %q has the name of the system's user, which is taken where no role is named: name yours with "+
			"DATA_SOURCE_USER, PGUSER, or user= in the connection string", g.SystemUser)
	case g.NoPassword:
		return "HINT: No password was given to this program: name a file that holds it with DATA_SOURCE_PASS_FILE (the exporter) or " +
			"PGPASSWORD_FILE (the backup job), or write a line into the file of PGPASSFILE"
	}
	if g.Odd != "" {
		return "HINT: " + g.Odd
	}
	return `HINT: Compare the role and password that this program was given with the server's (quotes around a variable's value ` +
		`may have become a part of it): \password ROLE in psql sets a new one`
}

// Remedy is what a person can do about a login that failed for a reason and with a text, as a sentence of its own ("HINT: ..."); empty
// where the text has a remedy already, or where waiting is all there is to do.
func Remedy(reason Reason, text string, given Given) string {
	if strings.Contains(text, "HINT: ") {
		return ""
	}
	switch reason {
	case Refused:
		switch {
		case strings.Contains(text, "no such file or directory"):
			return "HINT: Name the directory that unix_socket_directories of the server has, and the server's port: it is a part of the " +
				"socket's name"
		case strings.Contains(text, "connection refused"):
			return "HINT: No server listens at that address and port. If it runs, compare them with its listen_addresses and port; psql " +
				"--host=HOST --port=PORT shows the same"
		}
	case DNS:
		if hostWithPort.MatchString(text) {
			return "HINT: The port is not a part of the host's name: PGHOST=host and PGPORT=port, or host:port in DATA_SOURCE_URI"
		}
		return "HINT: Compare the host's name with the one that psql on this machine takes; an IP address needs no name service"
	case Protocol:
		return "HINT: Look what listens at that address and port: another program, or a server that is broken or means ill"
	case Auth:
		return given.authRemedy()
	case ConnectionLimit:
		return "HINT: Raise the limit of the role or the database that the error names (ALTER ROLE, ALTER DATABASE ... CONNECTION LIMIT), or " +
			"end sessions of it; the server has room for others"
	case Permission:
		return "HINT: Let this role connect to the database (GRANT CONNECT ON DATABASE ... TO ...; ALTER DATABASE ... ALLOW_CONNECTIONS " +
			"true), or name another one"
	case NoDatabase:
		return "HINT: Name a database that exists: psql -l lists them"
	case PgHBA:
		return "HINT: Allow this role, database and address in the server's pg_hba.conf, such as with the line " +
			"\"host all ROLE ADDRESS/32 scram-sha-256\", and run SELECT pg_reload_conf()"
	case TLS:
		if strings.Contains(text, "server refused TLS connection") {
			return "HINT: Switch the server's ssl on, or, where nobody else can listen on the network, say sslmode=prefer"
		}
		return "HINT: Name the authority's certificate with sslrootcert=FILE, and the server by the name in its certificate"
	}
	return ""
}
