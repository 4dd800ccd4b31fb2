package fleet

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Prepared is a configuration with all that was read for it.
type Prepared struct {
	config *Config
	// connectors of listed targets by name, of others by address and auth module.
	listed, others map[string]*postgres.Connector
}

// Prepare reads all that targets need of a configuration that Load has accepted, before any is touched: a file may have vanished since. It
// may hang, and holds nothing while it does; goesOn is called for each target.
func (f *Fleet) Prepare(c *Config, goesOn func()) (*Prepared, error) {
	listed := map[string]TargetConfig{}
	for _, t := range c.Targets {
		listed[t.Name] = t
	}
	p := &Prepared{config: c}
	var err error
	if p.listed, err = f.connectors(c, listed, goesOn); err != nil {
		return nil, err
	}
	p.others, err = f.connectors(c, f.others(), goesOn)
	return p, err
}

// connectors are made for targets whose auth modules there are.
func (f *Fleet) connectors(c *Config, targets map[string]TargetConfig, goesOn func()) (map[string]*postgres.Connector, error) {
	out := map[string]*postgres.Connector{}
	for key, t := range targets {
		goesOn()
		module, known := c.AuthModules[t.AuthModule]
		if !known {
			continue
		}
		var err error
		if out[key], err = module.connector(t.Address, f.o.Settings, f.o.Environ); err != nil {
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
	}
	return out, nil
}

// others are the targets that are watched and not listed.
func (f *Fleet) others() map[string]TargetConfig {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]TargetConfig{}
	for key, w := range f.onDemand {
		out[key] = w.config
	}
	return out
}

// Apply takes a configuration that was prepared, and collectors. Targets that stay as they are go on without a gap; of
// those that changed, counts go on. It is called by one goroutine at a time, and waits until what was removed is gone.
func (f *Fleet) Apply(p *Prepared, definitions []definition.Definition) error {
	if sameDefinitions(f.definitions, definitions) { // told once, and not by each target under the lock
		definitions = f.definitions
	}
	f.mu.Lock()
	f.config, f.definitions = p.config, definitions
	changed, waitFor := f.compare(p)
	for _, w := range f.all() {
		w.Engine.SetDefinitions(definitions)
	}
	f.mu.Unlock()
	for _, ended := range waitFor { // their state is free then
		<-ended
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, t := range changed {
		if f.closed {
			return nil
		}
		w, err := f.build(t, true, p.listed[t.Name])
		if err != nil { // for no reason of this configuration's
			delete(f.byName, t.Name)
			errs = append(errs, fmt.Errorf("target %s: %w", t.Name, err))
			continue
		}
		f.byName[t.Name], f.byAddress[t.Address.String()] = w, w
		if f.started {
			f.launch(w, f.startOf(t.Name, len(changed)))
		}
	}
	return errors.Join(errs...)
}

func sameDefinitions(a, b []definition.Definition) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || !a[i].Same(&b[i]) {
			return false
		}
	}
	return true
}

// compare stops what the new configuration does not have, or has otherwise, and says which targets are to be made when
// those have ended.
func (f *Fleet) compare(p *Prepared) (changed []TargetConfig, waitFor []<-chan struct{}) {
	keep := map[string]bool{}
	for _, t := range f.config.Targets {
		w := f.byName[t.Name]
		if w == nil || w.config.Kind != t.Kind || w.config.Address != t.Address || !f.follow(w, t.AuthModule, p.listed[t.Name]) {
			changed = append(changed, t)
			continue
		}
		w.config = t
		keep[t.Name] = true
	}
	for name, w := range f.byName {
		if keep[name] {
			continue
		}
		// One that is to be made anew answers until it is replaced.
		if !slices.ContainsFunc(changed, func(t TargetConfig) bool { return t.Name == name }) {
			delete(f.byName, name)
		}
		delete(f.byAddress, w.config.Address.String())
		f.stop(w)
		waitFor = append(waitFor, w.ended)
	}
	for key, w := range f.onDemand {
		if !f.allowed(w.config.Address, w.config.AuthModule) || !f.follow(w, w.config.AuthModule, p.others[key]) {
			f.drop(key, w)
			waitFor = append(waitFor, w.gone)
		}
	}
	return changed, waitFor
}

// follow says whether a target can go on with what an auth module says now. A new password is for the next login.
func (f *Fleet) follow(w *watched, name string, anew *postgres.Connector) bool {
	module, ok := f.config.AuthModules[name]
	if !ok || anew == nil || !w.module.sameButPassword(module) {
		return false
	}
	if !w.module.same(module) {
		w.Connector.Take(anew)
		w.module = module
	}
	return true
}
