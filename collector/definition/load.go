package definition

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/pg-reliability/pg_reliability_exporter/internal/yamlfile"
)

// FromFS returns the program's own collectors, of the files that a pattern matches, in the order of their names.
func FromFS(files fs.FS, pattern string) ([]Definition, error) {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, fmt.Errorf("list collectors: %w", err)
	}
	defs, err := load(names, func(name string) ([]byte, error) { return fs.ReadFile(files, name) })
	for i := range defs {
		defs[i].BuiltIn = true
	}
	return defs, err
}

// Load returns the collectors of a user's directory: each of its files that ends in .yml or .yaml.
// The error holds every mistake found, each a *FileError; Validate finds those between collectors.
func Load(dir string) ([]Definition, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of collectors: %w. HINT: Name a directory with files *.yml that the exporter's user may read",
			err)
	}
	var files []string
	for _, e := range entries {
		// A mounted ConfigMap shows its files also in hidden directories; only plain names count.
		if ext := path.Ext(e.Name()); !e.IsDir() && e.Name()[0] != '.' && (ext == ".yml" || ext == ".yaml") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(files)
	return load(files, readRegular)
}

// readRegular reads a file that has an end: a reload would wait for ever for what a pipe's other side never writes.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &FileError{File: name, What: "is no regular file", Hint: "Remove it from the directory of collectors."}
	}
	return os.ReadFile(name)
}

func load(files []string, read func(string) ([]byte, error)) ([]Definition, error) {
	var defs []Definition
	var errs []error
	for _, f := range files {
		data, err := read(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("read collectors: %w", err))
			continue
		}
		d, err := Parse(f, data)
		if err != nil {
			errs = append(errs, err)
		}
		defs = append(defs, d...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return defs, SetTops(defs, nil)
}

// Parse reads one file's collectors; the file's name is only for messages.
func Parse(file string, data []byte) ([]Definition, error) {
	doc, err := yamlfile.Parse(file, data, "Write all collectors as one list, without \"---\" between them.")
	if errors.Is(err, yamlfile.ErrEmpty) {
		return nil, &FileError{File: file, What: "holds no collector", Hint: "Begin with \"- name: \", or remove the file."}
	}
	if err != nil {
		return nil, err
	}
	r := &reader{yamlfile.Reader{File: file}}
	defs := r.document(doc)
	return defs, errors.Join(r.Errs...)
}
