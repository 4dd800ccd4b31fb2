package packages_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInstalledDocumentsHaveNoDeadLink lays the documents out as a package does, and follows each of their links there.
func TestInstalledDocumentsHaveNoDeadLink(t *testing.T) {
	root := t.TempDir()
	if out, err := exec.Command("./documents.sh", root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	doc := filepath.Join(root, "usr/share/doc/pg-reliability")
	for _, name := range []string{"LAUNCH_GUIDE.md", "faq.md", "install.md", "emergency.md"} {
		if _, err := os.Stat(filepath.Join(doc, name)); err != nil {
			t.Errorf("the package lacks %v", err)
		}
	}
	links := 0
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, to := range linksOf(string(text)) {
			links++
			if dead := deadLink(path, to); dead != "" {
				t.Errorf("%s: the link %s leads nowhere: %s", strings.TrimPrefix(path, root), to, dead)
			}
		}
		return err
	})
	const fewest = 300 // there are some 500
	if err != nil || links < fewest {
		t.Fatalf("%d links were followed, %v", links, err)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func linksOf(text string) (all []string) {
	for _, l := range link.FindAllStringSubmatch(text, -1) {
		all = append(all, l[1])
	}
	return all
}

// deadLink says why a link of an installed page leads nowhere. A link to the project's home must lead to a file of the sources.
func deadLink(page, to string) string {
	const home = "https://github.com/pg-reliability/pg_reliability_exporter/blob/main/"
	to, _, _ = strings.Cut(to, "#") // headings are looked up in the sources
	target := filepath.Join(filepath.Dir(page), to)
	switch {
	case to == "":
		return ""
	case strings.HasPrefix(to, home):
		target = filepath.Join("../..", strings.TrimPrefix(to, home))
	case strings.Contains(to, "://"), strings.HasPrefix(to, "mailto:"):
		return ""
	}
	if _, err := os.Stat(target); err != nil {
		return err.Error()
	}
	return ""
}
