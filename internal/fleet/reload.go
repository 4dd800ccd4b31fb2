package fleet

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Apply takes a configuration that Load has accepted, and collectors. Targets that stay as they are go on without a gap; of
// those that changed, counts go on. It is called by one goroutine at a time, and waits until what was removed is gone. After
// an error nothing has changed.
func (f *Fleet) Apply(c *Config, definitions []definition.Definition) error {
	// All that is read for a target, before any is touched: a file may have vanished since Load.
	connectors := map[string]*postgres.Connector{}
	for _, t := range c.Targets {
		var err error
		if connectors[t.Name], err = c.AuthModules[t.AuthModule].connector(t.Address, f.o.Settings, f.o.Environ); err != nil {
			return fmt.Errorf("target %s: %w", t.Name, err)
		}
	}
	f.mu.Lock()
	f.config, f.definitions = c, definitions
	changed, waitFor := f.compare()
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
		w, err := f.build(t, true, connectors[t.Name])
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

// compare stops what the new configuration does not have, or has otherwise, and says which targets are to be made when
// those have ended.
func (f *Fleet) compare() (changed []TargetConfig, waitFor []<-chan struct{}) {
	keep := map[string]bool{}
	for _, t := range f.config.Targets {
		w := f.byName[t.Name]
		if w == nil || w.config.Kind != t.Kind || w.config.Address != t.Address || !f.follow(w, t.AuthModule) {
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
		if !f.allowed(w.config.Address, w.config.AuthModule) || !f.follow(w, w.config.AuthModule) {
			f.drop(key, w)
			waitFor = append(waitFor, w.gone)
		}
	}
	return changed, waitFor
}

// follow says whether a target can go on with what an auth module says now. A new password is for the next login.
func (f *Fleet) follow(w *watched, name string) bool {
	module, ok := f.config.AuthModules[name]
	if !ok || !w.module.sameButPassword(module) {
		return false
	}
	if !w.module.same(module) {
		if err := w.Connector.Update(module.dsn(w.config.Address)); err != nil {
			level.Error(f.o.Logger).Log("msg", "a new password can't be used", "server", w.config.Name, "err", err)
			return false
		}
		w.module = module
	}
	return true
}
