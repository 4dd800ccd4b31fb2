package datasource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConnectionString(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, empty := file("p@ss/word\n"), file(" \n")
	for name, tc := range map[string]struct {
		set          map[string]string
		want         string
		wantErr      string
		passwordFile string
	}{
		"nothing":     {nil, "", "", ""},
		"a whole one": {map[string]string{"DATA_SOURCE_NAME": "host=db1"}, "host=db1", "", ""},
		"in a file":   {map[string]string{"DATA_SOURCE_NAME_FILE": file("host=db1\n")}, "host=db1", "", ""},
		"in parts": {map[string]string{"DATA_SOURCE_URI": "db1:5432/shop?sslmode=disable", "DATA_SOURCE_USER": "u",
			"DATA_SOURCE_PASS": "p/w"}, "dbname='shop' host='db1' password='p/w' port='5432' sslmode='disable' user='u'", "", ""},
		"password in file": {map[string]string{"DATA_SOURCE_URI": "db1/shop", "DATA_SOURCE_USER": "u", "DATA_SOURCE_PASS_FILE": secret},
			"dbname='shop' host='db1' password='p@ss/word' user='u'", "", secret},
		"both": {map[string]string{"DATA_SOURCE_NAME": "host=db1", "DATA_SOURCE_URI": "db1"}, "",
			"DATA_SOURCE_NAME and DATA_SOURCE_URI are both set. HINT", ""},
		"value and file": {map[string]string{"DATA_SOURCE_NAME": "host=db1", "DATA_SOURCE_NAME_FILE": secret}, "",
			"DATA_SOURCE_NAME and DATA_SOURCE_NAME_FILE are both set. HINT", ""},
		"malformed": {map[string]string{"DATA_SOURCE_URI": "u:hunter2@db1:port/%zz"}, "", "DATA_SOURCE_URI can't be used: its ", ""},
		"a socket": {map[string]string{"DATA_SOURCE_URI": "/run/postgresql:5433/shop?sslmode=disable", "DATA_SOURCE_USER": "u"},
			"dbname='shop' host='/run/postgresql' port='5433' sslmode='disable' user='u'", "", ""},
		"a socket alone": {map[string]string{"DATA_SOURCE_URI": "/run/postgresql:5433"}, "host='/run/postgresql' port='5433'", "", ""},
		"where it ends": {map[string]string{"DATA_SOURCE_URI": "/run/postgresql/shop"}, "",
			"can't be told. HINT: Write /var/run/postgresql:5432/database", ""},
		"half a scheme": {map[string]string{"DATA_SOURCE_URI": "//db1:5432/shop"}, "", "without the slashes", ""},
		"with a scheme": {map[string]string{"DATA_SOURCE_URI": "postgres://u:hunter2@db1/shop"}, "", "without postgres://", ""},
		"in quotes":     {map[string]string{"DATA_SOURCE_URI": "'db1:5432/shop'"}, "", "it begins with a quote. HINT: Leave the quotes out", ""},
		"user and all": {map[string]string{"DATA_SOURCE_URI": "u:hunter2@db1/shop"}, "dbname='shop' host='db1' password='hunter2' user='u'", "",
			""},
		"a list": {map[string]string{"DATA_SOURCE_NAME": "postgres://u:hunter2@db1/a,postgresql://u:hunter2@db2/b"}, "",
			"DATA_SOURCE_NAME holds several connection strings. HINT", ""},
		"no such file": {map[string]string{"DATA_SOURCE_NAME_FILE": "/nonexistent"}, "",
			"open /nonexistent: no such file or directory. HINT: Name a file", ""},
		"a directory": {map[string]string{"DATA_SOURCE_NAME_FILE": "/"}, "", "is a directory. HINT: Name a file", ""},
		"empty file": {map[string]string{"DATA_SOURCE_URI": "db1", "DATA_SOURCE_USER": "u", "DATA_SOURCE_PASS_FILE": empty}, "",
			"DATA_SOURCE_PASS_FILE: " + empty + " is empty. HINT: Write", empty},
	} {
		t.Run(name, func(t *testing.T) {
			v := Variables(func(name string) (string, bool) { value, ok := tc.set[name]; return value, ok })
			got, err := v.ConnectionString()
			if got != tc.want || (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%q, %v; want %q, %q", got, err, tc.want, tc.wantErr)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is in %v", err)
			}
			if got := v.PasswordFile(); got != tc.passwordFile {
				t.Errorf("password file %q, want %q", got, tc.passwordFile)
			}
		})
	}
}
