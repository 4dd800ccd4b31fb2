package catalog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// checkServerWords refuses a manifest whose words are not PostgreSQL's own, where a restore writes a word as it is, and
// one that names a file elsewhere. (Names and values are quoted, whatever they are.) "" is what a physical backup of
// another's making leaves open.
func (m Manifest) checkServerWords() error {
	var paths []string
	for _, f := range m.Files {
		paths = append(paths, f.Path)
		// The repository's own word on the backup comes from nowhere else: "verified" is said by a rehearsal here.
		if slices.Contains([]string{manifestFile, sumsFile, statusFile}, filepath.Clean(filepath.FromSlash(f.Path))) {
			return fmt.Errorf("manifest: it lists %s, which is no file of its own", f.Path)
		}
	}
	for _, d := range m.Databases {
		paths = append(paths, d.Path)
		p := d.Properties
		if p.Encoding != "" && !slices.Contains(Encodings(), p.Encoding) {
			return fmt.Errorf("manifest: database %q has encoding %q, which PostgreSQL does not know", d.Name, p.Encoding)
		}
		if !slices.Contains([]string{"", "libc", "icu", "builtin"}, p.LocaleProvider) {
			return fmt.Errorf("manifest: database %q has locale provider %q, which PostgreSQL does not know", d.Name, p.LocaleProvider)
		}
		for _, g := range p.Grants {
			if !slices.Contains([]string{"CREATE", "CONNECT", "TEMPORARY"}, g.Privilege) {
				return fmt.Errorf("manifest: database %q has a grant of %q, which is no privilege on databases", d.Name, g.Privilege)
			}
		}
		for _, s := range d.Session {
			if !slices.Contains(RowSettings(), s.Name) {
				return fmt.Errorf("manifest: database %q has rows that depend on %q, which no row does", d.Name, s.Name)
			}
		}
		if err := errors.Join(checkSettings(p.Settings), checkSettings(d.Session)); err != nil {
			return err
		}
	}
	if g := m.Globals; g != nil {
		paths = append(paths, g.RolesFile, g.TablespacesFile, g.PasswordsFile)
	}
	for _, path := range paths {
		if path != "" && !filepath.IsLocal(filepath.FromSlash(path)) {
			return fmt.Errorf("manifest: %q leads out of the backup's directory", path)
		}
	}
	if m.Globals == nil || m.Globals.Objects == nil {
		return nil
	}
	for _, p := range m.Globals.Objects.Parameters {
		if p.Privilege != "SET" && p.Privilege != "ALTER SYSTEM" {
			return fmt.Errorf("manifest: parameter %q has a grant of %q, which is no privilege on parameters", p.Parameter, p.Privilege)
		}
	}
	for _, r := range m.Globals.Objects.Roles {
		if r.Name == "" || strings.IndexByte(r.Name, 0) >= 0 {
			return fmt.Errorf("manifest: %q is not a role's name", r.Name)
		}
	}
	return checkSettings(m.Globals.Objects.Settings)
}

func checkSettings(all []Setting) error {
	for _, s := range all {
		if s.Name == "" || strings.IndexByte(s.Name, 0) >= 0 || strings.IndexByte(s.Value, 0) >= 0 {
			return fmt.Errorf("manifest: %q is not a setting", s.Name)
		}
	}
	return nil
}

// Encodings lists what a database can be in, as pg_encoding_to_char names it. (What only a client can have is not in it.)
func Encodings() []string {
	return []string{
		"SQL_ASCII", "EUC_JP", "EUC_CN", "EUC_KR", "EUC_TW", "EUC_JIS_2004", "UTF8", "MULE_INTERNAL",
		"LATIN1", "LATIN2", "LATIN3", "LATIN4", "LATIN5", "LATIN6", "LATIN7", "LATIN8", "LATIN9", "LATIN10",
		"WIN1256", "WIN1258", "WIN866", "WIN874", "KOI8R", "WIN1251", "WIN1252", "ISO_8859_5", "ISO_8859_6", "ISO_8859_7", "ISO_8859_8",
		"WIN1250", "WIN1253", "WIN1254", "WIN1255", "WIN1257", "KOI8U",
	}
}
