// Package doctest finds the commands of the guides and runbooks, so that tests can run them as a reader would.
//
// Each block of sh or sql in a guide, and each of sh in a runbook of an alert that a chaos test injects, follows a comment
// that says where it is run (the other runbooks' blocks may; all their sql is run by the tests of alerts/):
//
//	<!-- test: host -->           on a machine with systemd, Debian's PostgreSQL and our programs
//	<!-- test: compose -->        beside docker-compose.yml, with everything up
//	<!-- test: packages -->       on a machine that systemd booted, with our package; make test-packages says in which order
//	<!-- test: kubernetes -->     beside a cluster; make test-kubernetes says in which order
//	<!-- test: host setup -->     before each later block of this place in this guide: variables, functions
//	<!-- test: not run: WHY -->   nowhere, for a reason
//
// A block of text that follows directly says what the output has, line by line, in this order.
package doctest

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Guides are the documents whose every command is run, in the order in which a test may run them: the first one makes
// what the others work with. Paths are below the repository's root.
func Guides() []string {
	return []string{
		"docs/LAUNCH_GUIDE.md", "docs/PRODUCTION_DATABASE_RELIABILITY.md", "docs/faq.md", "docs/security.md", "docs/comparison.md",
		"docs/emergency.md", "docs/install.md", "docs/kubernetes.md",
	}
}

// Places where blocks are run.
const (
	Host       = "host"
	Compose    = "compose"
	Packages   = "packages"
	Kubernetes = "kubernetes"
	NotRun     = "not run"
)

// Block is a piece of a guide that a reader runs.
type Block struct {
	File     string
	Line     int    // of its first command
	Language string // sh or sql
	Place    string // Host, Compose, Packages, Kubernetes or NotRun
	Reason   string // why it is not run
	Script   string
	// Setup is what the setup blocks before it say, for the same place.
	Setup string
	// Want are pieces that the output has, in this order.
	Want []string
}

// Name is for tests: the file and the line.
func (b Block) Name() string {
	return fmt.Sprintf("%s:%d", b.File[strings.LastIndex(b.File, "/")+1:], b.Line)
}

var (
	directive = regexp.MustCompile(`^<!-- test: (?:(host|compose|packages|kubernetes)( setup)?|not run: (\S.*?)) -->$`)
	fence     = regexp.MustCompile("^(```+)(\\w*)$")
)

// Blocks reads a document. It is an error that a block has no directive, or a directive no block.
func Blocks(path string) ([]Block, error) {
	return read(path, map[string]string{}, func(string) bool { return true })
}

func read(path string, setup map[string]string, must func(language string) bool) ([]Block, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a document: %w", err)
	}
	return parse(path, string(text), setup, must)
}

// parse adds to what is set up at each place. Blocks of the languages that must be run need a directive.
func parse(path, text string, setup map[string]string, must func(language string) bool) ([]Block, error) {
	lines := strings.Split(text, "\n")
	var blocks []Block
	var said []string // the directive that waits for its block
	answers := false  // whether a block of text would be the last block's output
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "<!-- test:"):
			if said != nil {
				return nil, fmt.Errorf("%s:%d: the directive before this one has no block", path, i+1)
			}
			if said = directive.FindStringSubmatch(line); said == nil {
				return nil, fmt.Errorf("%s:%d: %q is no directive. HINT: Write <!-- test: host -->, compose, packages or kubernetes, the same with "+
					"setup, or not run: WHY", path, i+1, line)
			}
			answers = false
			continue
		case strings.TrimSpace(line) == "":
			continue
		}
		open := fence.FindStringSubmatch(line)
		if open == nil {
			if said != nil {
				return nil, fmt.Errorf("%s:%d: a directive is followed by its block", path, i+1)
			}
			answers = false
			continue
		}
		first := i + 1
		for i++; i < len(lines) && lines[i] != open[1]; i++ {
		}
		if i == len(lines) {
			return nil, fmt.Errorf("%s:%d: the block has no end", path, first)
		}
		body := strings.Join(lines[first:i], "\n")
		language := open[2]
		if language == "bash" {
			language = "sh"
		}
		switch {
		case language == "text" && answers:
			blocks[len(blocks)-1].Want = lines[first:i]
			answers = false
			continue
		case language != "sh" && language != "sql":
			if said != nil {
				return nil, fmt.Errorf("%s:%d: a directive before a block of %q, which nobody runs", path, first, language)
			}
			answers = false
			continue
		case said == nil && !must(language):
			answers = false
			continue
		case said == nil:
			return nil, fmt.Errorf("%s:%d: nobody runs this block. HINT: Write <!-- test: host --> or its like before it", path, first)
		default:
			b := Block{File: path, Line: first + 1, Language: language, Place: said[1], Reason: said[3], Script: body, Setup: setup[said[1]]}
			if b.Reason != "" {
				b.Place = NotRun
			}
			if said[2] != "" {
				setup[b.Place] += body + "\n"
			} else {
				blocks = append(blocks, b)
				answers = true
			}
			said = nil
		}
	}
	if said != nil {
		return nil, fmt.Errorf("%s: the last directive has no block", path)
	}
	return blocks, nil
}

// Missing is the first piece of Want that the output does not have where it should be, or "". Spaces don't count, and ...
// stands for anything.
func (b Block) Missing(output string) string {
	rest := squeeze(output)
	for _, want := range b.Want {
		for _, piece := range strings.Split(want, "...") {
			_, after, found := strings.Cut(rest, squeeze(piece))
			if !found {
				return want
			}
			rest = after
		}
	}
	return ""
}

// ForVersion is a script for another version of PostgreSQL than the one that the guides show.
func ForVersion(script, version string) string {
	return strings.ReplaceAll(strings.ReplaceAll(script, "postgresql/15/", "postgresql/"+version+"/"), "15-main", version+"-main")
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), "") }
