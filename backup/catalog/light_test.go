package catalog

import (
	"encoding/json"
	"reflect"
	"testing"
)

// brief is what the light reader takes of a text.
func briefOf(t *testing.T, text []byte) (briefManifest, error) {
	t.Helper()
	var m briefManifest
	err := json.Unmarshal(text, &m)
	for i := range m.Databases { // one table stands for all
		rows := m.Databases[i].Contents.rows()
		m.Databases[i].Contents.Tables = nil
		if rows != 0 {
			m.Databases[i].Contents.Tables = append(m.Databases[i].Contents.Tables, struct {
				Rows int64 `json:"rows"`
			}{rows})
		}
	}
	return m, err
}

// FuzzLightManifest: what is cut out of a manifest changes nothing of what is taken of it.
func FuzzLightManifest(f *testing.F) {
	whole := Manifest{Format: 2, ID: "x", Databases: []Database{
		{Name: `a"\`, Contents: Contents{
			Exact: true, Indexes: []string{`"}]{[\"`, ""}, Tables: []Table{{Schema: "s", Name: `t\`, Rows: 3}, {Rows: 4}},
		}},
		{Name: "b"},
	}}
	for _, indent := range []string{"", "  "} {
		text, err := json.MarshalIndent(whole, "", indent)
		if err != nil {
			f.Fatal(err)
		}
		if light := lighten(text); len(light) >= len(text) {
			f.Errorf("nothing is cut out of %s", text)
		}
		f.Add(text)
	}
	for _, text := range []string{`{}`, `null`, `{"databases":null}`, `{"databases":[null]}`, `{"databases":[{"contents":null}]}`,
		`{"databases":[{"contents":{"tables":[{"rows":1}]},"contents":{"tables":[{"rows":2}]}}]}`,
		`{"databases":[{"contents":{"tables":[{"rows":1}],"Tables":[{"rows":2}]}}]}`,
		`{"databases":[{"contents":{"tables":[{"rows":9223372036854775807},{"rows":9223372036854775807}]}}]}`,
		`{"databases":[{"contents":{"tables":[{"\u0072ows":1,"rows":2}]}}]}`, `{"databases":[{"contents":{"tables":[{"rows":1e3}]}}]}`,
		`{"databaſes":[{"contents":{"tables":[{"rows":1}]}}]}`, `{"a":"\\\"","databases":[{"contents":{"exact":true,"views":["\\"]}}]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := briefOf(t, text)
		if err != nil {
			return // what is no manifest is said by who reads all of it
		}
		if got, err := briefOf(t, lighten(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nlight: %s\n%+v (%v)\nwant %+v", text, lighten(text), got, err, want)
		}
	})
}
