package collector

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/pg-reliability/pg_reliability_exporter/internal/yamlfile"
)

//go:embed metrics/*.yml
var embedded embed.FS

// Embedded returns the collectors that come with the program, in the order of their files.
func Embedded() ([]Definition, error) {
	files, err := fs.Glob(embedded, "metrics/*.yml")
	if err != nil {
		return nil, fmt.Errorf("list the embedded collectors: %w", err)
	}
	return load(files, func(name string) ([]byte, error) { return embedded.ReadFile(name) })
}

// Load returns the collectors of a user's directory: each of its files that ends in .yml or .yaml.
// The error holds every mistake found, each a *FileError; Validate finds those between collectors.
func Load(dir string) ([]Definition, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of collectors: %w. HINT: Name a directory with files *.yml that the exporter's user may read", err)
	}
	var files []string
	for _, e := range entries {
		// A mounted ConfigMap shows its files also in hidden directories; only plain names count.
		if ext := path.Ext(e.Name()); !e.IsDir() && e.Name()[0] != '.' && (ext == ".yml" || ext == ".yaml") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(files)
	defs, err := load(files, readRegular)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, d := range defs {
		if d.Scope == ScopeDatabase {
			errs = append(errs, &FileError{File: d.File, Line: d.Line, What: "collector " + d.Name + " has scope: database, which is not done for collectors of your own",
				Hint: "Remove it: the queries run in the database of the connection alone. For another database run them by a target of a fleet that names it."})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return defs, nil
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
	return defs, nil
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
