package dsn

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// keywords are libpq's, up to PostgreSQL 18 (PQconndefaults), each with the variable that its programs read for it;
// empty where there is none.
var keywords = map[string]string{
	"service": "PGSERVICE", "servicefile": "PGSERVICEFILE", "user": "PGUSER", "password": "PGPASSWORD",
	"passfile": "PGPASSFILE", "channel_binding": "PGCHANNELBINDING", "connect_timeout": "PGCONNECT_TIMEOUT",
	"dbname": "PGDATABASE", "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT",
	"client_encoding": "PGCLIENTENCODING", "options": "PGOPTIONS", "application_name": "PGAPPNAME",
	"fallback_application_name": "", "keepalives": "", "keepalives_idle": "", "keepalives_interval": "",
	"keepalives_count": "", "tcp_user_timeout": "", "sslmode": "PGSSLMODE", "sslnegotiation": "PGSSLNEGOTIATION",
	"sslcompression": "PGSSLCOMPRESSION", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslcertmode": "PGSSLCERTMODE",
	"sslpassword": "", "sslrootcert": "PGSSLROOTCERT", "sslcrl": "PGSSLCRL", "sslcrldir": "PGSSLCRLDIR",
	"sslsni": "PGSSLSNI", "sslkeylogfile": "", "requirepeer": "PGREQUIREPEER", "require_auth": "PGREQUIREAUTH",
	"min_protocol_version": "PGMINPROTOCOLVERSION", "max_protocol_version": "PGMAXPROTOCOLVERSION",
	"ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION", "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
	"gssencmode": "PGGSSENCMODE", "krbsrvname": "PGKRBSRVNAME", "gsslib": "PGGSSLIB", "gssdelegation": "PGGSSDELEGATION",
	"replication": "", "target_session_attrs": "PGTARGETSESSIONATTRS", "load_balance_hosts": "PGLOADBALANCEHOSTS",
	"scram_client_key": "", "scram_server_key": "", "oauth_issuer": "", "oauth_client_id": "",
	"oauth_client_secret": "", "oauth_scope": "",
}

// Variable is the environment variable that libpq's programs read for a keyword; empty where there is none.
func Variable(keyword string) string { return keywords[keyword] }

// FromEnviron reads the variables of libpq out of NAME=value lines. An empty one counts as not set.
func FromEnviron(environ []string) Params {
	p := Params{}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		for keyword, variable := range keywords {
			if variable == name && value != "" {
				p[keyword] = value
			}
		}
	}
	return p
}

// Variables are the names that FromEnviron looks at, sorted.
func Variables() []string {
	var names []string
	for _, variable := range keywords {
		if variable != "" {
			names = append(names, variable)
		}
	}
	slices.Sort(names)
	return names
}

// libpqOnly are keywords that pgx does not know and would send to the server as settings.
var libpqOnly = []string{
	"hostaddr", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
	"sslcompression", "sslcrl", "sslcrldir", "ssl_min_protocol_version", "ssl_max_protocol_version", "sslkeylogfile", "requirepeer",
	"gssencmode", "gsslib", "gssdelegation",
	"load_balance_hosts", "fallback_application_name", "replication", "scram_client_key", "scram_server_key",
	"oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope",
}

const hintParted = "Keywords are parted by spaces, in a URL by ? and then &: host=h user=u password=x, postgres://u@h/d?password=x"

// held is a password that stands in another keyword's value, since keywords were parted by something else than we part
// them by ("host=h;password=x", ADO.NET's way): such values are shown on pages and in logs.
var held = regexp.MustCompile(`(?i)(password|passwd|pass|pwd)\s*[=:]`)

// secret are the keywords whose values are never shown.
var secret = []string{"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret", "options"}

// check refuses values that would lead elsewhere than meant, or show a password, without repeating them.
func check(keyword, value string) error {
	if !slices.Contains(secret, keyword) && keyword != "host" && held.MatchString(value) {
		return malformed(hintParted+".", "the value of %s holds a password", keyword)
	}
	switch keyword {
	case "user":
		if strings.Contains(value, ":") { // names are shown on pages and in logs
			return malformed("A password is a keyword of its own: user=u password=x, postgres://u:x@h/d. Rename a role that has a : in its name.",
				"its user has a :, which may part it from a password")
		}
	case "dbname":
		if strings.Contains(value, "://") {
			return malformed(hintForms, "its database is a URL")
		}
	case "host":
		for _, host := range strings.Split(value, ",") {
			if !plainHost(host) {
				return malformed(hintParted+". "+HintEscape+".", "its host has a character that no host's name has")
			}
		}
	case "port":
		for _, port := range strings.Split(value, ",") {
			if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) {
				return malformed(hintForms+" "+HintEscape+".", "its port is no number from 1 to 65535: is there an unescaped character in the user "+
					"or password?")
			}
		}
	case "replication":
		return malformed("Leave it out.", "replication makes another kind of session, in which no query works")
	}
	return nil
}

// plainHost is true for the directory of a socket, which may have any name, and for what a name or an address can be.
func plainHost(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || len(host) > 2 && host[1:3] == `:\` {
		return !held.MatchString(host)
	}
	return strings.IndexFunc(host, func(r rune) bool {
		return r < 0x80 && !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-._:%*[]", r))
	}) < 0
}

// nearest is the known keyword that a misspelt one is next to; empty where none is near.
func nearest(word string) string { return Nearest(word, Known()) }

// Nearest is the one of some words that may have been meant by another, which is mistyped by a letter or two; empty where none is near.
func Nearest(word string, among []string) string {
	best, least := "", 3
	for _, k := range among {
		if d := distance(word, k); d < least && d*3 <= len(k) {
			best, least = k, d
		}
	}
	return best
}

// mostLike is how many words Like names.
const mostLike = 5

// Like are those of some words that have a part in common with another one, between dots and underscores; the nearest one alone where it
// is mistyped.
func Like(word string, among []string) []string {
	if near := Nearest(word, among); near != "" {
		return []string{near}
	}
	parts := strings.FieldsFunc(word, func(r rune) bool { return r == '_' || r == '.' || r == '-' })
	var out []string
	for _, k := range among {
		if len(out) < mostLike && slices.ContainsFunc(parts, func(p string) bool { return len(p) > 2 && strings.Contains(k, p) }) {
			out = append(out, k)
		}
	}
	return out
}

// Known are all keywords, sorted.
func Known() []string {
	names := make([]string, 0, len(keywords))
	for k := range keywords {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// distance is Levenshtein's, of two short words.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
