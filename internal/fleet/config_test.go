package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const good = `
auth_modules:
  monitoring:
    user: reliability_exporter
    password: &secret "hunter2'\\"
    sslmode: require
    options: {connect_timeout: 3}
  other: {user: other, password_file: password}
targets:
  - name: shop-1
    address: DB1.example.com
    auth_module: monitoring
    labels: {cluster: shop}
  - {name: shop-2, address: "[FD00::1]:6432/shop", auth_module: other}
allow:
  - hosts: db[0-9]|replica
    networks: [10.1.0.0/16]
    ports: [5432, 6432]
    databases: [postgres, shop]
    auth_modules: [monitoring]
max_targets: 7
idle_timeout: 90s
`

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConfigurationIsReadWhole(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "password", "s3cret\n")
	c, err := Load(write(t, dir, "fleet.yml", good))
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxTargets != 7 || c.IdleTimeout != 90*time.Second || len(c.Targets) != 2 {
		t.Errorf("%+v", c)
	}
	if got := c.Targets[0].Address.String() + " " + c.Targets[1].Address.String(); got != "db1.example.com:5432/postgres [fd00::1]:6432/shop" {
		t.Errorf("addresses %s", got)
	}
	if got := c.AuthModules["other"].PasswordFile; got != filepath.Join(dir, "password") {
		t.Errorf("password_file is meant from the configuration on, not %s", got)
	}
	dsn := c.AuthModules["monitoring"].dsn(c.Targets[0].Address)
	for _, want := range []string{`password='hunter2\'\\'`, "sslmode='require'", "connect_timeout='3'", "host='db1.example.com'",
		"require_auth='scram-sha-256,none'", "passfile=''"} {
		if !strings.Contains(dsn, want) {
			t.Errorf("no %s in %s", want, dsn)
		}
	}
}

// Each file of testdata/bad has its exact errors beside it.
func TestMistakesNamePlaceAndRemedyAndNoSecret(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		_, err := Load(file)
		if err == nil {
			t.Errorf("%s is taken", file)
			continue
		}
		want, _ := os.ReadFile(strings.TrimSuffix(file, ".yml") + ".err")
		if got := err.Error() + "\n"; got != string(want) {
			t.Errorf("%s:\n got %s\nwant %s", file, got, want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: a secret is in the error: %v", file, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"db1":                            "db1:5432/postgres",
		"DB1.Example.com.:6432":          "db1.example.com:6432/postgres",
		"db1:5432/shop":                  "db1:5432/shop",
		"db1/":                           "db1:5432/postgres",
		"postgres://db1:5432/shop":       "db1:5432/shop",
		"10.0.0.1":                       "10.0.0.1:5432/postgres",
		"::1":                            "[::1]:5432/postgres",
		"[::1]:5433":                     "[::1]:5433/postgres",
		"[::1]":                          "[::1]:5432/postgres",
		"::ffff:10.0.0.1":                "10.0.0.1:5432/postgres",
		"postgres://me:hunter2@db1/shop": "",
		"db1?password=hunter2":           "",
		"host=db1 password=hunter2":      "",
		"db1,db2":                        "",
		"db1:0":                          "",
		"db1:99999":                      "",
		"db1:port":                       "",
		"db1:1:2":                        "",
		"/var/run/postgresql":            "",
		"":                               "",
		"fe80::1%eth0":                   "",
		"db1/a/b":                        "",
		"db1/'":                          "",
		"-db1":                           "",
		"db1\n":                          "",
		"db1/" + strings.Repeat("x", 64): "",
		strings.Repeat("x", 254):         "",
		"http://169.254.169.254/latest":  "",
	} {
		a, err := ParseAddress(text)
		if err == nil && a.String() != want || err != nil && want != "" {
			t.Errorf("%q is %s, %v; want %q", text, a, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "HINT: ")) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRulesAllowWholeNamesAndWrittenAddresses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "password", "s3cret\n")
	c, err := Load(write(t, dir, "fleet.yml", good))
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{config: c}
	for target, want := range map[string]bool{
		"db1": true, "replica": true, "db1:6432/shop": true, "10.1.2.3": true, "::ffff:10.1.2.3": true,
		"db12": false, "xreplica": false, "db1.evil.example": false, "evil-db1": false, "10.2.0.1": false,
		"db1:22": false, "db1/other": false, "10.1.2.3:80": false, "10.1.0.0.evil.example": false,
	} {
		a, err := ParseAddress(target)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.allowed(a, "monitoring"); got != want {
			t.Errorf("%s: allowed %v, want %v", target, got, want)
		}
		if f.allowed(a, "other") {
			t.Errorf("%s: allowed with a module that no rule names", target)
		}
	}
}

func TestTheManualsExampleIsRead(t *testing.T) {
	manual, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	dir := t.TempDir()
	write(t, dir, "password", "s3cret\n")
	c, err := Load(write(t, dir, "fleet.yml", example))
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{config: c}
	if a, _ := ParseAddress("db7.example.com"); len(c.Targets) != 2 || !f.allowed(a, "monitoring") {
		t.Errorf("%+v", c)
	}
}
