package dsn

import (
	"fmt"
	"net/url"
	"strings"
)

// parseURL reads what follows the scheme: [user[:password]@][host[:port][,...]][/dbname][?keyword=value[&...]].
func parseURL(s string) (Params, error) {
	if strings.ContainsRune(s, '#') {
		return nil, malformed(HintEscape+".", "it has a # that is not percent-encoded")
	}
	if strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0 {
		return nil, malformed(HintEscape+".", "it has a space or a control character")
	}
	authority, path, query := s, "", ""
	if i := strings.IndexAny(s, "/?"); i >= 0 {
		authority, path = s[:i], s[i:]
		path, query, _ = strings.Cut(path, "?")
	}
	path = strings.TrimPrefix(path, "/")
	// A password with one of these ends the authority early, and the rest of it would go elsewhere.
	if strings.ContainsAny(path, "/@") {
		return nil, malformed(HintEscape+".", "its database has a / or @: is there one in the password that is not percent-encoded?")
	}
	p := Params{}
	hosts := authority
	if user, rest, ok := strings.Cut(authority, "@"); ok {
		if hosts = rest; strings.Contains(hosts, "@") {
			return nil, malformed(HintEscape+".", "it has more than one @: one in the user or password is not percent-encoded")
		}
		if err := p.setUser(user); err != nil {
			return nil, err
		}
	}
	if err := p.setHosts(hosts); err != nil {
		return nil, err
	}
	if path != "" {
		if err := p.setEscaped("dbname", path, "its database"); err != nil {
			return nil, err
		}
	}
	if query == "" {
		return p, nil
	}
	for i, pair := range strings.Split(query, "&") {
		keyword, value, ok := strings.Cut(pair, "=")
		place := fmt.Sprintf("parameter %d of the URL", i+1)
		if !ok || strings.ContainsAny(value, "?@") {
			return nil, malformed("Write ?keyword=value&keyword=value. "+HintEscape+".",
				"%s is not keyword=value: is there a ? in the password that is not percent-encoded?", place)
		}
		if keyword == "ssl" && value == "true" { // JDBC's, which libpq takes so
			keyword, value = "sslmode", "require"
		}
		if err := p.setEscaped(keyword, value, place); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p Params) setUser(s string) error {
	user, password, hasPassword := strings.Cut(s, ":")
	if user != "" {
		if err := p.setEscaped("user", user, "its user"); err != nil {
			return err
		}
	}
	if strings.Contains(password, ":") {
		return malformed(HintEscape+".", "its password has a : that is not percent-encoded")
	}
	if hasPassword && password != "" {
		return p.setEscaped("password", password, "its password")
	}
	return nil
}

// setHosts reads host[:port][,...]; an IPv6 address stands in brackets, a socket's directory is percent-encoded.
func (p Params) setHosts(s string) error {
	if s == "" {
		return nil
	}
	var hosts, ports []string
	for _, one := range strings.Split(s, ",") {
		var host, port string
		if inside, ok := strings.CutPrefix(one, "["); ok {
			var rest string
			if host, rest, ok = strings.Cut(inside, "]"); !ok || rest != "" && rest[0] != ':' {
				return malformed("Write [::1]:5432.", "its host begins with [ and is not an IPv6 address in brackets")
			}
			port = strings.TrimPrefix(rest, ":")
		} else if host, port, _ = strings.Cut(one, ":"); strings.Contains(port, ":") {
			return malformed("An IPv6 address stands in brackets, [::1]:5432. "+HintEscape+".", "its host has more than one :")
		}
		plain, err := unescape(host, "its host")
		if err != nil {
			return err
		}
		if strings.Contains(plain, ",") {
			return malformed("A socket's directory has no comma in its name.", "its host has a comma")
		}
		hosts, ports = append(hosts, plain), append(ports, port)
	}
	if h := strings.Join(hosts, ","); strings.Trim(h, ",") != "" {
		if err := p.set("host", h, "its host"); err != nil {
			return err
		}
	}
	if ports := strings.Join(ports, ","); strings.Trim(ports, ",") != "" {
		return p.set("port", ports, "its port")
	}
	return nil
}

func (p Params) setEscaped(keyword, value, place string) error {
	k, err := unescape(keyword, place)
	if err != nil {
		return err
	}
	v, err := unescape(value, place)
	if err != nil {
		return err
	}
	return p.set(k, v, place)
}

// unescape decodes %XX, and nothing else: a + is a +.
func unescape(s, place string) (string, error) {
	v, err := url.PathUnescape(s)
	if err != nil {
		return "", malformed(HintEscape+".", "%s has a %% that is not followed by two hexadecimal digits", place)
	}
	return v, nil
}
