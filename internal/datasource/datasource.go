// Package datasource finds out from variables which server is meant: those that postgres_exporter's users have set
// already, each also as NAME_FILE with the value in a file. The PG* variables are for libpq's rules, in pgx and in the
// client programs.
package datasource

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
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
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	if value = strings.TrimSpace(string(b)); value == "" {
		return "", fmt.Errorf("%s_FILE: %s is empty", name, file)
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
		return "", errors.New("DATA_SOURCE_NAME holds several connection strings. HINT: Keep one; pg_reliability_exporter watches several servers with --config.file")
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
	u, err := url.Parse("postgresql://" + uri)
	if err != nil { // it may quote a password
		return "", errors.New("DATA_SOURCE_URI can't be used: malformed. HINT: Write host:5432/database?sslmode=verify-full, without a user")
	}
	user, err := v.Value("DATA_SOURCE_USER")
	if err != nil {
		return "", err
	}
	password, err := v.Value("DATA_SOURCE_PASS")
	if err != nil {
		return "", err
	}
	switch {
	case user != "" && password != "":
		u.User = url.UserPassword(user, password)
	case user != "":
		u.User = url.User(user)
	}
	return u.String(), nil
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
