// Package datasource finds out from variables which server is meant: those that postgres_exporter's users have set
// already, each also as NAME_FILE with the value in a file. The PG* variables are for libpq's rules, in pgx and in the
// client programs.
package datasource

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

// Variables looks one up, as os.LookupEnv does.
type Variables func(name string) (value string, set bool)

// Value is a variable, or the content of the file that NAME_FILE names, without the space around it. Both at once, an
// unreadable file and an empty one are errors.
func (v Variables) Value(name string) (string, error) {
	value, _ := v(name)
	file, _ := v(name + "_FILE")
	switch {
	case value != "" && file != "":
		return "", fmt.Errorf("%s and %s_FILE are both set. HINT: Keep one of them", name, name)
	case file == "":
		return value, nil
	}
	b, err := smallfile.Read(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w. HINT: Name a file that this program's user may read, with the value and nothing else", name, err)
	}
	if value = strings.TrimSpace(string(b)); value == "" {
		return "", fmt.Errorf("%s_FILE: %s is empty. HINT: Write the value into it, and nothing else", name, file)
	}
	return value, nil
}

// ConnectionString is DATA_SOURCE_NAME, or made of DATA_SOURCE_URI, _USER and _PASS; empty where neither is set.
func (v Variables) ConnectionString() (string, error) {
	name, err := v.Value("DATA_SOURCE_NAME")
	if err != nil {
		return "", err
	}
	if several(name) { // the first one's database would be all the others, passwords included, in logs and on pages
		return "", errors.New("DATA_SOURCE_NAME holds several connection strings. HINT: Keep one; pg_reliability_exporter watches several " +
			"servers with --config.file")
	}
	uri, err := v.Value("DATA_SOURCE_URI")
	switch {
	case err != nil:
		return "", err
	case uri == "":
		return name, nil
	case name != "":
		return "", errors.New("DATA_SOURCE_NAME and DATA_SOURCE_URI are both set. HINT: Keep one of them")
	}
	params, err := parseURI(uri)
	if err != nil {
		return "", fmt.Errorf("DATA_SOURCE_URI can't be used: %w", err)
	}
	for keyword, variable := range map[string]string{"user": "DATA_SOURCE_USER", "password": "DATA_SOURCE_PASS"} {
		value, err := v.Value(variable)
		if err != nil {
			return "", err
		}
		if value != "" {
			params[keyword] = value
		}
	}
	return params.String(), nil
}

// parseURI reads what a URL has behind its scheme, or /directory:port/database for a server's socket.
func parseURI(uri string) (dsn.Params, error) {
	if strings.Contains(uri, "://") {
		return nil, errors.New("it has a ://. HINT: Write host:5432/database?sslmode=verify-full, without postgres://")
	}
	if strings.ContainsAny(uri[:1], `"'`+"`") {
		return nil, errors.New("it begins with a quote. HINT: Leave the quotes out: in the environment of Docker Compose, an env file or a " +
			"unit they are a part of the value")
	}
	if strings.HasPrefix(uri, "//") {
		return nil, errors.New("it begins with //. HINT: Write host:5432/database?sslmode=verify-full, without the slashes")
	}
	directory := ""
	if strings.HasPrefix(uri, "/") { // its slashes are not a URL's
		colon := strings.IndexByte(uri, ':')
		if colon < 0 {
			return nil, errors.New("it begins with /, and which part is the socket's directory can't be told. " +
				"HINT: Write /var/run/postgresql:5432/database, the port between them")
		}
		directory, uri = uri[:colon], uri[colon:]
	}
	params, err := dsn.Parse("postgresql://" + uri)
	if err == nil && directory != "" {
		params["host"] = directory
	}
	return params, err
}

// several is true for postgres_exporter's list of URLs.
func several(name string) bool {
	return strings.Contains(name, ",postgres://") || strings.Contains(name, ",postgresql://")
}

// PasswordFile names the file of DATA_SOURCE_PASS_FILE, for who reads it at each connect, so that a rotated password
// needs no reload; empty where the password is part of the connection string.
func (v Variables) PasswordFile() string {
	if uri, err := v.Value("DATA_SOURCE_URI"); err != nil || uri == "" {
		return ""
	}
	file, _ := v("DATA_SOURCE_PASS_FILE")
	return file
}
