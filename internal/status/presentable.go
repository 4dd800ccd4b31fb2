package status

import (
	"math"
	"reflect"
	"time"
)

// lastMoment is the last one that JSON, and the people who read it, have a notation for.
var lastMoment = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Presentable drops what no answer can hold: NaN, infinite numbers, and times outside the years 0 to 9999. A server
// that lies, or arithmetic on what it says, makes such; one of them would cost the whole answer. What may be absent is absent then,
// and what may not is zero.
func Presentable(s *Status) { present(reflect.ValueOf(s).Elem()) }

// present returns false where a value can't be shown.
func present(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Float64:
		return !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0)
	case reflect.Pointer:
		if !v.IsNil() && !present(v.Elem()) {
			v.SetZero()
		}
	case reflect.Slice:
		for i := range v.Len() {
			presentIn(v.Index(i))
		}
	case reflect.Struct:
		if t, is := v.Interface().(time.Time); is {
			return t.Year() >= 0 && !t.After(lastMoment)
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				presentIn(v.Field(i))
			}
		}
	}
	return true
}

func presentIn(v reflect.Value) {
	if !present(v) {
		v.SetZero()
	}
}
