package fleet

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What is accepted as an address is the same when it is read again, and holds nothing that a connection string could misread.
func FuzzAddress(f *testing.F) {
	for _, text := range []string{
		"db1", "db1:5432/postgres", "postgres://db1/shop", "[::1]:6432/a", "::1", "fe80::1%eth0", "a:0", "a:99999", "DB1.", "10.0.0.1/x y", "a@b",
		"/", ":", "[",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			if len(text) > 12 && strings.Contains(err.Error(), text) {
				t.Errorf("the error repeats %q: %v", text, err)
			}
			return
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("%q is %v, and that is %v, %v", text, a, again, err)
		}
		if strings.ContainsAny(a.Host+a.Database, " '\"\\\x00=@?") {
			t.Errorf("%q is accepted as %q", text, a)
		}
	})
}

// Whatever a user and a password are made of, the driver reads them back, and nothing else of them.
func FuzzConnectionString(f *testing.F) {
	f.Add("reliability_exporter", "correct-horse")
	f.Add("a'b", `c\' host='evil`)
	f.Add(`\`, "")
	f.Add(" ", "\t\n= sslmode=disable")
	f.Fuzz(func(t *testing.T, user, password string) {
		if user == "" || strings.ContainsRune(user+password, 0) {
			t.Skip() // refused where the file is read; no text of YAML has a NUL
		}
		m := AuthModule{User: user, Password: password, Options: map[string]string{"sslmode": "disable"}}
		c, err := pgconn.ParseConfig(m.dsn(Address{Host: "db1", Port: 5433, Database: "shop"}))
		if err != nil {
			t.Fatalf("user %q, password %q: %v", user, password, err)
		}
		if c.User != user || c.Password != password || c.Host != "db1" || c.Port != 5433 || c.Database != "shop" ||
			c.RequireAuth != authOptions["require_auth"] {
			t.Errorf("user %q, password %q became %q, %q, %s:%d/%s, %s", user, password, c.User, c.Password, c.Host, c.Port, c.Database,
				c.RequireAuth)
		}
	})
}

var lineOfFile = regexp.MustCompile(`(?m)^fleet\.yml(:\d+)?: `)

// Whatever a file holds, it is read, or each mistake has a place in it.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"auth_modules: {m: {user: u, password: p}}\ntargets: [{name: a, address: db1, auth_module: m, labels: {cluster: c}}]\n",
		"auth_modules: {m: {user: u, password_file: p, options: {sslmode: require, connect_timeout: '3'}}}\nmax_targets: 3\nidle_timeout: 1m\n",
		"allow: [{hosts: 'db[0-9]+', networks: [10.0.0.0/8], ports: [5432], databases: [a], auth_modules: [m]}]\n",
		"a: &a [*a]\n", "? {}\n", "auth_modules: &x {m: *x}\n", "--- a\n--- b\n", "",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("fleet.yml", data)
		if err != nil {
			if !lineOfFile.MatchString(err.Error()) {
				t.Errorf("the error has no place: %v", err)
			}
			return
		}
		for _, target := range c.Targets {
			if _, ok := c.AuthModules[target.AuthModule]; !ok || target.Name == "" {
				t.Errorf("accepted: %+v", target)
			}
		}
	})
}
