package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ErrDamagedJournal is wrapped by the error for a state.json that is cut or garbled.
var ErrDamagedJournal = errors.New("the journal is damaged")

// State reads state.json; the zero State where there is none yet. Of one that is cut or garbled it returns
// what can be made out of it and of the catalogue, with an error that wraps ErrDamagedJournal: who
// only shows the state warns and goes on.
func (r *Repository) State() (State, error) {
	var s State
	b, err := readFile(filepath.Join(r.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the journal: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return r.rebuild(b, time.Time{}), fmt.Errorf("read %s: %w: %w", stateFile, ErrDamagedJournal, err)
	}
	return s, nil
}

// UpdateState changes state.json atomically; concurrent updates are serialised. A damaged journal is kept beside
// as state.json.damaged and rebuilt. It is never begun from nothing where there were backups: a
// bootstrap would take the repository for a new one, and let an application start without its data.
func (r *Repository) UpdateState(ctx context.Context, change func(*State)) error {
	if err := r.Present(); err != nil {
		return err
	}
	unlock, err := r.lockWait(ctx, lockState)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(r.dir, stateFile)
	s, err := r.State()
	if errors.Is(err, ErrDamagedJournal) {
		s.Rebuilt = time.Now().UTC()
		err = os.Rename(path, path+".damaged")
	}
	if err != nil {
		return fmt.Errorf("update the journal: %w", err)
	}
	s.Format = FormatVersion
	change(&s)
	return r.replace(path, s)
}

// rebuild makes a state of the readable beginning of a damaged journal and of the catalogue.
func (r *Repository) rebuild(text []byte, now time.Time) State {
	s := salvage(text)
	s.Rebuilt = now
	if n, err := r.highestName(); err == nil {
		s.LastSequence = max(s.LastSequence, n)
	}
	all, err := r.Brief()
	if err != nil {
		return s
	}
	for _, b := range all {
		if b.Manifest.Engine != "" && s.LastSuccess.Before(b.Manifest.Finished) {
			s.LastSuccess = b.Manifest.Finished
		}
	}
	return s
}

// salvage reads the members of a JSON object until it is cut.
func salvage(text []byte) State {
	members := map[string]json.RawMessage{}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return State{}
	}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			break
		}
		members[name] = value
	}
	var s State
	for name, value := range members { // one at a time: a member of the wrong type costs itself
		one, err := json.Marshal(map[string]json.RawMessage{name: value})
		if err != nil {
			continue
		}
		if with := s; json.Unmarshal(one, &with) == nil {
			s = with
		}
	}
	return s
}
