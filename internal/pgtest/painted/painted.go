// Package painted says in which colour a board of Grafana paints a number, so that tests can ask whether what people see of a fault looks
// like one.
package painted

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Fine and Unknown are the colours of what is well, and of what is not known.
const (
	Fine    = "green"
	Unknown = "#808080"
)

// Panel is one panel of a board, as far as its colours and links go.
type Panel struct {
	Type, Title string
	Targets     []struct{ RefID, Expr string }
	Links       []struct{ URL string }
	FieldConfig Config
}

// Panels of a board, from its JSON.
func Panels(board []byte) ([]Panel, error) {
	var b struct{ Panels []Panel }
	if err := json.Unmarshal(board, &b); err != nil {
		return nil, fmt.Errorf("read a board: %w", err)
	}
	return b.Panels, nil
}

// Config is how a panel shows its values: Grafana's fieldConfig.
type Config struct {
	Defaults  Field
	Overrides []struct {
		Matcher    struct{ ID, Options string }
		Properties []struct {
			ID    string
			Value json.RawMessage
		}
	}
}

// Field is how values are shown where nothing overrides it.
type Field struct {
	Unit, NoValue string
	Thresholds    struct {
		Steps []struct {
			Value *float64
			Color string
		}
	}
	Mappings []Mapping
	Links    []struct {
		Title, URL, Type      string
		Tags                  []string
		IncludeVars, KeepTime bool
	}
}

// Mapping is one of Grafana's value mappings: of single values, of a range, or of no value at all.
type Mapping struct {
	Type    string
	Options json.RawMessage
}

// Colour is what Grafana paints a value of the query refID in: a mapping that has a colour wins, then the highest threshold that is
// reached. Overrides by query come before the panel's own.
func (c Config) Colour(refID string, value float64) (string, error) {
	f := c.Defaults
	for _, o := range c.Overrides {
		if o.Matcher.ID != "byFrameRefID" || o.Matcher.Options != refID {
			continue
		}
		for _, property := range o.Properties {
			var into any
			switch property.ID {
			case "thresholds":
				f.Thresholds.Steps, into = nil, &f.Thresholds // not into the board's own
			case "mappings":
				f.Mappings, into = nil, &f.Mappings
			default:
				continue
			}
			if err := json.Unmarshal(property.Value, into); err != nil {
				return "", fmt.Errorf("override of %s: %w", property.ID, err)
			}
		}
	}
	for _, m := range f.Mappings {
		if colour, err := m.colour(value); colour != "" || err != nil {
			return colour, err
		}
	}
	colour := ""
	for _, step := range f.Thresholds.Steps {
		if step.Value == nil || value >= *step.Value {
			colour = step.Color
		}
	}
	return colour, nil
}

// colour is that of a value, or nothing where the mapping is not about it.
func (m Mapping) colour(value float64) (string, error) {
	type result struct{ Color string }
	switch m.Type {
	case "value":
		var options map[string]result
		if err := json.Unmarshal(m.Options, &options); err != nil {
			return "", fmt.Errorf("mapping of values: %w", err)
		}
		return options[strconv.FormatFloat(value, 'f', -1, 64)].Color, nil
	case "range":
		var options struct {
			From, To *float64
			Result   result
		}
		if err := json.Unmarshal(m.Options, &options); err != nil {
			return "", fmt.Errorf("mapping of a range: %w", err)
		}
		if (options.From == nil || value >= *options.From) && (options.To == nil || value <= *options.To) {
			return options.Result.Color, nil
		}
	}
	return "", nil // special: of no value at all
}
