package dsn_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
)

// A certificate's file that is not there was told with the forms of a connection string, or as malformed where the
// error had the password in it.
func TestAFileForTLSThatIsNotThereIsNamed(t *testing.T) {
	for _, keyword := range []string{"sslrootcert", "sslcert", "sslkey"} {
		there := filepath.Join(t.TempDir(), "there.pem")
		if err := os.WriteFile(there, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		files := dsn.Params{"sslcert": there, "sslkey": there} // each needs the other
		files[keyword] = "/nonexistent/p.pem"
		p, err := dsn.Parse("host=h user=u password=p sslmode=verify-full " + files.String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Config()
		if want := keyword + ": open /nonexistent/p.pem: no such file or directory. HINT: Name a file that is there"; err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
