package dsn

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want Params
	}{
		"nothing": {"", Params{}},
		"a URL": {"postgres://u:p@h:5433/d?sslmode=disable", Params{"user": "u", "password": "p", "host": "h", "port": "5433",
			"dbname": "d", "sslmode": "disable"}},
		"the longer scheme": {"postgresql://h", Params{"host": "h"}},
		"only the scheme":   {"postgres://", Params{}},
		"escapes": {"postgres://u%40x:p%23%40%2F%25%3F%3a%20w@h/d%2Fe", Params{"user": "u@x", "password": "p#@/%?: w", "host": "h",
			"dbname": "d/e"}},
		"a + is a +": {"postgres://u:a+b@h/d?application_name=c+d", Params{"user": "u", "password": "a+b", "host": "h", "dbname": "d",
			"application_name": "c+d"}},
		"socket, parameter": {"postgres:///d?host=/run/postgresql&user=u", Params{"host": "/run/postgresql", "user": "u", "dbname": "d"}},
		"socket, escaped": {"postgres://u@%2Frun%2Fpostgresql:5433/d", Params{"user": "u", "host": "/run/postgresql", "port": "5433",
			"dbname": "d"}},
		"names with signs": {"host=db_1.example user='a;b=c/d' dbname='e&f'",
			Params{"host": "db_1.example", "user": "a;b=c/d", "dbname": "e&f"}},
		"other hosts": {`host='/run/a=b;c,@abstract,fe80::1%eth0,bücher.example,C:\\pg'`,
			Params{"host": `/run/a=b;c,@abstract,fe80::1%eth0,bücher.example,C:\pg`}},
		"several hosts": {"postgres://u@a:1,b,[::1]:3/d?target_session_attrs=read-write",
			Params{"user": "u", "host": "a,b,::1", "port": "1,,3", "dbname": "d", "target_session_attrs": "read-write"}},
		"IPv6":           {"postgres://[2001:db8::7]/d", Params{"host": "2001:db8::7", "dbname": "d"}},
		"a = in a value": {"postgres://h?options=-c%20work_mem=5MB", Params{"host": "h", "options": "-c work_mem=5MB"}},
		"JDBC's ssl":     {"postgres://h/d?ssl=true", Params{"host": "h", "dbname": "d", "sslmode": "require"}},
		"empty password": {"postgres://u:@h", Params{"user": "u", "host": "h"}},
		"keywords": {`host=h user = u dbname='d b' password='it\'s \\ x'`,
			Params{"host": "h", "user": "u", "dbname": "d b", "password": `it's \ x`}},
		"a backslash":         {`password=a\ b host=h`, Params{"password": "a b", "host": "h"}},
		"an empty value":      {`password='' host=h`, Params{"password": "", "host": "h"}},
		"signs are no matter": {"host=h password=a#b@c/d?e%f", Params{"host": "h", "password": "a#b@c/d?e%f"}},
		"a URL in a value":    {"host=h oauth_issuer=https://id.example/a", Params{"host": "h", "oauth_issuer": "https://id.example/a"}},
		"the last one counts": {"postgres://u@h/d?user=x&user=y", Params{"user": "y", "host": "h", "dbname": "d"}},
		"pgx's database":      {"host=h database=d", Params{"host": "h", "dbname": "d"}},
		"lines":               {"\thost=h\n user=u\n", Params{"host": "h", "user": "u"}},
		"PostgreSQL 17 and 18": {"sslnegotiation=direct scram_client_key=x sslkeylogfile=/f min_protocol_version=3.2",
			Params{"sslnegotiation": "direct", "scram_client_key": "x", "sslkeylogfile": "/f", "min_protocol_version": "3.2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tc.in)
			if err != nil || !maps.Equal(got, tc.want) {
				t.Fatalf("%v, %v\nwant %v", got, err, tc.want)
			}
			if again, err := Parse(got.String()); err != nil || !maps.Equal(again, got) {
				t.Errorf("%s is read back as %v, %v", got, again, err)
			}
		})
	}
}

// TestRefused holds what people really write. hunter2 is the password in each.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct{ in, says string }{
		"a capital":            {"Postgres://u:hunter2@h/d", "neither postgres:// nor postgresql://"},
		"capitals":             {"POSTGRESQL://u:hunter2@h/d", "neither postgres:// nor"},
		"a letter short":       {"postgre://u:hunter2@h/d", "neither postgres:// nor"},
		"JDBC":                 {"jdbc:postgresql://h/d?user=u&password=hunter2", "jdbc: is for Java alone"},
		"another database":     {"mysql://u:hunter2@h/d", "neither postgres:// nor"},
		"in quotes":            {`"postgres://u:hunter2@h/d"`, "Leave the quotes out"},
		"a space before":       {" postgres://u:hunter2@h/d", "neither postgres:// nor"},
		"with the variable":    {"DATA_SOURCE_NAME=postgres://u:hunter2@h/d", "keyword 1 is not known"},
		"one slash":            {"postgres:/u:hunter2@h/d", "keyword 1 has no ="},
		"a misspelt keyword":   {"host=h pasword=hunter2", "keyword 2 is not known. HINT: Is password meant?"},
		"a misspelt parameter": {"postgres://u@h/d?sslmod=hunter2", "parameter 1 of the URL is not known. HINT: Is sslmode meant?"},
		"a server's setting":   {"postgres://u:hunter2@h/d?statement_timeout=5", "options='-c name=value'"},
		"two words":            {"host=h password=correct hunter2", "keyword 3 has no =. HINT: A value with a space is quoted"},
		"two words and a =":    {"host=h password=correct hunter2=x", "keyword 3 is not known"},
		"no closing quote":     {"host=h password='hunter2", "the value of keyword 2 has no closing quote"},
		"# in a password":      {"postgres://u:hunter2#x@h/d", "#"},
		"@ in a password":      {"postgres://u:hunter2@x@h/d", "%40 for @"},
		"/ in a password":      {"postgres://u:hunter2/x@h/d", "%2F for /"},
		"/ after digits":       {"postgres://u:12/hunter2@h/d", "%2F for /"},
		"? in a password":      {"postgres://u:hunter2?x@h/d", "%3F for ?"},
		"? after digits":       {"postgres://u:12?hunter2=x@h", "%3F for ?"},
		": in a password":      {"postgres://u:hunter2:x@h/d", "%3A for :"},
		"% in a password":      {"postgres://u:hunter2%zz@h/d", "%25 for %"},
		"a space":              {"postgres://u:hunter2 x@h/d", "%20"},
		"a line break":         {"postgres://u:hunter2@h/d\n", "control"},
		"a zero byte":          {"postgres://u:hunter2%00@h/d", "zero byte"},
		"bare IPv6":            {"postgres://u:hunter2@::1/d", "An IPv6 address stands in brackets"},
		"an open bracket":      {"postgres://u:hunter2@[::1/d", "brackets"},
		"a port of letters":    {"host=h password=hunter2 port=hunter2", "no number from 1 to 65535"},
		"a port too high":      {"postgres://u:hunter2@h:70000/d", "no number"},
		"replication":          {"postgres://u:hunter2@h/d?replication=database", "Leave it out"},
		"semicolons": {"host=h;port=5432;user=u;password=hunter2", "its host has a character that no host's name has. HINT: " +
			"Keywords are parted by spaces"},
		"commas":            {"host=h,port=5432,user=u,password=hunter2", "its host has a character"},
		"a semicolon later": {"host=h user=u;password=hunter2", "the value of user holds a password. HINT: Keywords are parted by spaces"},
		"ADO.NET's words":   {"host=h dbname=d;Pwd=hunter2", "the value of dbname holds a password"},
		"& for the first ?": {"postgres://u@h/d&password=hunter2", "the value of dbname holds a password. HINT: Keywords are parted by " +
			"spaces, in a URL by ? and then &"},
		"; in a URL":           {"postgres://u@h;password=hunter2/d", "its host has a character"},
		"; in its parameters":  {"postgres://u@h/d?application_name=x;password=hunter2", "the value of application_name holds a password"},
		"a host with a path":   {"host=h/hunter2", "its host has a character"},
		"a host with a user":   {"host=u@hunter2", "its host has a character"},
		"a user's password":    {"postgres://h/d?user=u:hunter2", "its user has a :"},
		"the same as keywords": {"host=h user=u:hunter2", "its user has a :"},
		"the same escaped":     {"postgres://u%3Ahunter2@h/d", "its user has a :"},
		"a URL for a database": {"host=h dbname=postgres://u:hunter2@h/d", "its database is a URL"},
		"a list":               {"postgres://u:hunter2@h/a,postgres://u:x@h/b", "%40 for @"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(tc.in)
			if err == nil {
				t.Fatalf("accepted as %v", p)
			}
			if strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "HINT: ") {
				t.Errorf("%v\nwant %s", err, tc.says)
			}
		})
	}
}

func TestConfigErrorsHoldNoSecret(t *testing.T) {
	for _, in := range []string{
		"postgres://u:hunter2@h/d?sslmode=never", "host=h password=hunter2 connect_timeout=hunter2",
		"host=h password=hunter2 sslrootcert=/nonexistent sslmode=verify-full",
		"host=h password=hunter2 target_session_attrs=hunter2", "host=h password=hunter2 sslmode=`hunter2",
		"host=h password='`: hunter2' sslmode=x",
	} {
		p, err := Parse(in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if _, err := p.Config(); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

// The variables and the service file are refused for what a connection string is.
func TestWhatIsLeftOutIsRefusedAlike(t *testing.T) {
	service := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(service, []byte("[s]\nhost=u:hunter2@h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, value, says string }{
		{"PGHOST", "h;password=hunter2", "its host has a character"}, {"PGHOST", "h password=hunter2", "its host has a character"},
		{"PGHOST", "a,u:hunter2@b", "its host has a character"}, {"PGHOST", "postgres://u:hunter2@h/d", "its host has a character"},
		{"PGUSER", "u:hunter2", "its user has a :"}, {"PGUSER", "u password=hunter2", "the value of user holds a password"},
		{"PGDATABASE", "postgres://u:hunter2@h/d", "its database is a URL"}, {"PGDATABASE", "host=h password=hunter2",
			"the value of dbname holds a password"},
		{"PGAPPNAME", "x;password=hunter2", "the value of application_name holds a password"},
		{"PGPORT", "5432;password=hunter2", "port"}, {"PGSERVICEFILE", service, "its host has a character"},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			if tc.name == "PGSERVICEFILE" {
				t.Setenv("PGSERVICE", "s")
			}
			cfg, err := Params{}.Config()
			if err == nil {
				err = Check(cfg)
			}
			if err == nil {
				t.Fatalf("accepted: host %q, user %q, database %q", cfg.Host, cfg.User, cfg.Database)
			}
			if strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "HINT: ") {
				t.Errorf("%v\nwant %s", err, tc.says)
			}
		})
	}
	for _, host := range []string{"/var/run/postgresql", "db1.example", "::1", "a,b", ""} {
		t.Setenv("PGHOST", host)
		if cfg, err := (Params{}).Config(); err != nil || Check(cfg) != nil {
			t.Errorf("PGHOST=%s: %v, %v", host, err, Check(cfg))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"postgres://u:p@h:1/d?sslmode=disable", "postgres://u@[::1],%2Fs:2/d", `host=h password='a\'b' user = u`, "Postgres://u:p@h/d", "a=b",
		"host=h pasword=p",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			if !strings.Contains(err.Error(), "HINT: ") {
				t.Errorf("%q: no hint in %v", s, err)
			}
			return
		}
		again, err := Parse(p.String())
		if err != nil || !maps.Equal(again, p) {
			t.Errorf("%q: %v becomes %v, %v", s, p, again, err)
		}
		before, _, isURL := strings.Cut(s, "://")
		if isURL && !strings.Contains(before, "=") && before != "postgres" && before != "postgresql" {
			t.Errorf("%q is accepted as %v", s, p)
		}
	})
}
