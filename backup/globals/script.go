package globals

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// FromScript reads the roles out of what pg_dumpall --roles-only wrote, which is how backups of format 1 keep them.
// It knows the statements that pg_dumpall writes, and no other: nothing of the script is ever executed. What it does
// not know is left out and named in a note.
func FromScript(text string) *Globals {
	s := &script{g: &Globals{Passwords: map[string]string{}}, lexer: sqltext.NewLexer(text), at: map[string]int{}}
	defer s.g.readable()
	for {
		tokens, err := s.lexer.Statement()
		if err != nil {
			s.note("the script of the roles can't be read any further: %v", err)
			return s.g
		}
		if tokens == nil {
			return s.g
		}
		p := &parser{rest: tokens}
		if !s.statement(p) || len(p.rest) > 0 {
			s.note("line %d of the script of the roles is a statement that pg_dumpall does not write, left out", tokens[0].Line)
		}
	}
}

// ScriptEncoding is the client_encoding that a script of pg_dumpall sets for itself, "UTF8" where it sets none.
func ScriptEncoding(text string) string {
	lexer := sqltext.NewLexer(text)
	for {
		tokens, err := lexer.Statement()
		p := &parser{rest: tokens}
		if err != nil || !p.words("set") {
			return "UTF8"
		}
		if p.words("client_encoding") && p.punct("=") {
			if e, ok := p.string(); ok {
				return e
			}
		}
	}
}

// Tablespaces are the names of those that a script of pg_dumpall --tablespaces-only makes.
func Tablespaces(text string) (names []string) {
	lexer := sqltext.NewLexer(text)
	for {
		tokens, err := lexer.Statement()
		if err != nil || tokens == nil {
			return names
		}
		if p := (&parser{rest: tokens}); p.words("create", "tablespace") {
			if name, ok := p.name(); ok {
				names = append(names, sqltext.Text(name))
			}
		}
	}
}

type script struct {
	g       *Globals
	lexer   *sqltext.Lexer
	at      map[string]int // where in g.Roles a role is
	grantor string         // SET SESSION AUTHORIZATION, for the privileges that follow
}

func (s *script) note(format string, args ...any) {
	s.g.Notes = append(s.g.Notes, fmt.Sprintf(format, args...))
}

// statement takes one in, or says that it is none it knows. It changes nothing then.
func (s *script) statement(p *parser) bool {
	switch {
	case p.words("set", "session", "authorization"):
		role, ok := p.name()
		s.grantor = role
		return ok
	case p.words("reset", "session", "authorization"):
		s.grantor = ""
		return true
	case p.words("set"):
		return s.set(p)
	case p.words("create", "role"):
		name, ok := p.name()
		if _, twice := s.at[name]; !ok || twice || len(p.rest) > 0 {
			return false
		}
		s.at[name] = len(s.g.Roles)
		s.g.Roles = append(s.g.Roles, catalog.Role{Name: name, Inherit: true, ConnectionLimit: -1})
		return true
	case p.words("alter", "role"):
		role, ok := s.role(p)
		if !ok {
			return false
		}
		if p.words("set") {
			return s.setting(role.Name, p)
		}
		return p.words("with") && s.attributes(role, p)
	case p.words("comment", "on", "role"):
		role, text, ok := s.said(p)
		if ok {
			role.Comment = text
		}
		return ok
	case p.words("security", "label", "for"):
		provider, ok := p.name()
		if !ok || !p.words("on", "role") {
			return false
		}
		role, text, ok := s.said(p)
		if ok {
			role.Labels = append(role.Labels, catalog.Label{Provider: provider, Label: text})
		}
		return ok
	case p.words("grant"):
		if slices.ContainsFunc(p.rest, func(t sqltext.Token) bool { return t.Kind == sqltext.Word && t.Text == "on" }) {
			return s.parameter(p)
		}
		return s.membership(p)
	}
	return false
}

// said is what the rest of a statement says of a role: its name, IS, and a text.
func (s *script) said(p *parser) (role *catalog.Role, text string, ok bool) {
	if role, ok = s.role(p); !ok || !p.words("is") {
		return nil, "", false
	}
	text, ok = p.string()
	return role, text, ok && len(p.rest) == 0
}

// role is a role that the script made, by the name that comes next.
func (s *script) role(p *parser) (*catalog.Role, bool) {
	name, ok := p.name()
	i, there := s.at[name]
	if !ok || !there {
		return nil, false
	}
	return &s.g.Roles[i], true
}

// set is one of the settings that pg_dumpall begins with. One changes how the rest is read.
func (s *script) set(p *parser) bool {
	if len(p.rest) != 3 || p.rest[0].Kind != sqltext.Word || p.rest[1].Text != "=" {
		return false
	}
	switch p.rest[0].Text {
	case "standard_conforming_strings":
		s.lexer.Backslashes = p.rest[2].Text == "off"
	case "default_transaction_read_only", "client_encoding", "escape_string_warning":
	default:
		return false
	}
	p.rest = nil
	return true
}

func (s *script) attributes(into *catalog.Role, p *parser) bool {
	role, password := *into, ""
	words := map[string]*bool{
		"superuser": &role.Superuser, "inherit": &role.Inherit, "createrole": &role.CreateRole, "createdb": &role.CreateDB,
		"login": &role.Login, "replication": &role.Replication, "bypassrls": &role.BypassRLS,
	}
	for len(p.rest) > 0 {
		ok := true
		switch word := p.rest[0].Text; {
		case p.words("connection", "limit"):
			role.ConnectionLimit, ok = p.integer()
		case p.words("password"):
			password, ok = p.string()
		case p.words("valid", "until"):
			role.ValidUntil, ok = p.string()
		case p.rest[0].Kind != sqltext.Word:
			ok = false
		case words[word] != nil:
			*words[word], p.rest = true, p.rest[1:]
		case words[strings.TrimPrefix(word, "no")] != nil:
			*words[strings.TrimPrefix(word, "no")], p.rest = false, p.rest[1:]
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	*into = role
	if password != "" {
		s.g.Passwords[role.Name] = password
	}
	return true
}

// setting is `SET name TO 'value'`, or, of a list, `TO 'element', 'element'`.
func (s *script) setting(role string, p *parser) bool {
	name, ok := p.name()
	for ok && p.punct(".") {
		var part string
		part, ok = p.name()
		name += "." + part
	}
	if !ok || !p.words("to") {
		return false
	}
	var values []string
	for {
		v, ok := p.string()
		if !ok {
			return false
		}
		if values = append(values, v); !p.punct(",") {
			break
		}
	}
	if len(p.rest) > 0 || len(values) > 1 && !sqltext.IsList(name) {
		return false
	}
	value := values[0]
	if sqltext.IsList(name) {
		value = sqltext.JoinList(values)
	}
	s.g.Settings = append(s.g.Settings, catalog.Setting{Role: role, Name: name, Value: value})
	return true
}

// membership is `GRANT role TO member WITH ADMIN OPTION, INHERIT FALSE GRANTED BY grantor`.
func (s *script) membership(p *parser) bool {
	var m catalog.Membership
	var ok bool
	if m.Role, ok = p.name(); !ok || !p.words("to") {
		return false
	}
	if m.Member, ok = p.name(); !ok {
		return false
	}
	if p.words("with") {
		for more := true; more; more = p.punct(",") {
			switch {
			case p.words("admin", "option"), p.words("admin", "true"):
				m.Admin = true
			case p.words("inherit"):
				m.Inherit = p.boolean()
			case p.words("set"):
				m.Set = p.boolean()
			default:
				return false
			}
		}
	}
	if p.words("granted", "by") {
		if m.Grantor, ok = p.name(); !ok {
			return false
		}
	}
	if len(p.rest) > 0 {
		return false
	}
	s.g.Memberships = append(s.g.Memberships, m)
	return true
}

// parameter is `GRANT SET ON PARAMETER name TO role WITH GRANT OPTION`.
func (s *script) parameter(p *parser) bool {
	var privileges []string
	switch {
	case p.words("all"):
		privileges = []string{"SET", "ALTER SYSTEM"}
	case p.words("set"):
		privileges = []string{"SET"}
	case p.words("alter", "system"):
		privileges = []string{"ALTER SYSTEM"}
	}
	if privileges == nil || !p.words("on", "parameter") {
		return false
	}
	g := catalog.ParameterGrant{Grant: catalog.Grant{Grantor: s.grantor}}
	var ok bool
	if g.Parameter, ok = p.name(); !ok {
		return false
	}
	for p.punct(".") {
		part, ok := p.name()
		if !ok {
			return false
		}
		g.Parameter += "." + part
	}
	if !p.words("to") {
		return false
	}
	if !p.words("public") {
		if g.Grantee, ok = p.name(); !ok {
			return false
		}
	}
	g.Grantable = p.words("with", "grant", "option")
	if len(p.rest) > 0 {
		return false
	}
	for _, g.Privilege = range privileges {
		s.g.Parameters = append(s.g.Parameters, g)
	}
	return true
}

// parser takes tokens from the front of a statement.
type parser struct{ rest []sqltext.Token }

// words takes the keywords if all of them come next.
func (p *parser) words(words ...string) bool {
	if len(p.rest) < len(words) {
		return false
	}
	for i, w := range words {
		if p.rest[i].Kind != sqltext.Word || p.rest[i].Text != w {
			return false
		}
	}
	p.rest = p.rest[len(words):]
	return true
}

func (p *parser) take(kinds ...sqltext.Kind) (string, bool) {
	if len(p.rest) == 0 || !slices.Contains(kinds, p.rest[0].Kind) {
		return "", false
	}
	text := p.rest[0].Text
	p.rest = p.rest[1:]
	return text, true
}

func (p *parser) name() (string, bool)   { return p.take(sqltext.Word, sqltext.Quoted) }
func (p *parser) string() (string, bool) { return p.take(sqltext.String) }

func (p *parser) punct(text string) bool {
	if len(p.rest) == 0 || p.rest[0].Kind != sqltext.Punct || p.rest[0].Text != text {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) integer() (int, bool) {
	sign := 1
	if p.punct("-") {
		sign = -1
	}
	text, ok := p.take(sqltext.Number)
	n, err := strconv.Atoi(text)
	return sign * n, ok && err == nil
}

// boolean is TRUE, FALSE, or OPTION, which means TRUE; nil: none of them.
func (p *parser) boolean() *bool {
	yes := p.words("true") || p.words("option")
	if !yes && !p.words("false") {
		return nil
	}
	return &yes
}
