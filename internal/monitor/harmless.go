package monitor

import (
	"reflect"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// harmless is text without escape sequences and control characters, on one line: anybody who can write to the log, name a
// database, or answer in a server's place could otherwise draw on, or command, the terminal of the person on call.
func harmless(text string) string {
	text = ansi.Strip(strings.ToValidUTF8(text, "?"))
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
}

// disarm makes every text in an answer harmless. It is given a pointer.
func disarm(answer any) { disarmValue(reflect.ValueOf(answer)) }

func disarmValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(harmless(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			disarmValue(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			disarmValue(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				disarmValue(f)
			}
		}
	}
}
