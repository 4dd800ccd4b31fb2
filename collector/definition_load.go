package collector

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
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
	return load(files, os.ReadFile)
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

var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// Parse reads one file's collectors; the file's name is only for messages.
func Parse(file string, data []byte) ([]Definition, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if err == nil {
		if err = dec.Decode(&more); err == nil {
			return nil, &FileError{file, more.Line, "a second document begins here", "Write all collectors as one list, without \"---\" between them."}
		}
	}
	switch {
	case errors.Is(err, io.EOF) && doc.Kind == 0:
		return nil, &FileError{file, 0, "holds no collector", "Begin with \"- name: \", or remove the file."}
	case errors.Is(err, io.EOF):
	default:
		line, what := 0, err.Error()
		if m := yamlLine.FindStringSubmatch(what); m != nil {
			line, _ = strconv.Atoi(m[1])
			what = m[2]
		}
		return nil, &FileError{file, line, "not YAML: " + what, "Look at the indentation and quotes at this line and above."}
	}
	r := &reader{file: file}
	defs := r.document(doc.Content[0])
	return defs, errors.Join(r.errs...)
}
