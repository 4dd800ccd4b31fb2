// Command licences writes what has to come with our programs: the licence of every module that is built into them on any
// system, and of Go itself. It ends with an error where a module has none, or one that we may not pass on in this way.
//
//	go run ./internal/licences ./cmd/... >THIRD_PARTY_LICENCES
package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// systems are those that releases are made for: what is built in differs.
var systems = []string{"linux", "darwin", "freebsd", "windows"}

// texts are the files that a licence asks to be passed on.
var texts = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// kinds are the licences we may pass on in programs, by words that only they have; the first that fits is it.
var kinds = []struct{ name, words string }{
	{"MPL-2.0", "Mozilla Public License Version 2.0"},
	{"Apache-2.0", "Apache License Version 2.0"},
	{"BSD-3-Clause", "Neither the name of"},
	{"BSD-3-Clause", "endorse or promote products derived from this software"},
	{"BSD-2-Clause", "Redistribution and use in source and binary forms, with or without modification, are permitted"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
	{"CC0-1.0", "CC0 1.0 Universal"},
	{"Unlicense", "This is free and unencumbered software released into the public domain"},
}

// module is one that is built in.
type module struct {
	path, version, dir string
	kind               string
	texts              map[string]string // by file name
}

func main() {
	w := bufio.NewWriter(os.Stdout)
	if err := errors.Join(write(w, os.Args[1:]), w.Flush()); err != nil {
		fmt.Fprintf(os.Stderr, "licences: %v\n", err)
		os.Exit(1)
	}
}

func write(w io.Writer, packages []string) error {
	modules, err := builtIn(packages)
	if err != nil {
		return err
	}
	var errs []error
	for i := range modules {
		errs = append(errs, modules[i].read())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(w, "What is built into pg_reliability_exporter, pg_reliability_backup, pg_reliability_monitor and pg_reliability_otlp beside "+
		"their own code,\n"+
		"and the terms it comes under.\n\n")
	for _, m := range modules {
		fmt.Fprintf(w, "%-56s %-40s %s\n", m.path, m.version, m.kind)
	}
	for _, m := range modules {
		for _, name := range slices.Sorted(maps.Keys(m.texts)) {
			fmt.Fprintf(w, "\n%s\n%s %s: %s\n%[1]s\n\n%[5]s\n", strings.Repeat("=", 80), m.path, m.version, name,
				strings.TrimRight(m.texts[name], "\n "))
		}
	}
	return nil
}

// builtIn are the modules of all packages that the given ones need, but our own, and Go's standard library.
func builtIn(packages []string) ([]module, error) {
	root, err := command(nil, "go", "env", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, err
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(root), "\n")
	found := map[string]module{"go": {path: "go", version: version, dir: goroot}}
	for _, system := range systems {
		list, err := command([]string{"GOOS=" + system, "CGO_ENABLED=0"}, "go", append([]string{
			"list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}",
		}, packages...)...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(list) {
			if part := strings.Split(strings.TrimSpace(line), "\t"); len(part) == 3 {
				found[part[0]] = module{path: part[0], version: part[1], dir: part[2]}
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b module) int { return cmp.Compare(a.path, b.path) }), nil
}

// read takes the module's texts, and tells from them which licence it is.
func (m *module) read() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return fmt.Errorf("%s: %w. HINT: Run go mod download", m.path, err)
	}
	m.texts = map[string]string{}
	for _, e := range entries {
		if e.IsDir() || !texts.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.dir, e.Name()))
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		m.texts[e.Name()] = string(text)
		if m.kind == "" && !strings.EqualFold(e.Name(), "patents") {
			m.kind = kindOf(string(text))
		}
	}
	if m.kind == "" {
		return fmt.Errorf("%s %s has no licence that is known here. HINT: Read what it says in %s, and do without it, or add it to kinds", m.path,
			m.version, m.dir)
	}
	return nil
}

func kindOf(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	for _, k := range kinds {
		if strings.Contains(words, k.words) {
			return k.name
		}
	}
	return ""
}

func command(env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...) //nolint:noctx,gosec // ends by itself; the arguments are a developer's
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}
