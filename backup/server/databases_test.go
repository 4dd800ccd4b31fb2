package server

import "testing"

func TestExcludedDatabasesAreNamedByPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"rdsadmin", "rdsadmin", true}, {"rds", "rdsadmin", false}, {"rds*", "rdsadmin", true}, {"*_tmp", "a_tmp", true},
		{"a?c", "abc", true}, {"a?c", "abbc", false}, {"a.c", "abc", false}, {"a*", "A", false}, {"*", "line\nbreak", true},
		{"[ab]", "a", false}, {"[ab]", "[ab]", true}, {`x\*`, `x\y`, true}, {"(", "(", true},
	} {
		if got := (Selection{Except: []string{"other", tc.pattern}}).Excludes(tc.name); got != tc.want {
			t.Errorf("%q excludes %q: %t", tc.pattern, tc.name, got)
		}
	}
	for want, s := range map[string]Selection{
		"all": {}, "a,b": {Only: []string{"b", "a", "b"}}, "all but x*": {Except: []string{"x*", "x*"}},
		"a but b": {Only: []string{"a"}, Except: []string{"b"}},
	} {
		if s.String() != want {
			t.Errorf("%+v is named %q", s, s.String())
		}
	}
}
