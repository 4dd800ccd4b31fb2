package fleet

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

const (
	defaultPort     = 5432
	defaultDatabase = "postgres"

	maxHost     = 253
	maxDatabase = 63
)

// Address is a server and a database in it.
type Address struct {
	Host     string // lower case; an IP address in its shortest form, without brackets
	Port     int
	Database string
}

// Host and database names with nothing that a connection string or a log could misread.
var (
	hostName     = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$`)
	databaseName = regexp.MustCompile(`^[^\x00-\x20\x7f/@?\\'"]+$`)
)

var errCredentials = errors.New("a target has neither a user nor a password nor options in it: they would stand in Prometheus' pages " +
	"and logs. " +
	"HINT: Keep them in an auth module of --config.file, and write host:port/database")

var errAddress = errors.New("the target is not an address. HINT: Write host, host:port or host:port/database, such as " +
	"db1.example.com:5432/postgres")

// ParseAddress reads host[:port][/database], with or without postgres:// before it; the port defaults to 5432, the
// database to postgres. Its errors don't repeat the text, which may hold a password.
func ParseAddress(text string) (Address, error) {
	return parseAddress(text, Address{Port: defaultPort, Database: defaultDatabase})
}

// parseAddress takes from a what the text does not name.
func parseAddress(text string, a Address) (Address, error) {
	if strings.ContainsAny(text, "@?= ") {
		return Address{}, errCredentials
	}
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		text = strings.TrimPrefix(text, scheme)
	}
	server, database, named := strings.Cut(text, "/")
	if named && database != "" {
		a.Database = database
	}
	if len(a.Database) > maxDatabase || !databaseName.MatchString(a.Database) {
		return Address{}, errAddress
	}
	host := server
	if _, err := netip.ParseAddr(server); err != nil && strings.Contains(server, ":") && !strings.HasSuffix(server, "]") {
		h, port, err := net.SplitHostPort(server)
		if err != nil {
			return Address{}, errAddress
		}
		if a.Port, err = strconv.Atoi(port); err != nil || a.Port < 1 || a.Port > 65535 {
			return Address{}, errAddress
		}
		host = h
	}
	var err error
	a.Host, err = normalHost(host)
	return a, err
}

func normalHost(host string) (string, error) {
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		if ip.Zone() != "" {
			return "", errAddress
		}
		return ip.Unmap().String(), nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if len(host) > maxHost || !hostName.MatchString(host) {
		return "", errAddress
	}
	return host, nil
}

// String is host:port/database.
func (a Address) String() string {
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) + "/" + a.Database
}
