package offsite

import "testing"

// An index of a bucket that is taken is that of the backup that was asked for.
func FuzzIndex(f *testing.F) {
	for _, text := range []string{
		"", "null", "[]", `{"format":1,"id":"a","repository_id":"r","files":[{"path":"../x"},{"path":"manifest.json"}]}`,
		`{"format":1,"id":"a","repository_id":"r","files":[{},{}],"encryption":{},"databases":["\u0000"]}`, `{"format":9}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := parseIndex(text, "r", "a")
		if err != nil {
			return
		}
		for _, file := range x.Files {
			x.local(file.Path)
		}
		if b := x.backup(); b.ID != "a" || b.Manifest.ID != "a" {
			t.Errorf("it is of backup %q", b.ID)
		}
	})
}
