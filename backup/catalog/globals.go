package catalog

import "strings"

// Globals are what belongs to the whole server: roles and tablespaces.
type Globals struct {
	// RolesFile and TablespacesFile are SQL as pg_dumpall writes it, for people. A restore reads RolesFile
	// where Objects is nil, in backups of format 1, and nothing else of them ever.
	RolesFile       string `json:"roles_file"`
	TablespacesFile string `json:"tablespaces_file"`
	// Roles and Tablespaces are how many there are, those of PostgreSQL itself (pg_...) left out.
	Roles       int `json:"roles"`
	Tablespaces int `json:"tablespaces"`
	// Passwords is false when the job's role may not read them: restored roles then have none.
	Passwords bool `json:"passwords"`
	// PasswordsFile is a JSON object of role names and what pg_authid.rolpassword says of them; a manifest
	// holds no secret. "" in format 1, and where no role has a password or they could not be read.
	PasswordsFile string `json:"passwords_file,omitempty"`
	// Objects is what a restore is made from; nil in format 1.
	Objects *ServerObjects `json:"objects,omitempty"`
}

// ServerObjects are the roles and tablespaces of a server with all that belongs to them, as the shared
// catalogues say. Names are names and values are values: nothing in here is quoted.
type ServerObjects struct {
	Roles       []Role       `json:"roles"`
	Memberships []Membership `json:"memberships,omitempty"`
	// Settings are those that hold in every database: ALTER ROLE ... SET, or ALTER ROLE ALL SET where Role
	// is "". Those of one database are with the database.
	Settings []Setting `json:"settings,omitempty"`
	// Parameters are privileges to change settings (PostgreSQL 15 and later).
	Parameters  []ParameterGrant `json:"parameters,omitempty"`
	Tablespaces []Tablespace     `json:"tablespaces,omitempty"`
}

// Role is a row of pg_authid, without its password, and what else is said of the role.
type Role struct {
	Name string `json:"name"`
	// Bootstrap is the role initdb made, which every server has, under whatever name. In PostgreSQL 16 and later
	// it grants what superusers grant.
	Bootstrap       bool `json:"bootstrap,omitempty"`
	Superuser       bool `json:"superuser,omitempty"`
	Inherit         bool `json:"inherit,omitempty"`
	CreateRole      bool `json:"create_role,omitempty"`
	CreateDB        bool `json:"create_db,omitempty"`
	Login           bool `json:"login,omitempty"`
	Replication     bool `json:"replication,omitempty"`
	BypassRLS       bool `json:"bypass_rls,omitempty"`
	ConnectionLimit int  `json:"connection_limit"` // -1: none
	// ValidUntil is when the password expires, as PostgreSQL writes a timestamptz in ISO style and UTC,
	// e.g. "2027-01-01 00:00:00+00" or "infinity"; "" means that no end was set.
	ValidUntil string  `json:"valid_until,omitempty"`
	Comment    string  `json:"comment,omitempty"`
	Labels     []Label `json:"labels,omitempty"`
}

// Membership is a row of pg_auth_members: Member is in Role.
type Membership struct {
	Role   string `json:"role"`
	Member string `json:"member"`
	// Grantor is who granted it; "" where that role is gone (possible before PostgreSQL 16).
	Grantor string `json:"grantor,omitempty"`
	Admin   bool   `json:"admin,omitempty"`
	// Inherit and Set are options of PostgreSQL 16 and later, nil before.
	Inherit *bool `json:"inherit,omitempty"`
	Set     *bool `json:"set,omitempty"`
}

// Setting is one ALTER ROLE, ALTER DATABASE or ALTER ROLE ... IN DATABASE ... SET. Value is as the
// catalogue has it: of search_path and the few others that are lists of names, with their quotes and commas.
type Setting struct {
	Role  string `json:"role,omitempty"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SettingOf is a role's element of pg_db_role_setting.setconfig. It is not taken apart by the server: what was set from a database of
// another encoding is bytes there, of which its own functions fail.
func SettingOf(role, nameAndValue string) Setting {
	name, value, _ := strings.Cut(nameAndValue, "=")
	return Setting{Role: role, Name: name, Value: value}
}

// Grant is one privilege on a database or tablespace. Grantee "" is PUBLIC.
type Grant struct {
	Grantee   string `json:"grantee"`
	Privilege string `json:"privilege"`
	Grantable bool   `json:"grantable,omitempty"`
	// Grantor is who granted it; "" in format 1, where it is taken for the owner.
	Grantor string `json:"grantor,omitempty"`
}

// ParameterGrant is one privilege on a setting, "SET" or "ALTER SYSTEM".
type ParameterGrant struct {
	Parameter string `json:"parameter"`
	Grant
}

// Tablespace is a tablespace's definition. A restore makes none, as Location is the old server's file
// system, and says which are missing.
type Tablespace struct {
	Name     string   `json:"name"`
	Owner    string   `json:"owner"`
	Location string   `json:"location"`
	Options  []string `json:"options,omitempty"` // "seq_page_cost=1.5"
	Comment  string   `json:"comment,omitempty"`
	Labels   []Label  `json:"labels,omitempty"`
	// DefaultGrants is true when nobody ever granted or revoked on the tablespace.
	DefaultGrants bool    `json:"default_grants"`
	Grants        []Grant `json:"grants,omitempty"`
}

// Label is a security label and who provides it (SECURITY LABEL FOR provider).
type Label struct {
	Provider string `json:"provider"`
	Label    string `json:"label"`
}

// Missing are the tablespaces the backup's server had and a server that has these lacks, by name. A backup
// of format 1 does not know its tablespaces' names: known is false then, unless it has none.
func (g *Globals) Missing(have []string) (names []string, known bool) {
	if g == nil || g.Tablespaces == 0 {
		return nil, true
	}
	if g.Objects == nil {
		return nil, false
	}
	there := map[string]bool{}
	for _, name := range have {
		there[name] = true
	}
	for _, t := range g.Objects.Tablespaces {
		if !there[t.Name] {
			names = append(names, t.Name)
		}
	}
	return names, true
}
