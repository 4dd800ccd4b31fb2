package fleet

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pg-reliability/pg_reliability_exporter/internal/passcommand"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/yamlfile"
)

const (
	defaultMaxTargets  = 100
	mostTargets        = 10000
	defaultIdleTimeout = 10 * time.Minute
	shortestIdle       = 10 * time.Second
)

// Config is the file of --config.file.
type Config struct {
	AuthModules map[string]AuthModule
	Targets     []TargetConfig
	Allow       []AllowRule
	// MaxTargets bounds the targets watched at once, listed ones among them.
	MaxTargets int
	// IdleTimeout is how long a target that is not listed is watched after its last scrape.
	IdleTimeout time.Duration
}

// TargetConfig is a listed target: it is watched whether somebody scrapes it or not.
type TargetConfig struct {
	Name       string
	Kind       Kind
	Address    Address
	AuthModule string
	// Labels are handed to Prometheus with the list of targets.
	Labels map[string]string
}

// Load reads the file and everything it names. The error holds every mistake, each with its line, and no secret.
func Load(file string) (*Config, error) {
	data, err := smallfile.Read(file)
	if err != nil {
		return nil, fmt.Errorf("read the list of servers: %w. HINT: Name a file that the exporter's user may read; "+
			"docs/fleet.md has its form", err)
	}
	return parse(file, data)
}

// configReader reads the file's parts; each mistake is noted and the rest is read on.
type configReader struct {
	yamlfile.Reader
	config *Config
	lines  map[string]int // of names and addresses of targets
}

func parse(file string, data []byte) (*Config, error) {
	doc, err := yamlfile.Parse(file, data, "Keep one document, without \"---\" in it.")
	if errors.Is(err, yamlfile.ErrEmpty) {
		return nil, &yamlfile.Error{File: file, What: "is empty", Hint: "Begin with \"auth_modules:\", or leave out --config.file."}
	}
	if err != nil {
		return nil, err
	}
	r := &configReader{
		Reader: yamlfile.Reader{File: file, Secrets: true},
		config: &Config{AuthModules: map[string]AuthModule{}, MaxTargets: defaultMaxTargets, IdleTimeout: defaultIdleTimeout},
		lines:  map[string]int{},
	}
	f := r.Fields(doc, "the file", "auth_modules", "targets", "allow", "max_targets", "idle_timeout")
	if v := f["auth_modules"]; v != nil {
		r.modules(v)
	}
	if v := f["max_targets"]; v != nil {
		r.config.MaxTargets = r.number(v, "max_targets", 1, mostTargets)
	}
	if v := f["idle_timeout"]; v != nil {
		if r.config.IdleTimeout = r.Duration(v, "idle_timeout"); r.config.IdleTimeout < shortestIdle {
			r.Fail(v, fmt.Sprintf("idle_timeout %s is shorter than %s", r.config.IdleTimeout, shortestIdle),
				"Choose a time longer than the scrape interval, such as 10m.")
		}
	}
	if v := f["targets"]; v != nil {
		for _, n := range r.List(v, "targets", "Write \"- {name: shop, address: db1:5432/postgres, auth_module: monitoring}\", or leave "+
			"targets out.") {
			r.target(n)
		}
		if n := len(r.config.Targets); n > r.config.MaxTargets {
			r.Fail(v, fmt.Sprintf("%d targets are listed, max_targets is %d", n, r.config.MaxTargets),
				"Raise max_targets; docs/fleet.md says what a target costs.")
		}
	}
	if v := f["allow"]; v != nil {
		for _, n := range r.List(v, "allow", "Write \"- {hosts: 'db[0-9]+', auth_modules: [monitoring]}\", or leave allow out: then nothing "+
			"but targets is probed.") {
			r.allow(n)
		}
	}
	if len(r.Errs) == 0 && f["targets"] == nil && f["allow"] == nil {
		r.Fail(doc, "neither targets nor allow: no server would be watched",
			"List servers below \"targets:\", or name below \"allow:\" those that may be probed.")
	}
	if len(r.Errs) > 0 {
		slices.SortStableFunc(r.Errs, func(a, b error) int { return lineOf(a) - lineOf(b) })
		return nil, errors.Join(r.Errs...)
	}
	return r.config, nil
}

func lineOf(err error) int {
	if e := (&yamlfile.Error{}); errors.As(err, &e) {
		return e.Line
	}
	return 0
}

var moduleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (r *configReader) modules(n *yaml.Node) {
	n = yamlfile.Resolve(n)
	var names []string
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; moduleName.MatchString(key.Value) {
			names = append(names, key.Value)
		} else {
			r.Fail(key, "an auth module has an invalid name", "Use letters, digits, dots, dashes and underscores.")
			return
		}
	}
	for name, v := range r.Fields(n, "auth_modules", names...) {
		r.module(name, v)
	}
}

func (r *configReader) module(name string, n *yaml.Node) {
	m := AuthModule{Options: map[string]string{}}
	before := len(r.Errs)
	f := r.Fields(n, "auth module "+name, "user", "password", "password_file", "password_command", "password_command_timeout", "sslmode",
		"options")
	m.User = r.Required(n, f, "user", "Name the role, such as reliability_exporter.")
	if v := f["password"]; v != nil {
		if m.Password = r.Text(v, "password"); m.Password == "" {
			r.Fail(v, "password is empty", "Put one that begins with & or # in quotes, or leave the key out.")
		}
	}
	if v := f["password_file"]; v != nil {
		m.PasswordFile = r.path(r.Text(v, "password_file"))
		if f["password"] != nil {
			r.Fail(v, "password and password_file of one auth module", "Keep one of them.")
		}
	}
	if v := f["password_command"]; v != nil {
		m.PasswordCommand = r.Text(v, "password_command")
		if f["password"] != nil || f["password_file"] != nil {
			r.Fail(v, "password_command beside another password of one auth module", "Keep one of them.")
		}
	}
	if v := f["password_command_timeout"]; v != nil {
		m.CommandTimeout = r.Duration(v, "password_command_timeout")
		if f["password_command"] == nil {
			r.Fail(v, "password_command_timeout without password_command", "Name the command, or leave the timeout out.")
		}
	}
	if v := f["password_command"]; v != nil && len(r.Errs) == before {
		if _, err := passcommand.New(passcommand.Options{Command: m.PasswordCommand, Timeout: m.CommandTimeout}); err != nil {
			what, hint, _ := strings.Cut(err.Error(), ". HINT: ")
			r.Fail(v, fmt.Sprintf("auth module %s: %s", name, what), hint+".")
		}
	}
	if v := f["options"]; v != nil {
		for option, value := range r.Fields(v, "options", slices.Sorted(maps.Keys(authOptions))...) {
			m.Options[option] = r.Text(value, option)
		}
	}
	if v := f["sslmode"]; v != nil {
		if m.Options["sslmode"] != "" {
			r.Fail(v, "sslmode is there twice, once in options", "Keep one of them.")
		}
		m.Options["sslmode"] = r.Text(v, "sslmode")
	}
	for _, option := range fileOptions {
		if file := m.Options[option]; file != "" && file != "system" {
			m.Options[option] = r.path(file)
		}
	}
	if len(r.Errs) == before {
		if _, err := m.connector(Address{Host: "localhost", Port: defaultPort, Database: defaultDatabase}, postgres.Settings{}, nil); err != nil {
			what, _, _ := strings.Cut(err.Error(), " HINT: ")
			r.Fail(n, fmt.Sprintf("auth module %s: %s", name, strings.TrimSuffix(what, ".")), "Look at sslmode and options, and whether the "+
				"exporter's user may read the files named there.")
		}
	}
	r.config.AuthModules[name] = m
}

// path of a file is meant from the configuration's directory on.
func (r *configReader) path(file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(r.File), file)
}

func (r *configReader) target(n *yaml.Node) {
	f := r.Fields(n, "a target", "name", "kind", "address", "auth_module", "labels")
	t := TargetConfig{
		Name:       r.Required(n, f, "name", "Give the target a name: it becomes Prometheus' label instance."),
		Kind:       Postgres,
		AuthModule: r.Required(n, f, "auth_module", "Name one of auth_modules."),
	}
	if v := f["kind"]; v != nil {
		if t.Kind = Kind(r.Text(v, "kind")); !t.Kind.known() {
			r.Fail(v, fmt.Sprintf("kind %q is not known", t.Kind), "Write pgbouncer, or leave kind out for a PostgreSQL server.")
			t.Kind = Postgres
		}
	}
	address := r.Required(n, f, "address", "Write host:port/database.")
	if v := f["name"]; v != nil && !moduleName.MatchString(t.Name) {
		r.Fail(v, fmt.Sprintf("%q is not a valid name", t.Name), "Use letters, digits, dots, dashes and underscores; at most 63.")
	}
	if v := f["auth_module"]; v != nil {
		r.known(v, t.AuthModule)
	}
	if v := f["address"]; v != nil && address != "" {
		var err error
		if t.Address, err = t.Kind.parse(address); err != nil {
			what, hint, _ := strings.Cut(err.Error(), ". HINT: ")
			r.Fail(v, "address: "+what, hint+".")
		} else {
			r.once(v, "address "+t.Address.String())
		}
	}
	if v := f["name"]; v != nil {
		r.once(v, fmt.Sprintf("name %q", t.Name))
	}
	if v := f["labels"]; v != nil {
		t.Labels = r.labels(v)
	}
	r.config.Targets = append(r.config.Targets, t)
}

// once says that a name or an address belongs to one target.
func (r *configReader) once(n *yaml.Node, what string) {
	if line, twice := r.lines[what]; twice {
		r.Fail(n, fmt.Sprintf("%s is that of the target at line %d, too", what, line), "Remove one of the two.")
		return
	}
	r.lines[what] = n.Line
}

func (r *configReader) known(n *yaml.Node, module string) {
	if _, ok := r.config.AuthModules[module]; !ok {
		r.Fail(n, fmt.Sprintf("auth module %q is not there", module), "Known ones: "+strings.Join(slices.Sorted(maps.Keys(r.config.AuthModules)),
			", ")+".")
	}
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (r *configReader) labels(n *yaml.Node) map[string]string {
	labels := map[string]string{}
	if n.Kind != yaml.MappingNode {
		r.Fail(n, "labels is not a set of keys", "Write labels as in \"labels: {cluster: shop}\".")
		return labels
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		if !labelName.MatchString(name) || strings.HasPrefix(name, "__") || name == "instance" || name == "job" {
			r.Fail(n.Content[i], fmt.Sprintf("label %q may not be set here", name), "Use letters, digits and underscores; instance is the "+
				"target's name, job is Prometheus'.")
			continue
		}
		labels[name] = r.Text(n.Content[i+1], name)
	}
	return labels
}

func (r *configReader) allow(n *yaml.Node) {
	rule := AllowRule{Ports: []int{defaultPort}, Databases: []string{defaultDatabase}}
	f := r.Fields(n, "a rule of allow", "hosts", "networks", "ports", "databases", "auth_modules")
	if f["hosts"] == nil && f["networks"] == nil {
		r.Fail(n, "a rule of allow without hosts and networks", "Say which: hosts is a regular expression for whole names, networks a list "+
			"such as [10.1.0.0/16].")
	}
	if v := f["hosts"]; v != nil {
		text := r.Text(v, "hosts")
		_, err := regexp.Compile(text) // alone, too: what closes our bracket would end our anchors
		if err == nil {
			rule.Hosts, err = regexp.Compile(`^(?:` + text + `)$`)
		}
		if err != nil {
			r.Fail(v, "hosts is not a regular expression", "Write one for the whole name, such as 'db[0-9]+\\.example\\.com'; a dot is \\.")
		}
	}
	if v := f["networks"]; v != nil {
		for _, item := range r.List(v, "networks", "Write a list such as [10.1.0.0/16].") {
			prefix, err := netip.ParsePrefix(r.Text(item, "network"))
			if err != nil {
				r.Fail(item, "this is not a network", "Write it as 10.1.0.0/16 or fd00::/8; one address is 10.1.0.7/32.")
			}
			rule.Networks = append(rule.Networks, prefix.Masked())
		}
	}
	if v := f["ports"]; v != nil {
		rule.Ports = nil
		for _, item := range r.List(v, "ports", "Write a list such as [5432, 6432].") {
			rule.Ports = append(rule.Ports, r.number(item, "port", 1, 65535))
		}
	}
	if v := f["databases"]; v != nil {
		rule.Databases = nil
		for _, item := range r.List(v, "databases", "Write a list such as [postgres, shop].") {
			rule.Databases = append(rule.Databases, r.Text(item, "database"))
		}
	}
	if v := f["auth_modules"]; v == nil {
		r.Fail(n, "a rule of allow without auth_modules", "Say which of them may be used there, as in \"auth_modules: [monitoring]\".")
	} else {
		for _, item := range r.List(v, "auth_modules", "Write a list such as [monitoring].") {
			module := r.Text(item, "auth module")
			r.known(item, module)
			rule.AuthModules = append(rule.AuthModules, module)
		}
	}
	r.config.Allow = append(r.config.Allow, rule)
}

func (r *configReader) number(n *yaml.Node, key string, least, most int) int {
	v, err := strconv.Atoi(r.Text(n, key))
	if err != nil || v < least || v > most {
		r.Fail(n, fmt.Sprintf("%s is no number from %d to %d", key, least, most), "Write one such number.")
		return most
	}
	return v
}
